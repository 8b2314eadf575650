"""Several questions at once: metrics and slices, with the error rate of the family controlled.

Which correction a decision needs (Schultzberg, Ankargren & Frånberg 2024, "Risk-aware product
decisions in A/B tests with multiple metrics"):

- *Roll back if any metric is worse*: any one false alarm is a mistake, so Holm over all of them.
- *Promote if the primary is better and no guardrail is beyond its margin*: every test has to pass,
  so each may use the whole alpha (intersection-union test, Berger 1982).
- *Better on some slice*: Holm over the slices, or intervals at alpha / slices.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from adapters.errors import InvalidExperiment
from adapters.experiments.design import Direction
from adapters.experiments.statistics.moments import Array, Estimand, Moments, difference
from adapters.experiments.statistics.sequential import (
    Horizon,
    InformationHorizon,
    Look,
    SequentialTest,
    Standing,
    judge,
)


def holm(p_values: npt.ArrayLike) -> Array:
    """Adjusted p-values along the last axis; those up to alpha are rejected.

    Holm (1979) holds under any dependence, and with continuous looks: an always-valid p-value's
    infimum over all looks is a p-value, and Holm rejects more the smaller its inputs are, so
    whatever is rejected at some look is rejected by Holm on the infima, which errs with probability
    alpha at most. Holm's intervals do not exist; `together` gives Bonferroni's.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, axis=-1, kind="stable")
    steps = np.take_along_axis(p, order, axis=-1) * np.arange(p.shape[-1], 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(steps, axis=-1), 1.0)
    result = np.empty_like(p)
    np.put_along_axis(result, order, adjusted, axis=-1)
    return result


def together(test: SequentialTest, questions: int) -> SequentialTest:
    """The test whose intervals, over so many questions, all hold at all looks (Bonferroni).

    Raises InvalidExperiment without a question.
    """
    if questions < 1:
        raise InvalidExperiment(f"no alpha can be shared among {questions} questions")
    return replace(test, alpha=test.alpha / questions)


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """Cochran's Q: whether effects differ between slices by more than chance.

    `share` (I²) is the part of their variation that is not chance. The p-value holds for one look,
    such as the final report; `SliceReading.against_rest` holds at all.
    """

    statistic: float
    freedom: int
    p_value: float
    share: float


def heterogeneity(effects: npt.ArrayLike, variances: npt.ArrayLike) -> Heterogeneity:
    """Cochran (1954): squared distances from the mean weighted by information are chi-square.

    Slices without information (infinite or no variance) are left out; below two, Q is 0.
    """
    value, variance = np.asarray(effects, dtype=float), np.asarray(variances, dtype=float)
    known = np.isfinite(variance) & (variance > 0)
    value, weight = value[known], 1 / variance[known]
    freedom = len(value) - 1
    if freedom < 1:
        return Heterogeneity(0.0, 0, 1.0, 0.0)
    statistic = float(weight @ (value - weight @ value / weight.sum()) ** 2)
    share = max(0.0, 1 - freedom / statistic) if statistic > 0 else 0.0
    return Heterogeneity(statistic, freedom, float(chi2.sf(statistic, freedom)), share)


@dataclass(frozen=True, slots=True)
class SliceReading:
    """One slice: its effect with an interval that holds for all slices and looks together.

    `against_rest` is the always-valid p-value, adjusted over slices by Holm, that the effect here
    is that of the other slices.
    """

    name: str
    look: Look
    standing: Standing
    against_rest: float


@dataclass(frozen=True, slots=True)
class Slices:
    """Every slice's reading, in the order given, and how much they differ."""

    readings: tuple[SliceReading, ...]
    heterogeneity: Heterogeneity

    def worse(self) -> tuple[str, ...]:
        """Slices on which the treatment is surely worse, whatever it is overall."""
        return tuple(r.name for r in self.readings if r.standing.inferior)


def by_slice(
    test: SequentialTest,
    slices: Mapping[str, tuple[Moments, Moments]],
    horizon: Horizon | InformationHorizon,
    *,
    estimand: Estimand = Estimand.MEAN,
    direction: Direction = Direction.HIGHER,
    margin: float = 0.0,
    adjusted: bool = False,
) -> Slices:
    """Read disjoint slices' (control, treatment) moments.

    A slice's horizon is the experiment's times the slice's share of the units so far: a tenth of
    the traffic is expected to stay a tenth. A slice below the test's `minimum_units` says nothing.
    """
    each = together(test, len(slices))
    whole = [sum((arms[side] for arms in slices.values()), Moments.none()) for side in (0, 1)]
    units = max(1.0, sum(float(arm.n) for arm in whole))
    looks, variances, contrasts = [], [], []
    for arms in slices.values():
        # A share of no units would be no horizon; such a slice is below the minimum anyway.
        share = max(1.0, sum(float(arm.n) for arm in arms)) / units
        here = difference(arms[0], arms[1], estimand, adjusted=adjusted)
        others = [every - arm for every, arm in zip(whole, arms, strict=True)]
        rest = difference(others[0], others[1], estimand, adjusted=adjusted)
        looks.append(each.look(here, horizon.part(share)))
        elsewhere = test.look(rest, horizon.part(max(1 / units, 1 - share)))
        variances.append(float(here.variance) if looks[-1].fraction > 0 else np.inf)
        contrasts.append(
            _contrast(test, (looks[-1], elsewhere), float(here.variance), float(rest.variance))
        )
    p_values = holm(contrasts)
    readings = tuple(
        SliceReading(name, look, judge(look, direction, margin), float(p))
        for name, look, p in zip(slices, looks, p_values, strict=True)
    )
    return Slices(readings, heterogeneity([float(look.effect) for look in looks], variances))


def _contrast(
    test: SequentialTest, pair: tuple[Look, Look], variance: float, rest_variance: float
) -> float:
    """Always-valid p-value of the difference between two independent effects.

    Its variance at the horizon is the sum of what the parts' will be there, whence its fraction.
    """
    here, rest = pair
    if not (here.fraction > 0 and rest.fraction > 0):
        return 1.0
    total = np.asarray(variance + rest_variance)
    fraction = (variance * here.fraction + rest_variance * rest.fraction) / total
    return float(test.read(here.effect - rest.effect, total, fraction).p_value)
