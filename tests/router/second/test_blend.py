import numpy as np
import pytest

from router.second.blend import LOWEST, Blend, Weights, log_softmax, opinion
from router.second.blend_fit import fitted_blend, fitted_weights

RIGHT, WRONG = np.log(0.98), np.log(0.02)


def says(labels: list[int]) -> np.ndarray:
    """An opinion of two labels that is sure of `labels`."""
    return np.array([[RIGHT if label == k else WRONG for k in (0, 1)] for label in labels])


def test_an_opinion_never_excludes_a_label() -> None:
    logs = opinion(np.array([[0.0, -1e9]]))
    assert logs[0, 1] == pytest.approx(LOWEST, abs=1e-4)
    assert np.exp(logs).sum() == pytest.approx(1)
    np.testing.assert_allclose(np.exp(log_softmax(np.array([[1e4, 0.0]]))), [[1, 0]])


def test_weights_go_to_the_opinion_that_is_right() -> None:
    labels = np.array([0, 1] * 50)
    opinions = np.stack([says(labels.tolist()), says([0] * 100)])
    weights = fitted_weights(opinions, labels, None)
    assert weights.opinions[0] > 1 > abs(weights.opinions[1])
    assert (weights.log_probabilities(opinions, None).argmax(axis=1) == labels).all()


def test_the_gate_trusts_each_opinion_where_it_holds() -> None:
    """The first opinion is right about examples, the second about text from elsewhere; the one
    sign says which of the two a text is."""
    labels = np.array([0, 1] * 50)
    true, false = says(labels.tolist()), says((1 - labels).tolist())
    known = (np.stack([true, false]), np.full((100, 1), 1.0), labels)
    new = (np.stack([false, true]), np.full((100, 1), -1.0), labels)
    blend = fitted_blend(known, new, None, known_weight=1.0)
    for opinions, signs, _ in (known, new):
        probabilities = blend.probabilities(opinions, signs)
        assert (probabilities.argmax(axis=1) == labels).all()
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_general_may_be_given_something_beforehand() -> None:
    labels = np.array([1] * 90 + [0] * 10)
    opinions = np.zeros((1, 100, 2))
    weights = fitted_weights(opinions, labels, general=1)
    assert weights.general == pytest.approx(np.log(9), abs=0.1)


def test_a_blend_survives_json() -> None:
    blend = Blend(
        Weights(np.array([1.0, 2.0]), 0.5), Weights(np.array([3.0, 4.0]), 0.0), np.ones(3), 1
    )
    row = blend.as_json()
    opinions, signs = np.log(np.full((2, 4, 2), 0.5)), np.zeros((4, 2))
    np.testing.assert_array_equal(
        Blend.from_json(row, 1).probabilities(opinions, signs), blend.probabilities(opinions, signs)
    )
