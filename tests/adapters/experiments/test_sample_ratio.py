"""The sample-ratio test agrees with scipy's distributions, and is a martingale exactly."""

import itertools
from math import comb

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import dirichlet_multinomial, multinomial

from adapters.errors import InvalidExperiment
from adapters.experiments.statistics.sample_ratio import DIRICHLET_SHARE, TILT, SampleRatioTest
from adapters.experiments.statistics.simulate import simulate_sample_ratio

TEST = SampleRatioTest()


def test_evidence_is_the_likelihood_ratio_that_scipy_computes() -> None:
    counts = np.array([40, 75])
    promised = multinomial(115, [0.5, 0.5]).pmf(counts)
    prior = [TEST.concentration / 2] * 2
    alternatives = [multinomial(115, [0.5 + m, 0.5 - m]).pmf(counts) for m in (TILT / 2, -TILT / 2)]
    expected = DIRICHLET_SHARE * dirichlet_multinomial(prior, 115).pmf(counts)
    expected += (1 - DIRICHLET_SHARE) * np.mean(alternatives)
    assert_allclose(TEST.look([(counts, (1, 1))]).log_evidence, np.log(expected / promised))


@pytest.mark.parametrize("weights", [(1, 1), (1, 99), (1, 2)])
def test_evidence_is_worth_one_on_average_if_the_promise_is_kept(weights: tuple[int, int]) -> None:
    share = weights[0] / sum(weights)
    n, m = 12, 9
    total = 0.0
    for a, b in itertools.product(range(n + 1), range(m + 1)):
        likelihood = comb(n, a) * share**a * (1 - share) ** (n - a)
        likelihood *= comb(m, b) / 2**m
        look = TEST.look([((a, n - a), weights), ((b, m - b), (1, 1))])
        total += likelihood * np.exp(look.log_evidence)
    assert_allclose(total, 1.0)


def test_counts_of_48_to_52_are_a_mismatch_by_10_000_units() -> None:
    look = TEST.look([([4800, 5200], (1, 1))])
    assert look.mismatched
    assert look.p_value < 0.001
    assert not TEST.look([([4900, 5100], (1, 1))]).mismatched


def test_a_tilt_that_goes_on_through_stages_adds_up() -> None:
    stages = [([230, 4770], (5, 95)), ([2380, 2620], (1, 1)), ([2380, 2620], (1, 1))]
    alone = [float(TEST.look([stage]).log_evidence) for stage in stages]
    assert float(TEST.look(stages).log_evidence) > max(alone)


def test_a_unit_where_nobody_was_to_be_is_a_mismatch() -> None:
    look = TEST.look([([500, 500, 1], (1, 1, 0))])
    assert look.mismatched
    assert look.p_value == 0
    quiet = TEST.look([([500, 500, 0], (1, 1, 0)), ([300, 300, 300], (1, 1, 1))])
    assert not quiet.mismatched


def test_no_units_are_no_evidence() -> None:
    for periods in ([], [([0, 0], (1, 1))]):
        assert TEST.look(periods).log_evidence == pytest.approx(0, abs=1e-9)


def test_simulated_splits() -> None:
    right = simulate_sample_ratio((1, 2), (1, 2), units=5000, experiments=4000, seed=1)
    assert right.caught().low <= 0.001
    gross = simulate_sample_ratio((1, 2), (1, 1), units=1000, batch=10, experiments=500, seed=2)
    assert gross.caught().value == 1
    assert gross.quantile(0.5) < 300


@pytest.mark.parametrize("weights", [(1,), (0, 0), (-1, 2), (np.nan, 1), (1, 1, 1)])
def test_weights_that_make_no_sense_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(InvalidExperiment):
        TEST.look([([5, 5], weights)])
