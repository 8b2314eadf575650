"""The boundaries agree with second implementations, and intervals with p-values and verdicts."""

import numpy as np
import pytest
import ville
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from adapters.errors import InvalidExperiment
from adapters.experiments.measures import Direction
from adapters.experiments.statistics.moments import Estimand, Moments, difference
from adapters.experiments.statistics.sequential import (
    Horizon,
    InformationHorizon,
    Look,
    SequentialTest,
    judge,
    reflection_tail,
)

TEST = SequentialTest()


def look(low: float, high: float, p_value: float = 1.0) -> Look:
    numbers = ((low + high) / 2, low, high, p_value, 0.5)
    return Look(*(np.asarray(number) for number in numbers))


@given(boundary=st.floats(0.15, 8))
def test_the_reflection_principle_agrees_with_the_heat_equation(boundary: float) -> None:
    # Feller II, X.5: Brownian motion that stays within the boundary, by eigenfunctions.
    k = np.arange(200)
    odd = 2 * k + 1
    stays = 4 / np.pi * ((-1.0) ** k / odd) @ np.exp(-((np.pi * odd / boundary) ** 2) / 8)
    assert_allclose(reflection_tail(boundary), 1 - stays, atol=1e-12)


def test_the_boundary_is_the_one_in_the_tables() -> None:
    # Two-sided 5 %: the limit of O'Brien & Fleming's constants for many looks, 2.2414.
    assert SequentialTest(0.05, 1e-9).boundary == pytest.approx(2.2414, abs=1e-4)


def test_the_mixture_is_that_of_ville() -> None:
    share = TEST.alpha * TEST.long_run_share
    precision = ville.best_rho(1.0, share)
    for fraction in (1.001, 1.5, 4.0, 100.0):
        expected = ville.normal_mixture(fraction, share, precision) / np.sqrt(fraction)
        assert_allclose(TEST.critical(fraction), expected, rtol=1e-6)


@given(
    fraction=st.floats(0.01, 20),
    alpha=st.floats(0.001, 0.4),
    share=st.floats(0.02, 0.9),
)
def test_the_p_value_is_alpha_where_the_interval_ends(
    fraction: float, alpha: float, share: float
) -> None:
    test = SequentialTest(alpha, share)
    end = float(test.critical(fraction))
    assert_allclose(test.p_value(end, fraction), alpha, rtol=1e-6)
    assert test.p_value(end * 1.01, fraction) < alpha < test.p_value(end * 0.99, fraction)
    assert_allclose(test.p_value(-end, fraction), test.p_value(end, fraction))


def test_brownian_motion_leaves_the_boundaries_with_probability_alpha() -> None:
    rng = np.random.default_rng(1)
    steps = 2000
    fraction = 4 * np.arange(1, steps + 1) / steps
    paths = np.cumsum(rng.normal(0, np.sqrt(4 / steps), (4000, steps)), axis=1)
    out = np.abs(paths) >= TEST.critical(fraction) * np.sqrt(fraction)
    share = out.any(axis=1).mean()
    assert 0.035 < share <= 0.05


def test_the_fraction_is_one_at_the_horizon_and_follows_the_smaller_arm() -> None:
    rng = np.random.default_rng(2)
    arms = [Moments.of(rng.normal(0, 1, n)) for n in (1000, 1000)]
    effect = difference(*arms, Estimand.MEAN)
    assert_allclose(Horizon(1000, 1000).fraction(effect), 1.0)
    assert_allclose(Horizon(4000, 4000).fraction(effect), 0.25)
    assert 0.25 < Horizon(1000, 100_000).fraction(effect) < 0.6


def false_positives(clock: Horizon | InformationHorizon) -> float:
    """200 users an arm, all there from the first look on, with new requests before each."""
    rng = np.random.default_rng(4)
    rates = rng.beta(6, 14, (2, 1000, 200))
    answers = np.zeros((2, 1000, 200))
    found = np.zeros(1000, dtype=bool)
    for look in range(1, 41):
        answers += rng.binomial(1, rates)
        arms = [Moments.of(arm, look) for arm in answers]
        found |= TEST.look(difference(*arms, Estimand.RATIO), clock).p_value <= TEST.alpha
    return float(found.mean())


def test_users_who_come_back_need_the_clock_that_counts_information() -> None:
    # What 200 users' rates will be known to after 40 requests each.
    final = 2 * (0.21 / 21 + 0.21 * 20 / 21 / 40) / 200
    assert false_positives(InformationHorizon(final)) <= 0.06
    assert false_positives(Horizon(200, 200)) > 0.06


@pytest.mark.parametrize("units", [0, 1, 29])
def test_too_few_units_say_nothing(units: int) -> None:
    rng = np.random.default_rng(3)
    arms = Moments.of(rng.normal(0, 1, 5000)), Moments.of(rng.normal(9, 1, units))
    found = TEST.look(difference(*arms, Estimand.MEAN), Horizon(5000, 5000))
    assert (found.low, found.high, found.p_value) == (-np.inf, np.inf, 1)


def test_arms_without_variance_say_nothing() -> None:
    arms = Moments.of(np.ones(500)), Moments.of(np.ones(500))
    found = TEST.look(difference(*arms, Estimand.MEAN), Horizon(500, 500))
    assert (found.effect, found.low, found.high, found.p_value) == (0, -np.inf, np.inf, 1)


def test_a_look_keeps_what_earlier_ones_excluded() -> None:
    together = Look(*(np.array(one) for one in ([1, 2], [0.5, -1], [3, 2], [0.2, 0.3], [1, 2])))
    running = together.running()
    assert (running.low[1], running.high[1], running.p_value[1]) == (0.5, 2.0, 0.2)
    assert (running.effect[1], running.fraction[1], running.low[0]) == (2, 2, 0.5)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 0.4, (True, True, False, False)),
        (-0.1, 0.4, (False, True, False, False)),
        (-0.3, 0.4, (False, False, False, False)),
        (-0.1, -0.05, (False, True, True, False)),
        (-0.3, -0.1, (False, False, True, False)),
        (-0.5, -0.3, (False, False, True, True)),
    ],
)
def test_verdicts_and_their_mirror_image(
    low: float, high: float, expected: tuple[bool, ...]
) -> None:
    for found, direction in (
        (look(low, high), Direction.HIGHER),
        (look(-high, -low), Direction.LOWER),
    ):
        told = judge(found, direction, margin=0.2)
        assert (told.superior, told.non_inferior, told.inferior, told.beyond_margin) == expected


def test_numbers_that_make_no_sense_are_refused() -> None:
    for make in (
        lambda: SequentialTest(0.0),
        lambda: SequentialTest(0.05, 1.0),
        lambda: Horizon(0, 10),
        lambda: InformationHorizon(0),
        lambda: judge(look(0, 1), Direction.HIGHER, -0.1),
    ):
        with pytest.raises(InvalidExperiment):
            make()
