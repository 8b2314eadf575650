"""How much each arm of a bandit gets: the probability that it is the best one, and a floor.

Thompson's (1933) probability matching, as Scott (2010, "A modern Bayesian look at the multi-armed
bandit") uses it for batches. The floor keeps every arm's part of a batch large enough for the
batch to be analysed by itself, without which no test is valid (Zhang, Janson & Murphy 2020,
"Inference for batched bandits"; their clipping, here a mixture with equal shares).
"""

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from adapters.experiments.measures import Direction
from adapters.experiments.statistics.moments import Array

FLOOR = 0.05
# In standard errors from an arm's mean; steps are fine enough to be exact to 1e-3 even where
# another arm's value is known without any error.
_GRID = np.linspace(-8.0, 8.0, 4001)
_DENSITY = np.exp(-(_GRID**2) / 2) / np.exp(-(_GRID**2) / 2).sum()


def best_probabilities(values: npt.ArrayLike, errors: npt.ArrayLike) -> Array:
    """That each arm's mean is the highest, by independent normal posteriors `(arms,)`."""
    value = np.asarray(values, dtype=np.float64)
    error = np.maximum(np.asarray(errors, dtype=np.float64), 1e-12)
    at = value[:, None] + error[:, None] * _GRID
    below = ndtr((at[:, None, :] - value[:, None]) / error[:, None])  # (arm, other, grid)
    below[np.arange(len(value)), np.arange(len(value))] = 1.0
    won = below.prod(axis=1) @ _DENSITY
    return np.asarray(won / won.sum())


def thompson_weights(
    values: npt.ArrayLike,
    errors: npt.ArrayLike,
    direction: Direction = Direction.HIGHER,
    *,
    floor: float = FLOOR,
) -> Array:
    """Weights `(arms,)` that add up to 1, from the arms' values and standard errors.

    None is below `floor`, or half an equal share where arms are many.
    """
    value = np.asarray(values, dtype=np.float64)
    sign = 1 if direction is Direction.HIGHER else -1
    least = min(floor, 0.5 / len(value))
    return least + (1 - len(value) * least) * best_probabilities(sign * value, errors)
