"""Families of questions: Holm as a closed test, Q as a minimum, its evidence at all looks."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from scipy.stats import binom, chi2, multivariate_normal

from adapters.errors import InvalidExperiment
from adapters.experiments.statistics.moments import Estimand, Moments, difference
from adapters.experiments.statistics.multiple import (
    Heterogeneity,
    heterogeneity,
    holm,
    together,
)
from adapters.experiments.statistics.sequential import SequentialTest

TEST = SequentialTest()


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p: list[float]) -> None:
    # Marcus, Peritz & Gabriel (1976): a hypothesis falls if every intersection with it does.
    everyone = range(len(p))
    families = [f for n in everyone for f in itertools.combinations(everyone, n + 1)]
    for one, adjusted in zip(everyone, holm(p), strict=True):
        worst = max(min(1, len(f) * min(p[k] for k in f)) for f in families if one in f)
        assert adjusted == pytest.approx(worst)


def test_holm_works_along_the_last_axis() -> None:
    rows = np.random.default_rng(0).uniform(size=(5, 3))
    assert_allclose(holm(rows), [holm(row) for row in rows])


def test_a_family_shares_alpha() -> None:
    assert together(TEST, 5).alpha == pytest.approx(0.01)
    with pytest.raises(InvalidExperiment):
        together(TEST, 0)


def test_q_is_the_least_weighted_distance_from_any_common_effect() -> None:
    effects, variances = np.array([0.1, 0.3, -0.2, 0.15]), np.array([0.01, 0.02, 0.03, 0.01])
    least = minimize_scalar(lambda common: np.sum((effects - common) ** 2 / variances))
    found = heterogeneity(effects, variances, 0.1)
    assert (found.statistic, found.freedom) == (pytest.approx(least.fun), 3)
    assert found.share == pytest.approx(max(0, (least.fun - 3) / least.fun))


def test_evidence_is_the_likelihood_of_contrasts_with_differences_over_that_without() -> None:
    effects, variances = np.array([0.5, -0.4, 0.1]), np.array([0.01, 0.02, 0.03])
    contrasts = np.array([[1, -1, 0], [0, 1, -1]])
    without, with_differences = (
        multivariate_normal(cov=contrasts @ np.diag(variances + between) @ contrasts.T)
        for between in (0.0, 0.2**2)
    )
    seen = contrasts @ effects
    p = without.pdf(seen) / with_differences.pdf(seen)
    assert heterogeneity(effects, variances, 0.2).p_value == pytest.approx(p)
    assert p < 1


def test_the_looks_count_together_and_the_last_one_is_described() -> None:
    effects, variances = np.array([[0.9, 0.2], [0.0, 0.1]]), np.array([[0.02, 0.01]] * 2)
    course = heterogeneity(effects, variances, 0.3)
    first, last = (heterogeneity(effects[:, n], variances[:, n], 0.3) for n in (0, 1))
    assert course.p_value == first.p_value < last.p_value
    assert course.statistic == last.statistic


def test_slices_without_information_are_left_out() -> None:
    with_gaps = heterogeneity([0.1, 9.0, 0.3, 5.0], [0.01, np.inf, 0.02, 0.0], 0.1)
    assert with_gaps == heterogeneity([0.1, 0.3], [0.01, 0.02], 0.1)
    assert heterogeneity([0.1], [0.01], 0.1) == Heterogeneity(0.0, 0, 1.0, 0.0)
    assert heterogeneity([0.1], [np.inf], 0.1) == Heterogeneity(0.0, 0, 1.0, 0.0)


def test_equal_slices_seem_to_differ_no_more_often_than_alpha_however_often_one_looks() -> None:
    rng, looks, peeked, found = np.random.default_rng(7), 50, 0, 0
    place = np.arange(800) * looks // 800
    for _ in range(300):
        effects = [
            difference(
                *(Moments.running(place, looks, rng.random(800) < rate) for _ in "ab"),
                Estimand.MEAN,
            )
            for rate in (0.2, 0.5, 0.7, 0.9)
        ]
        values, variances = (
            np.array([getattr(e, n) for e in effects]) for n in ("value", "variance")
        )
        values, variances = values[:, 3:], variances[:, 3:]  # from 64 units on
        found += heterogeneity(values, variances, 0.1).p_value <= 0.05
        once = [
            heterogeneity(*one, 0.1).statistic for one in zip(values.T, variances.T, strict=True)
        ]
        peeked += max(once) >= chi2.isf(0.05, 3)
    most = binom.isf(0.01, 300, 0.05)
    assert found <= most < peeked
