"""How sure a mean of scores is, and a difference of two.

Takes scores from 0 to 1, row by row; knows nothing of models or metrics.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, t

RESAMPLES = 2000
# With fewer rows an interval is too wide to choose by.
FEW = 30

Interval = tuple[float, float]


def standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean; 0 for fewer than two values."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def mean_interval(values: Sequence[float]) -> Interval:
    """95 % interval of a mean: Wilson's (1927) of right and wrong, Student's of other scores."""
    n = len(values)
    if n == 0:
        return 0.0, 1.0
    if set(values) <= {0.0, 1.0}:
        low, high = binomtest(int(sum(values)), n).proportion_ci(method="wilson")
        return float(low), float(high)
    mean = sum(values) / n
    reach = float(t.ppf(0.975, n - 1)) * standard_error(values) if n > 1 else 1.0
    return max(0.0, mean - reach), min(1.0, mean + reach)


def difference_interval(
    mine: Mapping[str, Sequence[float]],
    theirs: Mapping[str, Sequence[float]],
    *,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of the difference between two means of task means, at 95 % or another `level`.

    Percentiles of a paired bootstrap within each task; both sides hold the same rows in the same
    order. Each task has two rows more than there are, one won and one lost by as much as any row
    (Bonett & Price 2012, for right and wrong): without them, ten rows that happen to agree would
    prove that the models are the same.
    """
    rng = np.random.default_rng(seed)
    total: NDArray[np.float64] = np.zeros(RESAMPLES)
    for task in sorted(mine):
        difference = np.asarray(mine[task], dtype=np.float64) - np.asarray(
            theirs[task], dtype=np.float64
        )
        most = float(np.abs(difference).max()) or 1.0
        difference = np.append(difference, [most, -most])
        chosen = rng.integers(len(difference), size=(RESAMPLES, len(difference)))
        total += difference[chosen].mean(axis=1)
    low, high = np.quantile(total / len(mine), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
