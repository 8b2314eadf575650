"""A bandit's weights: matched to how likely each arm is the best, and harmless to the analysis."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom

from adapters.experiments.bandit import bandit_weights
from adapters.experiments.measures import Direction
from adapters.experiments.statistics.bandit import best_probabilities, thompson_weights
from benchmarks.experiments.bandits import Truth, play
from tests.adapters.experiments.designs import ARMS, design
from tests.adapters.experiments.samples import BEGUN, HOUR, entry, measured, move, sample

THREE = [*ARMS, {"name": "other", "model": "base"}]
EVEN = {"control": 1.0, "new": 1.0}


def test_probabilities_are_those_of_draws() -> None:
    values, errors = [0.0, 0.5, 1.0], [0.3, 0.2, 0.5]
    draws = np.random.default_rng(0).normal(values, errors, (200_000, 3)).argmax(axis=1)
    assert_allclose(best_probabilities(values, errors), np.bincount(draws) / 200_000, atol=0.005)


def test_an_arm_known_without_error_is_one_among_others() -> None:
    assert_allclose(best_probabilities([0, 0, 0], [1, 1, 0]), [3 / 8, 3 / 8, 1 / 4], atol=1e-3)


def test_every_arm_keeps_a_floor_and_less_may_be_better() -> None:
    assert_allclose(thompson_weights([0, 9], [1, 1]), [0.05, 0.95], atol=1e-6)
    assert_allclose(thompson_weights([0, 9], [1, 1], Direction.LOWER), [0.95, 0.05], atol=1e-6)
    many = thompson_weights([9, *[0] * 19], [1] * 20)
    assert_allclose(many, [0.525, *[0.025] * 19], atol=1e-6)


def thumbs(rate: float, units: int = 200) -> np.ndarray:
    return (np.arange(units) % 100 < 100 * rate).astype(float)


def asked(control: float, new: float, units: int = 200, **changes: Any) -> dict[str, float] | None:
    """By thumbs of these rates, both arms having as many units."""
    arms = {"control": sample(thumbs(control, units)), "new": sample(thumbs(new, units))}
    made = design(**{"allocation": "thompson", **changes})
    return bandit_weights(entry(made, **EVEN), measured(arms), [])


def test_the_better_arm_gets_more() -> None:
    assert asked(0.5, 0.7) == pytest.approx({"control": 0.05, "new": 0.95}, abs=1e-3)
    less = {"metric": {"name": "thumb", "direction": "lower"}}
    assert asked(0.5, 0.7, **less) == pytest.approx({"control": 0.95, "new": 0.05}, abs=1e-3)


def test_weights_stay_without_units_or_without_a_difference() -> None:
    assert asked(0.5, 0.7, units=29, limits={"stage_units": 10}) is None
    assert asked(0.5, 0.7, units=60, limits={"stage_units": 121}) is None
    assert asked(0.5, 0.5) is None


def test_the_arms_under_test_keep_within_their_limit() -> None:
    given = asked(0.5, 0.7, limits={"percent": 60})
    assert given == pytest.approx({"control": 0.4, "new": 0.6})


def test_an_arm_that_was_dropped_stays_out() -> None:
    made = design(arms=THREE, allocation="thompson")
    arms = {"control": sample(thumbs(0.5)), "new": sample(thumbs(0.7)), "other": sample([])}
    given = bandit_weights(entry(made, **EVEN, other=0.0), measured(arms), [])
    assert given == pytest.approx({"control": 0.05, "new": 0.95, "other": 0.0}, abs=1e-3)


def test_a_good_hour_does_not_speak_for_the_arm_that_had_more_of_it() -> None:
    """Both arms are liked alike, less in the first hour, when hardly anybody was in the new one."""
    arms = {
        name: sample(
            np.concatenate([thumbs(0.2, early), thumbs(0.7, late)]),
            np.concatenate(
                [BEGUN + np.arange(early) / early, BEGUN + HOUR + np.arange(late) / late]
            ),
        )
        for name, early, late in (("control", 900, 500), ("new", 100, 500))
    }
    moves = [
        move("2025-01-01T00:00:00Z", control=0.9, new=0.1),
        move("2096-10-02T07:30:00Z", control=0.5, new=0.5),
    ]
    bandit = entry(design(allocation="thompson"), control=0.5, new=0.5)
    assert bandit_weights(bandit, measured(arms), moves) is None
    pooled = bandit_weights(bandit, measured(arms), moves[:1])
    assert pooled is not None and pooled["new"] > 0.9


def test_weights_that_follow_the_data_do_not_make_equal_arms_differ() -> None:
    """More runs: `python -m benchmarks.experiments.bandits`."""
    ends = [play(Truth(0.3, 0.7), seed) for seed in range(60)]
    most = binom.isf(0.01, 60, 0.05)
    assert sum(end.decided for end in ends) <= most < sum(end.pooled for end in ends)


def test_most_units_go_to_the_better_arm() -> None:
    ends = list(map(partial(play, Truth(0.45, 0.45, 0.1)), range(8)))
    assert all(end.share > 0.8 and end.control < 3000 for end in ends)  # of 10,000
    assert all(end.decided for end in ends)
