"""From sources to parts on disk: the verb, the card, and what is refused."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adapters.interactions import Feedback
from adapters.store import Store
from tests.adapters.test_store import interaction, records
from tests.training.conftest import write_chat
from training.cli.curate import curate as verb
from training.curation.card import card, markdown, write_dataset
from training.curation.formats import read_examples, write_examples
from training.curation.prepare import prepare, refuse_leaks
from training.curation.sources import Sources
from training.curation.split import leaked, split
from training.errors import DataError, Leaked, TooFewRows
from training.rows import Kind, Row, Source


@dataclass
class Workspace:
    """What the verb needs, in a temporary folder."""

    state: Path
    packs: tuple[Path, ...]
    opted_out: tuple[str, ...] = ()

    @property
    def artifacts(self) -> Path:
        return self.state / "artifacts"

    @property
    def store_url(self) -> str:
        return f"sqlite:///{self.state}/turnout.db"


def curate(workspace: Workspace, *options: str | Path) -> Result:
    return CliRunner().invoke(verb, ["boiler", *map(str, options)], obj=workspace)


@pytest.fixture
def workspace(tmp_path: Path, pack: Path) -> Workspace:
    return Workspace(tmp_path / "state", (pack,))


def test_the_verb_writes_parts_by_kind_and_a_card(
    workspace: Workspace, tmp_path: Path, rows: list[Row]
) -> None:
    pairs = [replace(row, rejected="who knows") for row in rows[:30]]
    verdicts = [replace(row, desirable=True) for row in rows[30:]]
    mine = tmp_path / "mine.jsonl"
    write_examples(mine, [*rows, *pairs, *verdicts, rows[0]])
    outcome = curate(workspace, "--data", mine, "--out", tmp_path / "out", "--json")
    assert outcome.exit_code == 0, outcome.output
    facts = json.loads(outcome.stdout)
    assert facts["folder"] == str(tmp_path / "out")
    assert {name: facts["rows"][name] for name in facts["rows"]} == {
        "train": 96,
        "validation": 12,
        "test": 12,
    }
    assert facts["removed"] == {"duplicate": {"n": 1, "for_example": ["mine.jsonl:121"]}}
    assert facts["tasks"] == {"fault": {"kto": 30, "preference": 30, "sft": 60}}
    written = {path.name: path for path in (tmp_path / "out").iterdir()}
    assert json.loads(written["card.json"].read_text()) | {"folder": facts["folder"]} == facts
    assert written["README.md"].read_text().startswith("# Dataset: boiler\n")
    again = [row for name in written if name.count("-") for row in read_examples(written[name])]
    assert Counter(row.kind for row in again) == {Kind.SFT: 60, Kind.PREFERENCE: 30, Kind.KTO: 30}


def test_files_in_another_order_give_the_same_bytes(
    workspace: Workspace, tmp_path: Path, rows: list[Row]
) -> None:
    one = write_chat(tmp_path / "one.jsonl", rows[:40])
    two = write_chat(tmp_path / "two.jsonl", rows[30:])
    for out, files in (("a", (one, two)), ("b", (two, one))):
        options = [part for file in files for part in ("--data", file)]
        assert curate(workspace, *options, "--out", tmp_path / out).exit_code == 0
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / out).iterdir()} for out in ("a", "b")
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]["removed.jsonl"].splitlines()) == 10


def test_another_split_has_a_folder_of_its_own(workspace: Workspace) -> None:
    for seed in ("0", "1", "1"):
        assert curate(workspace, "--seed", seed).exit_code == 0
    assert len(list((workspace.state / "datasets").iterdir())) == 2


def test_the_log_is_a_source_and_its_newest_part_the_test(workspace: Workspace) -> None:
    said = []
    for n in range(60):
        place = f"{'abcdefghijkl'[n % 12] * 3}{n}"
        request = {"messages": [{"role": "user", "content": f"{place} {place} leaks {place}"}]}
        facts = {
            "target": "boiler",
            "sources": (),
            "request": request,
            "unit": f"u{n // 3}",
            "created": float(n),
        }
        said.append(interaction(f"r{n}", **facts))
        said.append(Feedback(f"f{n}", f"r{n}", n + 0.5, "thumbs", None, demonstration=f"fix {n}"))
    store = Store(workspace.store_url)
    store.take(records(*said))
    store.close()
    workspace.packs[0].joinpath("train.jsonl").unlink()
    workspace.packs[0].joinpath("queries.jsonl").write_text("")
    outcome = curate(workspace, "--from-log", "--json")
    assert outcome.exit_code == 0, outcome.output
    facts = json.loads(outcome.stdout)
    assert facts["sources"] == {"log": 120}
    assert facts["window"] == ["1970-01-01T00:00:00Z", "1970-01-01T00:00:59Z"]
    assert facts["grouped_by"] == "unit and near-duplicates"
    assert facts["tested_from"] == "1970-01-01T00:00:54Z"
    parts = [
        {
            row.unit
            for path in Path(facts["folder"]).glob(f"*-{part}.jsonl")
            for row in read_examples(path)
        }
        for part in ("train", "validation", "test")
    ]
    assert parts[2] == {"u18", "u19"}
    assert not parts[0] & parts[1] and not (parts[0] | parts[1]) & parts[2]


def test_copies_of_every_known_evaluation_set_leave_training(rows: list[Row]) -> None:
    text = "one two three four five six seven eight nine ten eleven twelve"
    held = [replace(rows[0], prompt=(("user", text),), origin="held")]
    copy = replace(held[0], prompt=(("user", f"{text}!"),), origin="copy", answer="cold")
    found = Sources((*rows, copy), evaluations={"elsewhere": tuple(held)})
    prepared = prepare("boiler", found)
    assert [(item.origin, item.detail) for item in prepared.parts.contaminated] == [
        ("copy", "near-copy of elsewhere held")
    ]
    assert card(prepared)["evaluations"] == {
        "elsewhere": {"rows": 1, "copies_removed": 1, "leaked": 0}
    }
    assert "| elsewhere | 1 | 1 | 0 |" in markdown(card(prepared))


def test_a_leak_is_refused(rows: list[Row]) -> None:
    parts = split(rows)
    with pytest.raises(Leaked, match="near-copies of training rows: 2 of elsewhere"):
        refuse_leaks(parts, {"elsewhere": parts.train[:2], "unlike": parts.test})


def test_general_rows_are_only_trained_on(rows: list[Row]) -> None:
    general = [replace(row, source=Source.GENERAL, task="general") for row in rows[40:]]
    parts = split([*rows[:40], *general])
    assert {row.task for row in (*parts.validation, *parts.test)} == {"fault"}
    assert sum(row.task == "general" for row in parts.train) == 20
    assert leaked(parts.train, parts.test) == 0


def test_parts_by_kind(rows: list[Row]) -> None:
    parts = split([*rows, *(replace(row, desirable=False) for row in rows)])
    for part, whole in (("train", 96), ("validation", 12), ("test", 12)):
        assert len(getattr(parts, part)) == whole
        assert len(getattr(parts.of(Kind.KTO), part)) == whole // 2


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, rows: list[Row]) -> None:
    prepared = prepare("boiler", Sources(tuple(rows)))
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="exists and is no dataset"):
        write_dataset(prepared, tmp_path / "mine")
    facts = write_dataset(prepared, tmp_path / "new")
    assert write_dataset(prepared, tmp_path / "new") == facts
    with pytest.raises(DataError, match="holds another dataset"):
        write_dataset(prepare("boiler", Sources(tuple(rows[:50]))), tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "new"]


def test_too_few_rows_say_what_was_left_out(rows: list[Row]) -> None:
    with pytest.raises(TooFewRows, match=r"5 training rows are left of 5.*\(before: 2 duplicate\)"):
        prepare("boiler", Sources((*rows[:5], *rows[:2])))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe{\x00}\x00", "not UTF-8 text"),
        (b'{"messages": [{"role": "user", "content": "caf\xe9"}]}', "not UTF-8 text"),
        (b'{"messages": [{"role": "us', "mine.jsonl:1: not valid JSON"),
        (b"[" * 100_000, "mine.jsonl:1: not valid JSON"),
        (b'{"prompt": "' + b"x " * 5_000_000 + b'", "completion": "a"}', "1 too_long"),
        (b"", "boiler has no examples: looked for"),
    ],
)
def test_a_file_that_is_none_is_one_clear_error(
    workspace: Workspace, tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "mine.jsonl").write_bytes(content)
    outcome = curate(workspace, "--data", tmp_path / "mine.jsonl")
    assert outcome.exit_code == 1
    assert reason in outcome.stderr
    assert not (workspace.state / "datasets").exists()
