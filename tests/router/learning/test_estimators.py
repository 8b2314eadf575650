"""The estimators against a slow reading of their papers, and in worlds whose truth is known."""

import math

import numpy as np
import pytest

from router.learning.estimators import (
    MOST_WEIGHT,
    Estimate,
    Estimator,
    LoggedRows,
    Numbers,
    differences,
    effective_size,
    mean_reward,
    values,
)

TARGETS = 4
RIGHT, WRONG = 0.8, 0.3


def world(
    seed: int, n: int, units: int, explored: float = 0.2
) -> tuple[LoggedRows, Numbers, Numbers, Numbers]:
    """Logged rows, the choices of two routers, and the right ones; the first router logged them.

    Some units are kinder than others, so that rows of one unit are alike.
    """
    random = np.random.default_rng(seed)
    of_units = random.integers(units, size=n)
    kindness = random.uniform(-0.15, 0.15, units)[of_units]
    right = random.integers(TARGETS, size=n)
    before = np.where(random.random(n) < 0.7, right, random.integers(TARGETS, size=n))
    after = np.where(random.random(n) < 0.5, right, before)
    explores = random.random(n) < explored
    actions = np.where(explores, random.integers(TARGETS, size=n), before)
    propensities = explored / TARGETS + (1 - explored) * (actions == before)
    chances = np.where(actions == right, RIGHT, WRONG) + kindness
    rewards = (random.random(n) < chances).astype(np.float64)
    # A model that is off: it believes in the first router.
    predicted = np.where(np.arange(TARGETS) == before[:, None], 0.7, 0.5)
    return LoggedRows(actions, propensities, rewards, predicted, of_units), before, after, right


def slowly(rows: LoggedRows, choices: Numbers) -> dict[Estimator, float]:
    """As the papers have it, a row at a time."""
    total, weighted, robust = 0.0, 0.0, 0.0
    n = len(choices)
    for row in range(n):
        action, reward = int(rows.actions[row]), float(rows.rewards[row])
        same = 1.0 if action == choices[row] else 0.0
        weight = same / float(rows.propensities[row])
        total += weight
        weighted += weight * reward
        surprise = reward - float(rows.predicted[row, action])
        robust += float(rows.predicted[row, choices[row]]) + weight * surprise
    return {
        Estimator.IPS: weighted / n,
        Estimator.SNIPS: weighted / total,
        Estimator.DR: robust / n,
    }


def test_values_are_those_of_the_papers() -> None:
    rows, before, after, _ = world(0, 300, 40)
    found, gained = values(rows, after), differences(rows, before, after)
    old, new = slowly(rows, before), slowly(rows, after)
    assert {name: each.value for name, each in found.items()} == pytest.approx(new)
    expected = {name: new[name] - old[name] for name in Estimator}
    assert {name: each.value for name, each in gained.items()} == pytest.approx(expected)


def test_intervals_are_as_wide_as_units_drawn_anew() -> None:
    rows, before, after, _ = world(1, 4_000, 200)
    random = np.random.default_rng(0)
    draws: dict[Estimator, list[float]] = {name: [] for name in Estimator}
    places = [np.flatnonzero(rows.units == unit) for unit in range(200)]
    for _ in range(400):
        drawn = np.concatenate([places[unit] for unit in random.integers(200, size=200)])
        again = rows.where(drawn)
        for name, each in differences(again, before[drawn], after[drawn]).items():
            draws[name].append(each.value)
    for name, each in differences(rows, before, after).items():
        width = 2 * 1.96 * float(np.std(draws[name]))
        assert each.high - each.low == pytest.approx(width, rel=0.12), name


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    logs, n = 500, 4_000
    held = dict.fromkeys(Estimator, 0)
    # A router's value: how often it is right by design, of which a quarter of guesses are.
    right_before = 0.7 + 0.3 / TARGETS
    right_after = right_before + (1 - right_before) * 0.5
    truth = (RIGHT - WRONG) * (right_after - right_before)
    for seed in range(logs):
        rows, before, after, _ = world(seed, n, 400)
        for name, each in differences(rows, before, after).items():
            held[name] += each.low <= truth <= each.high
    # 95 % of 500 within three standard errors.
    error = 3 * math.sqrt(0.05 * 0.95 / logs)
    assert {name: pytest.approx(0.95, abs=error) for name in Estimator} == {
        name: count / logs for name, count in held.items()
    }


def test_the_same_choices_differ_by_nothing() -> None:
    rows, before, _, _ = world(2, 200, 20)
    assert set(differences(rows, before, before).values()) == {Estimate(0.0, 0.0, 0.0)}


def test_rows_of_one_unit_are_not_independent() -> None:
    rewards = np.array([1.0, 1.0, 0.0, 0.0])
    actions, propensities = np.zeros(4, dtype=np.int64), np.ones(4)
    alone = LoggedRows(actions, propensities, rewards, np.zeros((4, 1)), np.arange(4))
    pairs = LoggedRows(actions, propensities, rewards, np.zeros((4, 1)), np.array([0, 0, 1, 1]))
    # By hand: sums of deviations are ±0.5 four times, or ±1 twice; t(3) = 3.182, t(1) = 12.706.
    assert mean_reward(alone).high - 0.5 == pytest.approx(3.182 * math.sqrt(4 / 3) / 4, rel=1e-3)
    assert mean_reward(pairs).high - 0.5 == pytest.approx(12.706 * math.sqrt(2 * 2) / 4, rel=1e-3)


def test_a_single_unit_has_no_interval() -> None:
    one = LoggedRows(
        np.zeros(2, dtype=np.int64), np.ones(2), np.ones(2), np.ones((2, 1)), np.array([3, 3])
    )
    assert mean_reward(one) == Estimate(1.0, -math.inf, math.inf)


def test_a_tiny_propensity_is_clipped() -> None:
    rows = LoggedRows(
        np.zeros(2, dtype=np.int64),
        np.array([1e-6, 0.5]),
        np.ones(2),
        np.zeros((2, 2)),
        np.array([0, 1]),
    )
    assert rows.weights(np.array([0, 0])).tolist() == [MOST_WEIGHT, 2.0]
    assert rows.weights(np.array([1, 0])).tolist() == [0.0, 2.0]


def test_effective_size() -> None:
    assert effective_size(np.ones(7)) == 7
    assert effective_size(np.array([3.0, 1.0, 0.0])) == pytest.approx(1.6)
    assert effective_size(np.zeros(3)) == 0
