"""The always-valid test: look after every unit, stop when you like, the error rate holds.

An effect's z-score times the root of the information fraction f (information so far over that at
the planned horizon) moves as Brownian motion in f, with drift if there is an effect (Jennison &
Turnbull 1997). Two boundaries watch it, and the error rate is split between them:

- until the horizon, a constant one, the continuous form of O'Brien & Fleming's (1979). By Lévy's
  reflection principle P(max |B(f)| over f <= 1 reaches b) = 4 (Q(b) - Q(3b) + Q(5b) - ...), Q being
  the normal tail; the horizon costs about a tenth more units than a test with a single look.
- for ever, Robbins' Gaussian mixture (1970) on estimated variances: the asymptotic confidence
  sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024, "Time-uniform central limit
  theory and asymptotic confidence sequences", theorem 2.2), for experiments that outlive their
  horizon.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import lambertw, ndtr, ndtri

from adapters.errors import InvalidExperiment
from adapters.experiments.measures import Direction
from adapters.experiments.statistics.moments import Array, Effect

_TERMS = np.arange(1, 80, 2)  # of Lévy's alternating series: exact to 1e-15 above _SMALLEST
_SMALLEST = 0.1
_HORIZON = 1 + 1e-9  # rounding must not put the last look past the horizon


@dataclass(frozen=True, slots=True)
class Horizon:
    """Units planned for each arm; fixed before the first look.

    For units that are complete once they count. Units that come back and bring more (users with
    requests every day) add information without adding units: see `InformationHorizon`.
    """

    control: float
    treatment: float

    def __post_init__(self) -> None:
        if not (self.control > 0 and self.treatment > 0):
            raise InvalidExperiment(
                f"a horizon needs units in both arms, got {self.control} and {self.treatment}"
            )

    def fraction(self, effect: Effect) -> Array:
        """Information so far over that at the horizon, at the variances seen so far.

        1 when both arms have their planned units. 0 while there is no variance to speak of.
        """
        planned = (
            effect.control.unit_variance / self.control
            + effect.treatment.unit_variance / self.treatment
        )
        return _fraction(planned, effect)

    def part(self, share: float) -> "Horizon":
        """Of a slice with this share of the units."""
        return Horizon(self.control * share, self.treatment * share)


@dataclass(frozen=True, slots=True)
class InformationHorizon:
    """The variance of the effect at which the experiment ends, however many units that takes.

    Fixed before the first look; no guess of the units' variance is in it. It also holds for units
    that come back, as an estimate from all data so far has independent increments of information
    (Jennison & Turnbull 1997). The last look should be just before 1, not after it.
    """

    variance: float

    def __post_init__(self) -> None:
        if not 0 < self.variance < np.inf:
            raise InvalidExperiment(f"a horizon's variance is above 0, got {self.variance}")

    def fraction(self, effect: Effect) -> Array:
        """Information so far over that at the horizon; 0 without variance to speak of."""
        return _fraction(np.full(np.shape(effect.value), self.variance), effect)

    def part(self, share: float) -> "InformationHorizon":
        """Of a slice with this share of the units."""
        return InformationHorizon(self.variance / share)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One look: effect, interval and p-value, which hold at all looks together.

    The interval is infinite and the p-value 1 while there are too few units. `fraction` is the
    share of the planned information; past 1 the interval widens before it narrows again, and an
    earlier look's interval still holds: see `after`.
    """

    effect: Array
    low: Array
    high: Array
    p_value: Array
    fraction: Array

    def running(self) -> "Look":
        """Of looks one after another along the last axis: each with what those before it already
        excluded.

        Where `low` exceeds `high` no effect fits them all: the effect itself has changed (or one
        of the looks errs, with probability alpha).
        """
        return Look(
            self.effect,
            np.maximum.accumulate(self.low, axis=-1),
            np.minimum.accumulate(self.high, axis=-1),
            np.minimum.accumulate(self.p_value, axis=-1),
            self.fraction,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """What an interval proves about the treatment; all False is undecided.

    With a margin, a treatment can be `inferior` and yet `non_inferior`: worse, but not by much.
    """

    superior: npt.NDArray[np.bool_]
    non_inferior: npt.NDArray[np.bool_]
    inferior: npt.NDArray[np.bool_]
    beyond_margin: npt.NDArray[np.bool_]


def judge(look: Look, direction: Direction, margin: float = 0.0) -> Standing:
    """Compare the interval with 0 and with `margin`, the loss (in the metric's unit) still borne.

    Raises InvalidExperiment for a negative margin.
    """
    if not margin >= 0:
        raise InvalidExperiment(f"a non-inferiority margin is 0 or more, got {margin}")
    higher = direction is Direction.HIGHER
    worst, best = (look.low, look.high) if higher else (-look.high, -look.low)
    return Standing(worst > 0, worst > -margin, best < 0, best < -margin)


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """A two-sided test of level `alpha` at all looks together.

    `long_run_share` of alpha is kept for looks past the horizon. Below `minimum_units` in either
    arm nothing is said; from 30 on, simulated A/A tests of rates from 0.5 to 98 % and of lognormal
    amounts, in arms of equal and of very different size, keep alpha.
    """

    alpha: float = 0.05
    long_run_share: float = 0.1
    minimum_units: int = 30

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InvalidExperiment(f"alpha lies between 0 and 1, got {self.alpha}")
        if not 0 < self.long_run_share < 1:
            raise InvalidExperiment(f"long_run_share is between 0 and 1, got {self.long_run_share}")

    @property
    def boundary(self) -> float:
        """Where the score stops until the horizon, in standard deviations at the horizon."""
        return _reflection_quantile(self.alpha * (1 - self.long_run_share))

    def critical(self, fraction: npt.ArrayLike) -> Array:
        """Standard errors on each side of the effect at this fraction; infinite at 0."""
        f = np.asarray(fraction, dtype=np.float64)
        root = np.sqrt(np.where(f > 0, f, 1))
        mixture = _mixture(f, self.alpha * self.long_run_share, self._precision)
        least = np.minimum(np.where(f <= _HORIZON, self.boundary, np.inf), mixture)
        return np.where(f > 0, least / root, np.inf)

    def p_value(self, z: npt.ArrayLike, fraction: npt.ArrayLike) -> Array:
        """The least alpha at which this look would exclude the null that `z` was counted from."""
        f = np.asarray(fraction, dtype=np.float64)
        score = np.abs(z) * np.sqrt(f)
        before = np.where(f <= _HORIZON, reflection_tail(score), 1.0) / (1 - self.long_run_share)
        precision = self._precision
        exponent = -(score**2) / (2 * (f + precision))
        later = np.sqrt((f + precision) / precision) * np.exp(exponent) / self.long_run_share
        return np.minimum(1.0, np.minimum(before, later))

    def look(self, effect: Effect, horizon: Horizon | InformationHorizon) -> Look:
        """What can be said now about an effect, whatever was said before."""
        fewest = np.minimum(effect.control.units, effect.treatment.units)
        fraction = np.where(fewest >= self.minimum_units, horizon.fraction(effect), 0.0)
        return self.read(effect.value, effect.variance, fraction)

    def read(self, value: Array, variance: Array, fraction: Array) -> Look:
        """The same for any estimate that is normal with independent increments of information."""
        known = fraction > 0
        error = np.sqrt(np.where(known, variance, 1.0))
        half = np.where(known, self.critical(fraction) * error, np.inf)
        z = np.where(known, value / error, 0.0)
        return Look(value, value - half, value + half, self.p_value(z, fraction), fraction)

    @property
    def _precision(self) -> float:
        """Of the mixing distribution; the mixture is narrowest at the horizon.

        Howard, Ramdas, McAuliffe & Sekhon (2021, "Time-uniform, nonparametric, nonasymptotic
        confidence sequences"), proposition 3.
        """
        level = self.alpha * self.long_run_share
        return float(1 / (-lambertw(-(level**2) / np.e, -1).real - 1))


def reflection_tail(boundary: npt.ArrayLike) -> Array:
    """P(max |B(f)| over 0 <= f <= 1 is at least `boundary`), B being Brownian motion."""
    b = np.asarray(boundary, dtype=np.float64)
    tails = ndtr(-np.maximum(b, _SMALLEST)[..., None] * _TERMS)
    signs = np.where(_TERMS % 4 == 1, 1.0, -1.0)
    return np.where(b <= _SMALLEST, 1.0, np.clip(4 * tails @ signs, 0.0, 1.0))


@lru_cache
def _reflection_quantile(alpha: float) -> float:
    # One side alone, and both added up, bound the root.
    low, high = max(_SMALLEST, -ndtri(alpha / 2)), -ndtri(alpha / 4) + 1e-9
    return float(brentq(lambda b: float(reflection_tail(b)) - alpha, low, high, xtol=1e-12))


def _fraction(planned: Array, effect: Effect) -> Array:
    known = effect.variance > 0
    return np.asarray(np.divide(planned, effect.variance, out=np.zeros_like(planned), where=known))


def _mixture(fraction: Array, alpha: float, precision: float) -> Array:
    shifted = fraction + precision
    return np.asarray(np.sqrt(shifted * np.log(shifted / (precision * alpha**2))))
