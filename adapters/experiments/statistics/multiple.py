"""Several questions at once: metrics and slices, with the error rate of the family controlled.

Which correction a decision needs (Schultzberg, Ankargren & Frånberg 2024, "Risk-aware product
decisions in A/B tests with multiple metrics"):

- *Roll back if any metric is worse*: any one false alarm is a mistake, so Holm over all of them.
- *Promote if the primary is better and no guardrail is beyond its margin*: every test has to pass,
  so each may use the whole alpha (intersection-union test, Berger 1982).
- *Better on some slice*: Holm over the slices, or intervals at alpha / slices.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from adapters.errors import InvalidExperiment
from adapters.experiments.statistics.moments import Array
from adapters.experiments.statistics.sequential import SequentialTest


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
    """Whether effects differ between slices by more than chance.

    Cochran's Q (1954) with its degrees of freedom, and the `share` of the effects' variation that
    is not chance (I², Higgins & Thompson 2002), as of the last look; the p-value holds at all looks
    together.
    """

    statistic: float
    freedom: int
    p_value: float
    share: float


def heterogeneity(effects: npt.ArrayLike, variances: npt.ArrayLike, spread: float) -> Heterogeneity:
    """Of disjoint slices' effects and their variances, both `(slices,)` or `(slices, looks)`; a
    variance is infinite where a slice says nothing. `spread` is the standard deviation between
    slices that would matter, fixed beforehand.

    Q's own p-value holds for one look only. Here the effects' likelihood under normal differences
    of this spread (DerSimonian & Laird's model, 1986), over that under none, is the evidence, both
    of what is left once the common effect is taken out. Given the information, it is a ratio of
    likelihoods of the data so far and so, without differences, a martingale (mixtures: Robbins
    1970; what is invariant to the common effect: Pérez-Ortiz, Lardy, de Heide & Grünwald 2024,
    "E-statistics, group invariance and anytime-valid testing"); by Ville's inequality it ever
    reaches 1 / p with probability p at most.
    """
    value, variance = np.asarray(effects, dtype=float), np.asarray(variances, dtype=float)
    if value.ndim == 1:
        value, variance = value[:, None], variance[:, None]
    known = np.isfinite(variance) & (variance > 0) & np.isfinite(value)
    value = np.where(known, value, 0.0)
    weight = np.where(known, 1 / np.where(known, variance, 1.0), 0.0)
    wide = weight / (1 + weight * spread**2)
    statistic = _distance(value, weight)
    ratio = np.divide(weight.sum(0), wide.sum(0), out=np.ones(weight.shape[1]), where=known.any(0))
    evidence = (
        statistic - _distance(value, wide) + np.log(ratio) - np.log1p(weight * spread**2).sum(0)
    ) / 2
    last, freedom = float(statistic[-1]), max(0, int(known[:, -1].sum()) - 1)
    return Heterogeneity(
        statistic=last,
        freedom=freedom,
        p_value=float(np.exp(-max(0.0, evidence.max()))),
        share=max(0.0, 1 - freedom / last) if last > 0 else 0.0,
    )


def _distance(value: Array, weight: Array) -> Array:
    """Cochran's Q: squared distances from the weighted mean."""
    total = weight.sum(0)
    mean = np.divide((weight * value).sum(0), total, out=np.zeros_like(total), where=total > 0)
    return np.asarray((weight * (value - mean) ** 2).sum(0))
