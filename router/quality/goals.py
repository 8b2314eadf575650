"""Thresholds for a goal, chosen on labelled queries: a precision, a coverage, or the least cost.

Knows probabilities and labels, neither texts nor how the probabilities came about.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from router.decision import GENERAL
from router.errors import GoalError

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

# A promise may be broken by chance in one of twenty calibrations.
DELTA = 0.05


@dataclass(frozen=True, slots=True)
class Judged:
    """Queries that a router looked at: its probabilities [queries, labels] and the right labels,
    -1 where that is one it does not know."""

    names: tuple[str, ...]
    probabilities: Matrix
    labels: Labels

    @property
    def best(self) -> Labels:
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def confidence(self) -> Matrix:
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def right(self) -> Booleans:
        return np.asarray(self.best == self.labels)

    def domains(self) -> tuple[str, ...]:
        """Labels that can be held back; `general` is where they are held back to."""
        return tuple(name for name in self.names if name != GENERAL)

    def surest_first(self, label: str) -> tuple[Matrix, Booleans]:
        """Confidence of the predictions of a label, and whether each is right."""
        rows = np.flatnonzero(self.best == self.names.index(label))
        order = rows[np.argsort(-self.confidence[rows], kind="stable")]
        return self.confidence[order], self.right[order]

    def held_back(self, thresholds: Mapping[str, float]) -> Booleans:
        limits = np.array([thresholds[name] for name in self.names])
        return np.asarray(self.confidence < limits[self.best])


class Goal(Protocol):
    """What thresholds are chosen for."""

    def thresholds(self, judged: Judged, before: Mapping[str, float]) -> dict[str, float]:
        """By label; raises GoalError, saying what can be had, where the goal cannot."""
        ...

    def as_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Precision:
    """Of what goes to a domain, at least `value` belongs there, with 95 % confidence; for one
    `label` or for each."""

    value: float
    label: str | None = None

    def thresholds(self, judged: Judged, before: Mapping[str, float]) -> dict[str, float]:
        if self.label is not None and self.label not in judged.domains():
            known = ", ".join(judged.domains())
            raise GoalError(f"{self.label!r} is not a domain of this router; it has {known}")
        chosen = dict(before) if self.label else dict.fromkeys(judged.names, 0.0)
        problems = []
        for label in [self.label] if self.label else judged.domains():
            confidence, right = judged.surest_first(label)
            kept, possible = most_kept(confidence, right, self.value)
            if kept:
                chosen[label] = between(confidence, kept)
            else:
                problems.append(_problem(label, right, possible))
        if problems:
            raise GoalError(
                f"a precision of {self.value:.3g} cannot be promised: {'; '.join(problems)}. It "
                f"takes at least {_least_lines(self.value)} predictions of a label, all of them "
                "right: give more lines, or a lower --precision"
            )
        return chosen

    def as_json(self) -> dict[str, Any]:
        return {"precision": self.value, "label": self.label, "confidence": 1 - DELTA}


@dataclass(frozen=True, slots=True)
class Coverage:
    """A share of all queries, those with the surest decisions, is not held back. With calibrated
    probabilities one threshold for all labels leaves the fewest errors."""

    value: float

    def thresholds(self, judged: Judged, before: Mapping[str, float]) -> dict[str, float]:
        confidence = np.sort(judged.confidence)[::-1]
        kept = ceil(self.value * len(confidence) - 1e-9)
        return dict.fromkeys(judged.names, between(confidence, kept))

    def as_json(self) -> dict[str, Any]:
        return {"coverage": self.value}


@dataclass(frozen=True, slots=True)
class Cost:
    """The least cost, where a query sent to a wrong domain costs `wrong`, and one that `general`
    answers though it belongs to a domain costs `abstain`: Chow's rule (1970), which needs no more
    than calibrated probabilities. The threshold with the least cost on the lines was no better."""

    wrong: float
    abstain: float

    def thresholds(self, judged: Judged, before: Mapping[str, float]) -> dict[str, float]:
        threshold = max(0.0, 1 - self.abstain / self.wrong)
        return {name: 0.0 if name == GENERAL else threshold for name in judged.names}

    def of(self, judged: Judged, held_back: Booleans) -> float:
        """Mean cost of a query."""
        general = judged.names.index(GENERAL) if GENERAL in judged.names else -1
        best = np.where(held_back, general, judged.best)
        cost = np.where(best == general, self.abstain, self.wrong)
        return float(np.where(best == judged.labels, 0.0, cost).mean())

    def as_json(self) -> dict[str, Any]:
        return {"cost": {"wrong": self.wrong, "abstain": self.abstain}}


def most_kept(confidence: Matrix, right: Booleans, precision: float) -> tuple[int, float]:
    """How many of the surest predictions may be kept so that `precision` is true of their kind
    with 95 % confidence, and the highest precision that could have been asked.

    Candidates are tested one after another by the Clopper-Pearson bound, from a place that is
    fixed beforehand towards less sure predictions, until one fails: fixed-sequence testing
    (Angelopoulos et al., "Learn then Test", 2021), so that looking at many thresholds does not
    use the promise up. The setting is Geifman and El-Yaniv's, "Selective Classification", 2017.
    """
    ends = np.flatnonzero(np.diff(confidence, append=-1.0)) + 1  # equally sure ones stay together
    if not len(ends):
        return 0, 0.0
    bounds = lower_bounds(np.cumsum(right, dtype=np.int64)[ends - 1], ends, DELTA)
    first = min(max(_least_lines(precision), len(right) // 2), len(right))
    start = int(np.searchsorted(ends, first))
    passed = np.append(bounds[start:] >= precision, False)
    steps = int(np.argmin(passed))
    return (int(ends[start + steps - 1]) if steps else 0), float(bounds[start])


def lower_bounds(hits: Labels, tries: Labels, delta: float) -> Matrix:
    """One-sided Clopper-Pearson bounds of success rates: below them with a chance of `delta`."""
    bounds = beta.ppf(delta, np.maximum(hits, 1), tries - hits + 1)
    return np.asarray(np.where(hits > 0, bounds, 0.0))


def between(confidence: Matrix, kept: int) -> float:
    """The threshold that keeps the first `kept` of descending confidences: half way to the next,
    as the last digits of a probability depend on how many texts are encoded at a time."""
    if kept >= len(confidence):
        return 0.0
    if kept == 0:
        return 1.0
    return float(confidence[kept - 1] + confidence[kept]) / 2


def _least_lines(precision: float) -> int:
    """As many right predictions in a row promise it."""
    return ceil(log(DELTA) / log(precision)) if precision < 1 else 2**31


def _problem(label: str, right: Booleans, possible: float) -> str:
    return (
        f"{label} has {len(right)} predictions, {int((~right).sum())} of them wrong, which is "
        f"enough for {np.floor(possible * 1000) / 1000:.3g}"
    )
