"""A label added from ten examples or a description, against a fit of all labels.

python -m benchmarks.newcomers: each domain in turn is unknown to the router and then added.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import click
import numpy as np

from adapters.cli import as_json, show_table
from benchmarks.corpus import Corpus, corpus, data
from router.decision import GENERAL
from router.fitting.additions import add_label, phrases
from router.fitting.lessons import FitArguments
from router.second.stage import Cascade

TEN = 10
# Refits are slower than additions: of these draws only the first is refitted.
DRAWS = 5
FEW = FitArguments(folds=2, source_folds=4)
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


def score(corpus: Corpus, folder: Path, label: str) -> Score:
    """Of a router's decisions about the queries that are held back."""
    cascade = Cascade.load(folder)
    found = np.array([cascade.decide(example.text).target for example in corpus.test])
    right = np.array([example.label for example in corpus.test])
    hits = float(((found == label) & (right == label)).sum())
    recall = hits / float((right == label).sum())
    precision = hits / max(1.0, float((found == label).sum()))
    f1 = 2 * recall * precision / max(recall + precision, 1e-9)
    others = right != label
    return Score(recall, precision, f1, float((found == right)[others].mean()))


def of_label(corpus: Corpus, label: str) -> Iterator[tuple[str, Score]]:
    """Every way to know a label, with what came of it."""
    rest = [example for example in corpus.train if example.label != label]
    own = [example for example in corpus.train if example.label == label]
    known = corpus.fitted(rest, f"without-{label}", arguments=FEW)

    def added(texts: Sequence[str]) -> Score:
        out = corpus.folder / "added"
        return score(corpus, add_label(known, label, texts, corpus.embeddings, out=out), label)

    yield "not known", score(corpus, known, label)
    for draw in range(DRAWS):
        random = np.random.default_rng(draw)
        ten = [own[row] for row in random.choice(len(own), TEN, replace=False)]
        texts = [example.text for example in ten]
        yield "added, ten examples", added(texts)
        yield "added, ten and description", added([*texts, *phrases(DESCRIPTIONS[label])])
        if draw == 0:
            refitted = corpus.fitted([*rest, *ten], f"refit-{label}", arguments=FEW)
            yield "all fitted anew, ten examples", score(corpus, refitted, label)
    yield "added, description", added(phrases(DESCRIPTIONS[label]))


@click.command()
@data
@as_json
def main(data: Path, as_json: bool) -> None:
    """Leave each domain out, add it again, and count what the router makes of its queries."""
    rows: dict[str, dict[str, list[Score]]] = {}
    with corpus(data) as queries:
        labels = sorted({example.label for example in queries.train} - {GENERAL})
        whole = queries.fitted(queries.train, "whole", arguments=FEW)
        advance = queries.task("labels")
        for done, label in enumerate(labels, 1):
            rows.setdefault("known", {})[label] = [score(queries, whole, label)]
            for name, found in of_label(queries, label):
                rows.setdefault(name, {}).setdefault(label, []).append(found)
            advance(done, len(labels))
    means = {name: _summary(by_label) for name, by_label in rows.items()}
    if as_json:
        click.echo(json.dumps(means))
    else:
        show_table(
            ("label is", *COLUMNS, "recall by label"),
            [
                (
                    name,
                    *(f"{row[column]:.3f}" for column in COLUMNS),
                    ", ".join(f"{label} {value:.2f}" for label, value in row["by_label"].items()),
                )
                for name, row in means.items()
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
