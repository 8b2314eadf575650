"""Whether arms get the share of units they were promised, tested at every unit.

A split that is off means that something else than chance decides who answers or who is counted,
and no other figure of the experiment can be trusted. The test is Lindon & Malek's (2022,
"Anytime-valid inference for multinomial count data"): the likelihood of the counts under a mixture
of other splits over that under the promised one is a martingale if the promise is kept, and by
Ville's inequality reaches 1 / alpha with probability alpha at most, exactly, at any sample size.

The mixture here has their Dirichlet prior, which finds any mismatch in time, and for each arm two
fixed tilts, which find the size of mismatch that matters sooner.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, logsumexp

from adapters.errors import InvalidExperiment
from adapters.experiments.statistics.moments import Array

# In standard deviations of one unit's arm: 0.04 makes 48 of 50, the mismatch that is to be seen
# within 10,000 units.
TILT = 0.04
# Of the mixture. By 10,000 units the Dirichlet alone catches 46 % of true 48/52 splits, the mixture
# 61 % (a single look at the end: 76 %); 45/55 takes it 1,950 units, the Dirichlet 1,700.
DIRICHLET_SHARE = 0.2
# Units that the prior is worth. 600 would suit 48/52; that is the tilts' part, so suit gross
# mismatches: 30/70 is found after 170 units rather than 315.
CONCENTRATION = 100.0


@dataclass(frozen=True, slots=True)
class SampleRatioTest:
    """Weights are relative, in the arms' order; a weight of 0 means that an arm gets nobody."""

    alpha: float = 0.001
    concentration: float = CONCENTRATION

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InvalidExperiment(f"alpha lies between 0 and 1, got {self.alpha}")
        if not self.concentration > 0:
            raise InvalidExperiment(f"concentration is above 0, got {self.concentration}")

    def look(self, periods: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]]) -> "SampleRatio":
        """Evidence of counts `(..., arms)` with the weights `(arms,)` of each period.

        A period is a time in which the weights did not change. Within a tilt, and for the
        Dirichlet, evidence multiplies over periods: each begins where the last one ended, so the
        products are martingales, and so is their mixture.

        Raises InvalidExperiment for weights that no split can have.
        """
        components = [self._components(np.asarray(c), _shares(w)) for c, w in periods]
        if not components:
            return SampleRatio(np.zeros(()), self.alpha)
        total = np.sum(components, axis=0)
        tilts = total.shape[-1] - 1
        prior = np.append(np.full(tilts, (1 - DIRICHLET_SHARE) / tilts), DIRICHLET_SHARE)
        with np.errstate(invalid="ignore"):  # inf - inf, where an arm of weight 0 was seen
            evidence = logsumexp(total, b=prior, axis=-1)
        impossible = np.isposinf(total).any(axis=-1)
        return SampleRatio(np.where(impossible, np.inf, evidence), self.alpha)

    def _components(self, counts: npt.NDArray[np.int_], shares: Array) -> Array:
        """Log likelihood ratios `(..., 2 * arms + 1)`: the tilts, then the Dirichlet."""
        if counts.shape[-1] != len(shares):
            raise InvalidExperiment(f"{counts.shape[-1]} counts for {len(shares)} weights")
        live = shares > 0
        strays = counts[..., ~live].sum(axis=-1) > 0
        seen, expected = counts[..., live], shares[live]
        ratios = [seen @ np.log(tilted[live] / expected) for tilted in _tilts(shares)]
        prior = self.concentration * expected
        dirichlet = (
            (gammaln(seen + prior) - gammaln(prior)).sum(axis=-1)
            + gammaln(self.concentration)
            - gammaln(seen.sum(axis=-1) + self.concentration)
            - seen @ np.log(expected)
        )
        found = np.stack([*ratios, dirichlet], axis=-1)
        return np.where(strays[..., None], np.inf, found)


@dataclass(frozen=True, slots=True, eq=False)
class SampleRatio:
    """Log evidence against the promised split, `(...)`, and what follows from it.

    Evidence may sink again; once a look has found a mismatch it is found.
    """

    log_evidence: Array
    alpha: float

    @property
    def p_value(self) -> Array:
        """Always valid; the least of all looks may be kept."""
        return np.exp(-np.maximum(self.log_evidence, 0))

    @property
    def mismatched(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.log_evidence >= -np.log(self.alpha))


def _shares(weights: npt.ArrayLike) -> Array:
    found = np.asarray(weights, dtype=np.float64)
    if found.ndim != 1 or len(found) < 2 or not (np.isfinite(found) & (found >= 0)).all():
        raise InvalidExperiment(f"weights are two or more finite numbers, got {weights!r}")
    if not found.sum() > 0:
        raise InvalidExperiment(f"some weight is above 0, got {weights!r}")
    return np.asarray(found / found.sum())


def _tilts(shares: Array) -> list[Array]:
    """Each arm with more, and with less, than its share; the others keep their proportions.

    A lone arm, and one of weight 0, cannot tilt: its ratio stays 1.
    """
    found = []
    for arm, share in enumerate(shares):
        room = TILT * np.sqrt(share * (1 - share))
        for moved in (min(room, (1 - share) / 2), -min(room, share / 2)):
            tilted = shares.copy()
            if 0 < share < 1:
                tilted *= (1 - share - moved) / (1 - share)
                tilted[arm] = share + moved
            found.append(tilted)
    return found
