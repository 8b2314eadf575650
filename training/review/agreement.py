"""Whether annotators mean the same: chance-corrected agreement with intervals, and confusions.

Takes items that several people reviewed; what was said to settle a dispute is no independent voice.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.review.item import Annotation, Example, Item, ItemState, Verdict, resolved
from training.evaluation.evaluate import rounded
from training.evaluation.intervals import Interval

_RESAMPLES = 1_000
NOTHING_RIGHT = "(rejected)"

Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coefficient:
    """Agreement beyond chance: 1 is perfect, 0 what guessing gives. None where everybody always
    said one thing, which leaves nothing to agree on."""

    value: float | None
    ci95: Interval | None
    n: int

    def as_json(self) -> dict[str, Any]:
        """The figure with the items it rests on."""
        return {"value": self.value, "ci95": self.ci95, "n": self.n}


@dataclass(frozen=True, slots=True)
class Agreement:
    """`alpha` over everybody, `kappa` of each two; `confusion[a][b]`: how often one said `a` where
    another said `b`. `disputed` are the items that somebody has to settle."""

    alpha: Coefficient
    kappa: Mapping[tuple[str, str], Coefficient]
    confusion: Mapping[str, Mapping[str, int]]
    disputed: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The document of `turnout review agreement --json`."""
        return rounded(
            {
                "alpha": self.alpha.as_json(),
                "kappa": [
                    {"annotators": list(pair), **found.as_json()}
                    for pair, found in self.kappa.items()
                ],
                "confusion": {label: dict(others) for label, others in self.confusion.items()},
                "disputed": list(self.disputed),
            }
        )


def agreement(items: Iterable[Item], seed: int = 0) -> Agreement:
    """How far annotators agree; only items with at least two voices count."""
    voices: list[dict[str, str]] = []
    disputed = []
    for item in items:
        if item.state is ItemState.DISPUTED:
            disputed.append(item.id)
        said = {
            one.annotator: _value(item.example, one)
            for one in item.annotations
            if one.verdict is not Verdict.SKIP and not one.final
        }
        if len(said) > 1:
            voices.append(said)
    values = sorted({value for said in voices for value in said.values()})
    return Agreement(
        _alpha(voices, values, seed),
        _kappas(voices, values, seed),
        _confusion(voices),
        tuple(disputed),
    )


def alpha_of(counts: Counts, weights: Counts | None = None) -> float | None:
    """Krippendorff's alpha for nominal data (2011, "Computing Krippendorff's Alpha-Reliability",
    section C) from how often each item got each value [items, values], each item counted `weights`
    times; None without two values. Items with one voice do not count."""
    weights = np.ones(len(counts)) if weights is None else weights
    voices = counts.sum(axis=1)
    weights = np.where(voices > 1, weights, 0.0)
    apart = (voices**2 - (counts**2).sum(axis=1)) / np.maximum(voices - 1, 1)
    total, said = float(weights @ voices), weights @ counts
    expected = total**2 - float(said @ said)
    return 1 - (total - 1) * float(weights @ apart) / expected if expected > 0 else None


def kappa_of(table: Counts) -> float | None:
    """Cohen's kappa (1960) from how often the one said this where the other said that; None where
    both always said one thing."""
    shares = table / table.sum()
    chance = float(shares.sum(axis=0) @ shares.sum(axis=1))
    return (float(np.trace(shares)) - chance) / (1 - chance) if chance < 1 else None


def _alpha(voices: Sequence[Mapping[str, str]], values: Sequence[str], seed: int) -> Coefficient:
    counts = np.zeros((len(voices), len(values)))
    index = {value: number for number, value in enumerate(values)}
    for row, said in zip(counts, voices, strict=True):
        for value in said.values():
            row[index[value]] += 1
    # Items with the same counts are one item many times.
    kinds, times = np.unique(counts, axis=0, return_counts=True) if voices else (counts, [])
    weights = np.asarray(times, dtype=np.float64)
    rng = np.random.default_rng(seed)
    drawn = (alpha_of(kinds, one) for one in _resampled(weights, rng))
    return Coefficient(alpha_of(kinds, weights), _interval(drawn), len(voices))


def _kappas(
    voices: Sequence[Mapping[str, str]], values: Sequence[str], seed: int
) -> dict[tuple[str, str], Coefficient]:
    index = {value: number for number, value in enumerate(values)}
    pairs: dict[tuple[str, str], Counter[tuple[int, int]]] = defaultdict(Counter)
    for said in voices:
        for one, other in combinations(sorted(said), 2):
            pairs[one, other][index[said[one]], index[said[other]]] += 1
    found = {}
    for pair, cells in sorted(pairs.items()):
        table = np.zeros((len(values), len(values)))
        for cell, count in cells.items():
            table[cell] = count
        drawn = (
            kappa_of(one.reshape(table.shape))
            for one in _resampled(table.ravel(), np.random.default_rng(seed))
        )
        found[pair] = Coefficient(kappa_of(table), _interval(drawn), int(table.sum()))
    return found


def _resampled(counts: Counts, rng: np.random.Generator) -> Iterable[Counts]:
    """Bootstrap samples of items of so many kinds."""
    total = int(counts.sum())
    for _ in range(_RESAMPLES if total else 0):
        yield rng.multinomial(total, counts / total).astype(np.float64)


def _interval(drawn: Iterable[float | None]) -> Interval | None:
    """Percentiles of those that say something; None if these are few."""
    known = [value for value in drawn if value is not None]
    if len(known) < _RESAMPLES / 2:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _confusion(voices: Iterable[Mapping[str, str]]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for said in voices:
        for one, other in combinations(sorted(said), 2):
            found[said[one]][said[other]] += 1
            if said[one] != said[other]:
                found[said[other]][said[one]] += 1
    return {label: found[label] for label in sorted(found)}


def _value(example: Example, said: Annotation) -> str:
    """What is compared: labels where there are some, else verdicts, as no two texts are alike."""
    if not example.labels:
        return str(said.verdict)
    answer = resolved(example, said)
    return NOTHING_RIGHT if answer is None else answer
