"""The five domains of the shared data as packs and as the parts that a run learns and is tested
on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from adapters.packs import read_jsonl
from training.curation.prepare import prepare
from training.curation.sources import gather
from training.curation.split import Split


@dataclass(frozen=True, slots=True)
class Domain:
    """Some tasks of a folder of the shared data, and how often training goes through their rows."""

    name: str
    tasks: tuple[str, ...]
    epochs: int

    def write_pack(self, data: Path, packs: Path, most: int | None = None) -> Path:
        """A pack of these tasks' rows, of either file the first `most`."""
        folder = packs / self.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pack.toml").write_text(
            f'name = "{self.name}"\ntitle = "{self.name}"\n', encoding="utf-8"
        )
        for name in ("train.jsonl", "eval.jsonl"):
            write_rows(data / self.name / name, folder / name, self.tasks, most)
        return folder


DOMAINS = (
    Domain("legal", ("clause_type", "fact_extraction"), 4),
    Domain("finance", ("banking_intent",), 5),
    Domain("medical", ("question_type",), 3),
    Domain("maintenance", ("normalise", "incident_code"), 3),
    Domain("telecom", ("answer_source", "protocol"), 5),
)


def write_rows(source: Path, target: Path, tasks: Sequence[str], most: int | None = None) -> None:
    """The rows of some tasks, of each the first `most`."""
    if not source.is_file():
        raise click.UsageError(f"{source} does not exist; name the shared data with --data")
    taken = dict.fromkeys(tasks, 0)
    with target.open("w", encoding="utf-8") as file:
        for _, row in read_jsonl(source):
            task = row["meta"]["task"]
            if task in taken and taken[task] != most:
                taken[task] += 1
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def parts(
    domain: str,
    packs: Sequence[Path],
    general: Path | None = None,
    evaluations: Sequence[Path] = (),
) -> Split:
    """What `turnout train` learns from, chooses by and is tested on, by the same steps."""
    found = gather(domain, packs, None, None, general=general, evaluations=evaluations)
    return prepare(domain, found).parts
