"""What a design does before it sees traffic: false alarms, power, duration.

All experiments advance together, one look at a time, so that ten thousand take seconds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from adapters.errors import InvalidExperiment
from adapters.experiments.statistics.moments import Array, Moments, difference
from adapters.experiments.statistics.populations import Population
from adapters.experiments.statistics.sample_ratio import SampleRatioTest
from adapters.experiments.statistics.sequential import (
    Horizon,
    InformationHorizon,
    SequentialTest,
)

_Z = 1.959963984540054  # two-sided 5 %, for those who peek
_STANDARD = SampleRatioTest()

Progress = Callable[[int, int], None]
"""Told of the looks done and of all."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of the simulated experiments, with its exact 95 % interval (Clopper & Pearson)."""

    count: int
    of: int
    low: float
    high: float

    @classmethod
    def counted(cls, count: int, of: int) -> Self:
        interval = binomtest(count, of).proportion_ci(0.95, method="exact")
        return cls(count, of, float(interval.low), float(interval.high))

    @property
    def value(self) -> float:
        return self.count / self.of


@dataclass(frozen=True, slots=True)
class Design:
    """How an experiment is looked at: `looks` evenly spaced until `span` times the horizon.

    `adjusted` uses CUPED. With `information`, fractions are of that horizon, not of units.
    """

    horizon: Horizon
    looks: int = 100
    span: float = 1.0
    test: SequentialTest = SequentialTest()
    adjusted: bool = False
    information: InformationHorizon | None = None

    def __post_init__(self) -> None:
        if not (self.looks >= 1 and self.span > 0):
            raise InvalidExperiment(
                f"a design has looks and a span above 0, got {self.looks} and {self.span}"
            )

    def units_at(self, look: int) -> tuple[int, int]:
        """Units of control and treatment at a look; the first look is 1."""
        share = self.span * look / self.looks
        return round(self.horizon.control * share), round(self.horizon.treatment * share)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """When each simulated experiment was decided, and for whom.

    `look` is 0 for those that never were; `sign` is the effect's that was then believed.
    `peeked` is the look at which a fixed-horizon z-test would have been believed, or 0.
    """

    design: Design
    look: npt.NDArray[np.int64]
    sign: npt.NDArray[np.int64]
    peeked: npt.NDArray[np.int64]

    def decided(self, sign: int = 0) -> Share:
        """Experiments decided at some look: all, or those for one sign of the effect."""
        hits = (self.look > 0) & ((self.sign == sign) | (sign == 0))
        return Share.counted(int(hits.sum()), len(hits))

    def peeking(self) -> Share:
        """Experiments that a fixed-horizon z-test would have decided at some look."""
        return Share.counted(int((self.peeked > 0).sum()), len(self.peeked))

    def by_look(self, *, peeking: bool = False) -> Array:
        """Share decided by each look, `(looks,)`; of peeking at a z-test if asked."""
        counts = np.bincount(self.peeked if peeking else self.look, minlength=self.design.looks + 1)
        return np.asarray(np.cumsum(counts[1:]) / len(self.look))

    def fractions(self) -> Array:
        """Of the horizon, at which each ended: decided, or at the last look."""
        ended = np.where(self.look > 0, self.look, self.design.looks)
        return np.asarray(ended * self.design.span / self.design.looks)


def simulate(
    population: Population,
    design: Design,
    effect: float = 0.0,
    *,
    experiments: int = 10_000,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Outcome:
    """Run experiments with this true effect; 0 is an A/A test. The same seed, the same outcome."""
    rng = np.random.default_rng(seed)
    decided = np.zeros(experiments, dtype=np.int64)
    sign, peeked = np.zeros_like(decided), np.zeros_like(decided)
    arms = [Moments.none((experiments,)), Moments.none((experiments,))]
    before = (0, 0)
    for look in range(1, design.looks + 1):
        now = design.units_at(look)
        for side, added in enumerate((0.0, effect)):
            new = now[side] - before[side]
            arms[side] += population.draw(rng, experiments, new, added)
        before = now
        found = difference(arms[0], arms[1], population.estimand, adjusted=design.adjusted)
        seen = design.test.look(found, design.information or design.horizon)
        first = ((seen.low > 0) | (seen.high < 0)) & (decided == 0)
        decided[first], sign[first] = look, np.sign(seen.effect[first]).astype(np.int64)
        beyond = np.abs(found.value) > _Z * np.sqrt(found.variance)
        peeked[beyond & (seen.fraction > 0) & (peeked == 0)] = look
        progress(look, design.looks)
    return Outcome(design, decided, sign, peeked)


@dataclass(frozen=True, slots=True, eq=False)
class SampleRatioOutcome:
    """Units at which each simulated split was found mismatched; 0 where it never was."""

    units: npt.NDArray[np.int64]

    def caught(self) -> Share:
        return Share.counted(int((self.units > 0).sum()), len(self.units))

    def quantile(self, share: float) -> float:
        """Units by which this share was caught; infinite if fewer ever were."""
        waited = np.where(self.units > 0, self.units, np.inf)
        return float(np.sort(waited)[math.ceil(share * len(waited)) - 1])


def simulate_sample_ratio(
    weights: Sequence[float],
    truth: Sequence[float],
    *,
    units: int = 10_000,
    batch: int = 50,
    test: SampleRatioTest = _STANDARD,
    experiments: int = 10_000,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> SampleRatioOutcome:
    """Split units by `truth` where `weights` were promised, and look after every batch."""
    rng = np.random.default_rng(seed)
    shares = np.asarray(truth, dtype=float) / sum(truth)
    counts = np.zeros((experiments, len(shares)), dtype=np.int64)
    found = np.zeros(experiments, dtype=np.int64)
    looks = math.ceil(units / batch)
    for look in range(1, looks + 1):
        new = min(batch, units - (look - 1) * batch)
        counts += rng.multinomial(new, shares, size=experiments)
        caught = test.look([(counts, weights)]).mismatched & (found == 0)
        found[caught] = min(look * batch, units)
        progress(look, looks)
    return SampleRatioOutcome(found)
