"""What a policy would have earned on logged requests, which another policy decided.

A policy here always has one choice. Knows arrays and nothing of routers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# A weight above this counts as this: with six targets, of exploration at 5 % none is.
MOST_WEIGHT = 120.0
LEVEL = 0.95


class Estimator(StrEnum):
    """Inverse propensities (Horvitz & Thompson 1952), the same self-normalised (Swaminathan &
    Joachims 2015), and doubly robust (Dudík, Langford & Li 2011)."""

    IPS = "ips"
    SNIPS = "snips"
    DR = "dr"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean reward, or a difference of two, with its interval at LEVEL."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LoggedRows:
    """Requests with rewards.

    Args:
        actions: [rows] what was done.
        propensities: [rows] the chance that had.
        rewards: [rows]
        predicted: [rows, actions] rewards that a model expects, which has not seen the row.
        units: [rows] who asked; what one unit says is not independent.
    """

    actions: Numbers
    propensities: Floats
    rewards: Floats
    predicted: Floats
    units: Numbers

    def weights(self, choices: Numbers) -> Floats:
        """[rows] 1 / propensity, up to MOST_WEIGHT, where the policy would have done the same."""
        same = choices == self.actions
        return np.where(same, np.minimum(1 / self.propensities, MOST_WEIGHT), 0.0)

    def where(self, chosen: Flags) -> "LoggedRows":
        return LoggedRows(
            self.actions[chosen],
            self.propensities[chosen],
            self.rewards[chosen],
            self.predicted[chosen],
            self.units[chosen],
        )


Influence = tuple[float, Floats]


def mean_reward(rows: LoggedRows) -> Estimate:
    """What the log's own policy earned, exploration included."""
    value = float(rows.rewards.mean())
    return _interval(value, rows.rewards - value, rows.units)


def values(rows: LoggedRows, choices: Numbers) -> dict[Estimator, Estimate]:
    """What a policy with these `choices` would have earned."""
    return {
        name: _interval(value, influence, rows.units)
        for name, (value, influence) in _influences(rows, choices).items()
    }


def differences(rows: LoggedRows, before: Numbers, after: Numbers) -> dict[Estimator, Estimate]:
    """What the choices `after` would have earned more than those `before`; where they are the same
    most of the noise is so too."""
    old, new = _influences(rows, before), _influences(rows, after)
    return {
        name: _interval(new[name][0] - old[name][0], new[name][1] - old[name][1], rows.units)
        for name in Estimator
    }


def effective_size(weights: Floats) -> float:
    """How many equally weighted rows would say as much (Kish 1965)."""
    squares = float(weights @ weights)
    return float(weights.sum() ** 2 / squares) if squares else 0.0


def _influences(rows: LoggedRows, choices: Numbers) -> Mapping[Estimator, Influence]:
    """Each estimate, and how much each row moves it (mean 0)."""
    weights, each = rows.weights(choices), np.arange(len(choices))
    ips = weights * rows.rewards
    expected = rows.predicted[each, choices]
    robust = expected + weights * (rows.rewards - rows.predicted[each, rows.actions])
    share = float(weights.mean())
    normalised = float(ips.mean()) / share if share else float("nan")
    spread = weights * (rows.rewards - normalised) / share if share else weights
    return {
        Estimator.IPS: (float(ips.mean()), ips - ips.mean()),
        Estimator.SNIPS: (normalised, spread),
        Estimator.DR: (float(robust.mean()), robust - robust.mean()),
    }


def _interval(value: float, influence: Floats, units: Numbers) -> Estimate:
    """Asymptotic, robust to clusters (Liang & Zeger 1986): rows of a unit are summed first."""
    sums = np.bincount(units, influence)
    sums = sums[np.bincount(units) > 0]
    count = len(sums)
    if count < 2:
        return Estimate(value, -np.inf, np.inf)
    error = np.sqrt(count / (count - 1) * float(sums @ sums)) / len(influence)
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, count - 1) * error)
    return Estimate(value, value - reach, value + reach)
