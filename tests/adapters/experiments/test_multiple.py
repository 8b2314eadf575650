"""Families of questions: Holm as a closed test, Q as a minimum, slices that disagree."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from scipy.stats import chi2

from adapters.errors import InvalidExperiment
from adapters.experiments.design import Direction
from adapters.experiments.statistics.moments import Moments
from adapters.experiments.statistics.multiple import by_slice, heterogeneity, holm, together
from adapters.experiments.statistics.sequential import Horizon, SequentialTest

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
    found = heterogeneity(effects, variances)
    assert found.statistic == pytest.approx(least.fun)
    assert found.p_value == pytest.approx(chi2.sf(least.fun, 3))
    assert found.share == pytest.approx(max(0, (least.fun - 3) / least.fun))


def test_slices_without_information_are_left_out_of_q() -> None:
    with_gaps = heterogeneity([0.1, 9.0, 0.3, 5.0], [0.01, np.inf, 0.02, 0.0])
    assert with_gaps == heterogeneity([0.1, 0.3], [0.01, 0.02])
    assert heterogeneity([0.1], [0.01]).p_value == 1


def slices(effects: dict[str, float], seed: int = 0) -> dict[str, tuple[Moments, Moments]]:
    rng = np.random.default_rng(seed)
    return {
        name: (Moments.of(rng.normal(0, 1, 2000)), Moments.of(rng.normal(effect, 1, 2000)))
        for name, effect in effects.items()
    }


def test_better_overall_and_worse_on_one() -> None:
    found = by_slice(
        TEST,
        slices({"term": 0.3, "notice": 0.3, "governing_law": -0.3}),
        Horizon(6000, 6000),
    )
    assert found.worse() == ("governing_law",)
    assert [bool(reading.standing.superior) for reading in found.readings] == [True, True, False]
    assert found.heterogeneity.p_value < 1e-9
    assert found.readings[2].against_rest < 1e-6


def test_slices_that_agree() -> None:
    found = by_slice(TEST, slices({"a": 0.2, "b": 0.2, "c": 0.2}, 1), Horizon(6000, 6000))
    assert found.worse() == ()
    assert found.heterogeneity.p_value > 0.01
    assert min(reading.against_rest for reading in found.readings) > 0.05


def test_lower_is_better_turns_the_verdicts_round() -> None:
    found = by_slice(
        TEST, slices({"a": 0.3, "b": -0.3}), Horizon(4000, 4000), direction=Direction.LOWER
    )
    assert found.worse() == ("a",)


def test_a_small_or_lone_slice_says_nothing() -> None:
    rng = np.random.default_rng(2)
    small = (Moments.of(rng.normal(0, 1, 20)), Moments.of(rng.normal(3, 1, 20)))
    found = by_slice(TEST, slices({"large": 0.0}) | {"small": small}, Horizon(3000, 3000))
    assert found.readings[1].look.high == np.inf
    assert (found.readings[1].against_rest, found.heterogeneity.freedom) == (1, 0)
    lone = by_slice(TEST, slices({"all": 0.0}), Horizon(2000, 2000))
    assert lone.readings[0].against_rest == 1
    none = by_slice(TEST, {"empty": (Moments.none(), Moments.none())}, Horizon(10, 10))
    assert none.readings[0].look.p_value == 1


def test_slices_err_together_no_more_than_alpha() -> None:
    wrong = 0
    for seed in range(200):
        found = by_slice(TEST, slices({"a": 0.0, "b": 0.0, "c": 0.0}, seed), Horizon(6000, 6000))
        wrong += any(r.standing.inferior or r.standing.superior for r in found.readings)
    assert wrong <= 15  # of 200 at 5 %: more has probability 5 %
