import numpy as np
import pytest

from router.calibration import (
    area_under_risk_coverage,
    expected_calibration_error,
    fitted_temperature,
    fitted_threshold,
    reliability,
    softmax,
)


def test_softmax_survives_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [0.0, 0.0]])), [[1, 0], [0.5, 0.5]])


def test_the_temperature_undoes_overconfidence() -> None:
    """Labels drawn from softmax(z), seen as 3 z: the temperature that is wanted is 3."""
    random = np.random.default_rng(0)
    logits = random.standard_normal((5_000, 4)) * 2
    labels = np.array([random.choice(4, p=row) for row in softmax(logits)])
    assert fitted_temperature(3 * logits, labels) == pytest.approx(3, rel=0.06)


def test_the_threshold_sends_bad_guesses_to_general() -> None:
    probabilities = np.array([[0.9, 0.05, 0.05], [0.45, 0.3, 0.25], [0.44, 0.3, 0.26]])
    labels = np.array([0, 2, 2])
    threshold = fitted_threshold(probabilities, labels, general=2)
    assert 0.45 < threshold < 0.47


def test_the_threshold_is_as_low_as_it_may_be() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6]])
    assert fitted_threshold(probabilities, np.array([0, 1]), general=1) == 0.5
    assert fitted_threshold(probabilities, np.array([1, 0]), general=None) == 0.5


def test_calibration_error_by_hand() -> None:
    """Two bins: 0.95 said and 0.5 right (two answers), 0.55 said and 1.0 right (one)."""
    bins = reliability(np.array([0.95, 0.95, 0.55]), np.array([True, False, True]))
    assert [(b.n, b.accuracy) for b in bins] == [(1, 1.0), (2, 0.5)]
    assert expected_calibration_error(bins) == pytest.approx((2 * 0.45 + 0.45) / 3)
    assert reliability(np.array([1.0]), np.array([True]))[0].high == 1.0


def test_risk_coverage_by_hand() -> None:
    """Surest first: right, wrong, right gives risks 0, 1/2, 1/3."""
    area = area_under_risk_coverage(np.array([0.5, 0.9, 0.7]), np.array([True, True, False]))
    assert area == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)
