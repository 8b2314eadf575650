"""How many units an experiment needs, and when it is expected to end.

Closed forms for Brownian motion; `simulate` checks them on data.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr, ndtri

from adapters.errors import InvalidExperiment
from adapters.experiments.statistics.moments import Array
from adapters.experiments.statistics.sequential import (
    Horizon,
    InformationHorizon,
    SequentialTest,
)

# -zeta(1/2) / sqrt(2 pi): a score seen at steps of size s passes a boundary by 0.5826 sqrt(s) on
# average, which is as if the boundary lay so much farther (Siegmund 1985, chapter X; Broadie,
# Glasserman & Kou 1997).
_OVERSHOOT = 0.5825971579


def fixed_drift(alpha: float, power: float) -> float:
    """The mean z-score at the end that a two-sided test with a single look needs."""
    _check_power(alpha, power)
    return float(ndtri(1 - alpha / 2) + ndtri(power))


def sequential_drift(test: SequentialTest, power: float, looks: float = math.inf) -> float:
    """The mean z-score at the horizon that gives `power` by then, at evenly spaced looks.

    Of the constant boundary alone; the mixture adds a little.
    """
    _check_power(test.alpha, power)
    return float(
        brentq(lambda drift: float(decided_by(1.0, drift, test, looks)) - power, 0.0, 50.0)
    )


def plan(
    variances: tuple[float, float],
    effect: float,
    drift: float,
    treatment_share: float = 0.5,
) -> Horizon:
    """Units of each arm at which an effect of this size has this mean z-score.

    `variances` are those of one unit of control and treatment, as `Estimate.unit_variance`
    (CUPED's, where it is used). For non-inferiority, `effect` is the distance of the expected
    effect from -margin. `drift` comes from `fixed_drift` or `sequential_drift`.

    Raises InvalidExperiment for numbers no experiment has.
    """
    _check_effect(effect)
    if not 0 < treatment_share < 1:
        raise InvalidExperiment(f"the treatment's share is between 0 and 1, got {treatment_share}")
    if not (min(variances) >= 0 and 0 < sum(variances) < math.inf):
        raise InvalidExperiment(f"variances are finite and not all 0, got {variances}")
    control, treatment = variances
    spread = control / (1 - treatment_share) + treatment / treatment_share
    units = spread * (drift / effect) ** 2
    return Horizon(math.ceil(units * (1 - treatment_share)), math.ceil(units * treatment_share))


def plan_information(effect: float, drift: float) -> InformationHorizon:
    """The same without variances: the experiment ends when the effect is known well enough."""
    _check_effect(effect)
    return InformationHorizon((effect / drift) ** 2)


def decided_by(
    fraction: npt.ArrayLike, drift: float, test: SequentialTest, looks: float = math.inf
) -> Array:
    """P(the constant boundary is reached by this fraction of the horizon, on the drift's side).

    First passage of Brownian motion with drift: Bachelier-Lévy, e.g. Siegmund (1985), eq. 3.13.
    """
    f = np.asarray(fraction, dtype=np.float64)
    boundary = test.boundary + _OVERSHOOT / math.sqrt(looks)
    root = np.sqrt(np.where(f > 0, f, 1.0))
    direct = ndtr((drift * f - boundary) / root)
    reflected = np.exp(2 * boundary * drift + log_ndtr((-boundary - drift * f) / root))
    return np.where(f > 0, direct + reflected, 0.0)


def expected_fraction(test: SequentialTest, drift: float, looks: float = math.inf) -> float:
    """Mean fraction of the horizon used, if the experiment ends at the boundary or the horizon.

    `drift` is that of the true effect: `sequential_drift` times effect over minimum effect.
    """
    area, _ = quad(lambda f: 1 - float(decided_by(f, drift, test, looks)), 0.0, 1.0)
    # Between two looks nobody stops: half a look later on average.
    return float(min(1.0, area + (0.5 / looks if math.isfinite(looks) else 0.0)))


def _check_power(alpha: float, power: float) -> None:
    if not alpha / 2 < power < 1:
        raise InvalidExperiment(f"power is between alpha / 2 and 1, got {power} at alpha {alpha}")


def _check_effect(effect: float) -> None:
    if not (math.isfinite(effect) and effect != 0):
        raise InvalidExperiment(f"the minimum effect is a number other than 0, got {effect}")
