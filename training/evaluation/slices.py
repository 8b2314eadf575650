"""A task's score among parts of its rows: by `meta.slice`, by label, by length of the question."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluation.evaluate import TaskResult, rounded
from training.evaluation.intervals import FEW, Interval, mean_interval


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a task's rows. Errors score 0, as everywhere."""

    n: int
    score: float
    ci95: Interval

    @property
    def few(self) -> bool:
        """Whether it is too small to choose by."""
        return self.n < FEW

    def as_json(self) -> dict[str, Any]:
        """The slice as the `evaluate` verb prints it."""
        return rounded({"n": self.n, "score": self.score, "ci95": self.ci95, "few": self.few})


# What divides the rows, then the parts by name.
Slices = Mapping[str, Mapping[str, Slice]]


def slices(task: TaskResult) -> Slices:
    """Every division of the rows that makes at least two parts. Their intervals are not corrected
    for their number: of twenty equal slices one is likely to look different."""
    divisions = {
        "slice": [row.slice for row in task.rows],
        "label": [row.label for row in task.rows],
        "length": _thirds([len(row.question) for row in task.rows]),
    }
    found = {name: _divided(task.values, parts) for name, parts in divisions.items()}
    return {name: parts for name, parts in found.items() if len(parts) > 1}


def _divided(values: tuple[float, ...], parts: list[str | None]) -> dict[str, Slice]:
    members: dict[str, list[float]] = {}
    for value, part in zip(values, parts, strict=True):
        if part is not None:
            members.setdefault(part, []).append(value)
    return {
        name: Slice(len(some), sum(some) / len(some), mean_interval(some))
        for name, some in members.items()
    }


def _thirds(lengths: list[int]) -> list[str | None]:
    """Which third each one belongs to, named by its shortest and longest."""
    edges = np.quantile(lengths, [1 / 3, 2 / 3], method="lower")
    third = np.searchsorted(edges, lengths)
    names = {}
    for number in set(third.tolist()):
        members = [n for n, at in zip(lengths, third, strict=True) if at == number]
        names[number] = f"{min(members)} to {max(members)} characters"
    return [names[number] for number in third.tolist()]
