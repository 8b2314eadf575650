"""Plans agree with textbooks and with simulated experiments."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from adapters.errors import InvalidExperiment
from adapters.experiments.statistics.moments import difference
from adapters.experiments.statistics.populations import Amount, Population, Proportion, RequestRate
from adapters.experiments.statistics.power import (
    decided_by,
    expected_fraction,
    fixed_drift,
    plan,
    plan_information,
    sequential_drift,
)
from adapters.experiments.statistics.sequential import Horizon, SequentialTest
from adapters.experiments.statistics.simulate import Design, Share, simulate

TEST = SequentialTest()
POPULATIONS = (
    Proportion(0.3),
    Amount(2.0, 2.0),
    Amount(2.0, 1.0, correlation=0.6),
    RequestRate(0.2, 5.0, 0.2),
)


def test_the_fixed_size_is_the_textbooks() -> None:
    # Fleiss, Levin & Paik (2003): 30 % against 40 %, two-sided 5 %, power 80 %: 353 unpooled.
    found = plan((0.21, 0.24), 0.1, fixed_drift(0.05, 0.8))
    assert found == Horizon(354, 354)
    reached = 0.1 / math.sqrt(0.21 / 354 + 0.24 / 354)
    assert norm.sf(norm.isf(0.025) - reached) == pytest.approx(0.8, abs=0.002)


def test_unequal_arms_need_more() -> None:
    even, uneven = (plan((1.0, 1.0), 0.1, 2.8, share) for share in (0.5, 0.1))
    assert uneven.treatment == pytest.approx(uneven.control / 9, rel=0.01)
    for found in (even, uneven):
        assert 1 / found.control + 1 / found.treatment == pytest.approx((0.1 / 2.8) ** 2, rel=0.01)


def test_a_horizon_in_information_is_the_one_in_units() -> None:
    units, information = plan((0.2, 0.3), 0.1, 2.9), plan_information(0.1, 2.9)
    variance = 0.2 / units.control + 0.3 / units.treatment
    assert variance == pytest.approx(information.variance, rel=0.01)


def test_watching_all_the_time_costs_a_tenth() -> None:
    inflation = (sequential_drift(TEST, 0.8) / fixed_drift(0.05, 0.8)) ** 2
    assert inflation == pytest.approx(1.09, abs=0.005)
    a_hundred_looks = (sequential_drift(TEST, 0.8, 100) / fixed_drift(0.05, 0.8)) ** 2
    assert inflation < a_hundred_looks < 1.15


def test_passage_times_are_those_of_brownian_motion() -> None:
    rng = np.random.default_rng(0)
    steps, drift = 1000, 3.0
    paths = np.cumsum(rng.normal(drift / steps, steps**-0.5, (4000, steps)), axis=1)
    passed = np.maximum.accumulate(paths, axis=1) >= TEST.boundary
    for fraction in (0.4, 0.7, 1.0):
        share = passed[:, round(fraction * steps) - 1].mean()
        assert decided_by(fraction, drift, TEST, steps) == pytest.approx(share, abs=0.025)
    ended = np.where(passed.any(axis=1), passed.argmax(axis=1) + 1, steps).mean() / steps
    assert expected_fraction(TEST, drift, steps) == pytest.approx(ended, abs=0.01)


@pytest.mark.parametrize("population", POPULATIONS, ids=repr)
def test_units_vary_as_their_population_says(population: Population) -> None:
    rng = np.random.default_rng(1)
    arms = [population.draw(rng, 1, 100_000, effect) for effect in (0.0, 0.05)]
    adjusted = isinstance(population, Amount) and population.correlation != 0
    found = difference(*arms, population.estimand, adjusted=adjusted)
    for arm, effect in ((found.control, 0.0), (found.treatment, 0.05)):
        assert arm.unit_variance[0] == pytest.approx(population.unit_variance(effect), rel=0.06)
    assert found.value[0] == pytest.approx(0.05, abs=4 * found.variance[0] ** 0.5)


@pytest.mark.parametrize("population", POPULATIONS, ids=repr)
def test_simulated_experiments_keep_what_was_planned(population: Population) -> None:
    effect = 0.4 * population.unit_variance() ** 0.5 / 4
    variances = population.unit_variance(), population.unit_variance(effect)
    drift = sequential_drift(TEST, 0.8, 50)
    adjusted = isinstance(population, Amount) and population.correlation != 0
    design = Design(plan(variances, effect, drift), 50, adjusted=adjusted)
    none, one, two = (
        simulate(population, design, times * effect, experiments=600, seed=times)
        for times in (0, 1, 2)
    )
    assert none.decided().low <= TEST.alpha
    assert none.peeking().low > TEST.alpha
    power = one.decided(1)
    assert power.low < 0.83
    assert power.high > 0.8
    expected = expected_fraction(TEST, 2 * drift, 50)
    assert two.fractions().mean() == pytest.approx(expected, abs=0.04)
    assert two.by_look()[-1] == two.decided().value


def test_the_same_seed_the_same_outcome_and_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    design = Design(Horizon(300, 300), looks=5)
    first, second = (
        simulate(
            Proportion(0.5),
            design,
            0.1,
            experiments=50,
            seed=7,
            progress=lambda done, total: told.append((done, total)),
        )
        for _ in range(2)
    )
    assert (first.look == second.look).all()
    assert told == [(n, 5) for n in range(1, 6)] * 2


def test_a_share_has_its_exact_interval() -> None:
    # Clopper & Pearson's classic: 0 of 10 is at most 30.85 %.
    assert Share.counted(0, 10).high == pytest.approx(0.3085, abs=1e-4)


def test_plans_that_make_no_sense_are_refused() -> None:
    for make in (
        lambda: fixed_drift(0.05, 0.01),
        lambda: sequential_drift(TEST, 1.0),
        lambda: plan((1.0, 1.0), 0.0, 2.8),
        lambda: plan((0.0, 0.0), 0.1, 2.8),
        lambda: plan((1.0, 1.0), 0.1, 2.8, 1.0),
        lambda: Proportion(1.0),
        lambda: Amount(0.0, 1.0),
        lambda: RequestRate(0.1, 0.5, 0.1),
        lambda: Design(Horizon(1, 1), looks=0),
    ):
        with pytest.raises(InvalidExperiment):
            make()
