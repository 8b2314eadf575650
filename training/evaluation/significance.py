"""Whether a difference between two models may be chance, from their scores on the same rows.

Takes paired differences, row by row, each between -1 and 1; knows nothing of models or tasks.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

_RESAMPLES = 9_999
_ROUNDING = 1e-9


def p_value(differences: ArrayLike, *, seed: int = 0) -> float:
    """The probability of a mean at least so high if which model scored which were chance.

    The sign-flip permutation test (Fisher 1935), one-sided; where all differences have one size,
    as with right and wrong, it is McNemar's exact test (1947). 1 where nothing differs.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[values != 0]
    if not len(values):
        return 1.0
    if np.ptp(np.abs(values)) == 0:
        wins = int((values > 0).sum())
        return float(binomtest(wins, len(values), alternative="greater").pvalue)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(_RESAMPLES, len(values)))
    as_high = int((signs @ values >= values.sum() - _ROUNDING).sum())
    return (as_high + 1) / (_RESAMPLES + 1)
