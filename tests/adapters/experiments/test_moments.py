"""Moments add up, and what is read from them agrees with regression, jackknife and Welch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import ttest_ind

from adapters.experiments.statistics.moments import (
    Estimand,
    Moments,
    difference,
    estimate,
    stratified,
)

MEAN, RATIO = Estimand.MEAN, Estimand.RATIO


def users(seed: int, n: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcome, requests and history of `n` users; history explains half of the outcome."""
    rng = np.random.default_rng(seed)
    history = rng.gamma(2.0, 1.0, n)
    requests = 1 + rng.poisson(history)
    return requests * (0.3 + shift) + history + rng.normal(0, 1, n), requests, history


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), at=st.integers(0, 30))
def test_a_look_adds_the_new_units_to_those_before(values: list[float], at: int) -> None:
    y = np.array(values)
    parts = Moments.of(y[:at], y[:at] ** 2, 1.0) + Moments.of(y[at:], y[at:] ** 2, 1.0)
    whole = Moments.of(y, y**2, 1.0)
    for name in ("n", "sums", "products"):
        assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-3)


def test_running_moments_are_those_of_all_units_so_far() -> None:
    rng = np.random.default_rng(5)
    y, x, c = rng.normal(size=(3, 40))
    looks = rng.integers(0, 6, 40) // 2 * 2  # no unit is new at looks 1, 3, 5
    running = Moments.running(looks, 6, y, x, c)
    for look in range(6):
        seen = looks <= look
        once = Moments.of(y[seen], x[seen], c[seen])
        for name in ("n", "sums", "products"):
            assert_allclose(getattr(running, name)[look], getattr(once, name), atol=1e-12)


def test_mean_and_variance_are_those_of_numpy_and_welch() -> None:
    (a, _, _), (b, _, _) = users(0, 5000), users(1, 3000, 0.1)
    arms = Moments.of(a), Moments.of(b)
    one = estimate(arms[0], MEAN)
    assert_allclose([one.value, one.variance], [a.mean(), a.var(ddof=1) / len(a)])
    # Welch's is without the floor under small arms' variances.
    parts = [estimate(arm, MEAN) for arm in arms]
    z = (parts[1].value - parts[0].value) / np.sqrt(parts[0].variance + parts[1].variance)
    assert_allclose(z, ttest_ind(b, a, equal_var=False).statistic)
    assert difference(*arms, MEAN).variance >= parts[0].variance + parts[1].variance


def test_a_ratio_varies_as_the_jackknife_over_users_says() -> None:
    y, x, _ = users(2, 2000)
    without = (y.sum() - y) / (x.sum() - x)
    jackknife = (len(y) - 1) * np.var(without)
    found = estimate(Moments.of(y, x), RATIO)
    assert_allclose(found.value, y.sum() / x.sum())
    assert_allclose(found.variance, jackknife, rtol=2e-3)


def test_cuped_is_the_regression_on_arm_and_covariate() -> None:
    (a, _, before_a), (b, _, before_b) = users(3, 4000), users(4, 4000, 0.1)
    plain = difference(Moments.of(a), Moments.of(b), MEAN)
    adjusted = difference(
        Moments.of(a, 1.0, before_a), Moments.of(b, 1.0, before_b), MEAN, adjusted=True
    )
    arm = np.repeat([0.0, 1.0], 4000)
    design = np.stack([np.ones(8000), arm, np.concatenate([before_a, before_b])], axis=1)
    outcome = np.concatenate([a, b])
    coefficients, *_ = np.linalg.lstsq(design, outcome, rcond=None)
    assert_allclose(adjusted.value, coefficients[1])
    left = outcome - design @ coefficients
    inverse = np.linalg.inv(design.T @ design)
    assert_allclose(adjusted.variance, inverse[1, 1] * left.var(ddof=3), rtol=0.02)
    correlation = np.corrcoef(before_a, a)[0, 1]
    assert_allclose(adjusted.variance / plain.variance, 1 - correlation**2, rtol=0.05)


def test_cuped_narrows_a_ratio_too_and_leaves_its_value() -> None:
    arms = [Moments.of(*users(seed, 5000)) for seed in (5, 6)]
    plain, adjusted = (difference(*arms, RATIO, adjusted=a) for a in (False, True))
    assert adjusted.variance < plain.variance
    assert abs(adjusted.value - plain.value) < 3 * np.sqrt(plain.variance)


def test_a_covariate_that_never_varies_adjusts_nothing() -> None:
    arms = [Moments.of(users(seed, 500)[0]) for seed in (7, 8)]
    plain, adjusted = (difference(*arms, MEAN, adjusted=a) for a in (False, True))
    assert (plain.value, plain.variance) == (adjusted.value, adjusted.variance)


def test_the_lift_varies_as_the_bootstrap_says() -> None:
    (a, _, _), (b, _, _) = users(9, 2000), users(10, 2000, 0.2)
    lift, variance = difference(Moments.of(a), Moments.of(b), MEAN).lift
    rng = np.random.default_rng(0)
    pick = rng.integers(2000, size=(2, 2000, 2000))
    drawn = b[pick[0]].mean(axis=1) / a[pick[1]].mean(axis=1) - 1
    assert_allclose(lift, b.mean() / a.mean() - 1)
    assert_allclose(np.sqrt(variance), drawn.std(), rtol=0.06)


def test_a_trend_does_not_look_like_an_effect_when_weights_change() -> None:
    rng = np.random.default_rng(12)
    # 500 experiments: a 10 % stage on a good day, then a half-and-half stage on a bad one.
    periods = [
        [Moments.of(rng.normal(day, 1, (500, n))) for n in sizes]
        for day, sizes in ((1.0, (900, 100)), (0.0, (500, 500)))
    ]
    pooled = difference(periods[0][0] + periods[1][0], periods[0][1] + periods[1][1], MEAN)
    within = stratified([difference(*arms, MEAN) for arms in periods])
    assert pooled.value.mean() < -0.3
    assert abs(within.value.mean()) < 0.01
    assert_allclose(within.variance.mean(), within.value.var(), rtol=0.2)
    assert (within.treatment.units == 600).all()


def test_a_lone_stratum_is_itself_and_an_empty_one_adds_nothing() -> None:
    one = difference(Moments.of(users(13, 300)[0]), Moments.of(users(14, 200)[0]), MEAN)
    none = difference(Moments.none(), Moments.of(np.ones(50)), MEAN)
    for strata in ([one], [one, none]):
        found = stratified(strata)
        assert_allclose([found.value, found.variance], [one.value, one.variance])
        assert found.treatment.units == 200
    assert stratified([none]).variance == np.inf
    with pytest.raises(ValueError, match="stratum"):
        stratified([])


def test_an_arm_that_has_seen_no_rare_event_is_not_sure_of_itself() -> None:
    control, treatment = np.repeat([0.0, 1.0], [9800, 200]), np.zeros(100)
    effect = difference(Moments.of(control), Moments.of(treatment), MEAN)
    assert estimate(Moments.of(treatment), MEAN).variance == 0
    assert_allclose(np.sqrt(effect.treatment.variance), np.sqrt(0.0196 / 100), rtol=0.02)


def test_arms_that_are_always_opposite_are_told_apart() -> None:
    effect = difference(Moments.of(np.zeros(500)), Moments.of(np.ones(500)), MEAN)
    assert 30 < effect.value / np.sqrt(effect.variance) < np.inf


@pytest.mark.parametrize("estimand", Estimand)
@pytest.mark.parametrize("units", [[], [1.0], [0.0, 0.0]])
def test_no_units_know_nothing(estimand: Estimand, units: list[float]) -> None:
    arm = Moments.of(np.array(units), np.zeros(len(units)))
    effect = difference(arm, Moments.none(), estimand)
    assert effect.variance == np.inf
    assert effect.value == (1.0 if units == [1.0] and estimand is MEAN else 0.0) * -1


def test_experiments_side_by_side_are_those_one_by_one() -> None:
    rng = np.random.default_rng(11)
    y, x, c = rng.normal(5, 1, (3, 2, 4, 200))
    side_by_side = difference(
        Moments.of(y[0], x[0], c[0]), Moments.of(y[1], x[1], c[1]), RATIO, adjusted=True
    )
    for place in range(4):
        alone = difference(
            Moments.of(y[0, place], x[0, place], c[0, place]),
            Moments.of(y[1, place], x[1, place], c[1, place]),
            RATIO,
            adjusted=True,
        )
        assert_allclose(side_by_side.value[place], alone.value)
        assert_allclose(side_by_side.variance[place], alone.variance)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Moments.of(np.array([1.0, value]))
    with pytest.raises(ValueError, match="finite"):
        Moments.running(np.array([0, 1]), 2, np.array([1.0, value]))
