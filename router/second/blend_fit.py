"""Fits a blend: how much each opinion counts, and when a text is like the examples."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from router.second.blend import Blend, Weights, sigmoid, with_constant

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

# Pulls weights towards zero; on held-out sources 1e-4 and 1e-2 differ from it by 0.0002.
RIDGE = 1e-3

# Opinions, signs and labels of text that the opinions were formed without.
Held = tuple[Matrix, Matrix, Labels]


def fitted_blend(known: Held, new: Held, general: int | None, known_weight: float) -> Blend:
    """From held-out examples and from held-out places; one of the former counts `known_weight`
    of the latter when the gate is fitted."""
    first = fitted_weights(known[0], known[2], general)
    second = fitted_weights(new[0], new[2], general)
    opinions = np.concatenate([known[0], new[0]], axis=1)
    labels = np.concatenate([known[2], new[2]])
    weights = np.repeat([known_weight, 1.0], [len(known[2]), len(new[2])])
    rows = np.arange(len(labels))
    gate = _fitted_gate(
        np.exp(first.log_probabilities(opinions, general))[rows, labels],
        np.exp(second.log_probabilities(opinions, general))[rows, labels],
        with_constant(np.concatenate([known[1], new[1]])),
        weights / weights.sum(),
    )
    return Blend(first, second, gate, general)


def fitted_weights(opinions: Matrix, labels: Labels, general: int | None) -> Weights:
    """Those of the least log loss."""
    count, rows = len(opinions), np.arange(len(labels))

    def loss(values: Matrix) -> tuple[float, Matrix]:
        weights = Weights(values[:count], float(values[count]))
        logs = weights.log_probabilities(opinions, general)
        surplus = np.exp(logs)
        surplus[rows, labels] -= 1
        surplus /= len(labels)
        slope = np.append(np.einsum("nl,knl->k", surplus, opinions), 0.0)
        if general is not None:
            slope[count] = surplus[:, general].sum()
        value = -float(logs[rows, labels].mean()) + RIDGE * float(values @ values)
        return value, slope + 2 * RIDGE * values

    start = np.append(np.full(count, 1.5 / count), 0.0)
    found = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return Weights(found[:count], float(found[count]))


def _fitted_gate(known: Matrix, new: Matrix, signs: Matrix, weights: Matrix) -> Matrix:
    """Weights of `signs` with the least log loss of the mixture; `known` and `new` hold the
    probabilities of the right labels."""

    def loss(gate: Matrix) -> tuple[float, Matrix]:
        share = sigmoid(signs @ gate)
        mixed = share * known + (1 - share) * new + 1e-9
        slope = -(weights * (known - new) / mixed * share * (1 - share)) @ signs
        value = -float(weights @ np.log(mixed)) + RIDGE * float(gate @ gate)
        return value, slope + 2 * RIDGE * gate

    found = minimize(loss, np.zeros(signs.shape[1]), jac=True, method="L-BFGS-B").x
    return np.asarray(found, dtype=np.float64)
