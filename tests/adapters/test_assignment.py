"""Assignment is stateless, matches its propensities, and moves units only into a growing arm."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import InvalidExperiment
from adapters.experiments.assignment import Arm, Experiment, assign

UNITS = [f"user-{number}" for number in range(20_000)]


def split(*weights: float, salt: str = "s") -> Experiment:
    arms = tuple(Arm(f"arm{n}", "base", weight) for n, weight in enumerate(weights))
    return Experiment("e", "legal", salt, arms)


def test_shares_match_the_propensities() -> None:
    assignments = [assign(split(1, 2, 7), unit) for unit in UNITS]
    shares = Counter(assignment.arm.name for assignment in assignments)
    for name, propensity in (("arm0", 0.1), ("arm1", 0.2), ("arm2", 0.7)):
        # Four standard deviations of a binomial share.
        error = 4 * (propensity * (1 - propensity) / len(UNITS)) ** 0.5
        assert shares[name] / len(UNITS) == pytest.approx(propensity, abs=error)
    by_arm = {a.arm.name: a.propensity for a in assignments}
    assert by_arm == pytest.approx({"arm0": 0.1, "arm1": 0.2, "arm2": 0.7})


@given(
    before=st.lists(st.floats(0.1, 10), min_size=2, max_size=5),
    grown=st.integers(0, 4),
    by=st.floats(0.1, 50),
)
def test_growing_an_arm_moves_units_only_into_it(
    before: list[float], grown: int, by: float
) -> None:
    grown %= len(before)
    after = [w + by if n == grown else w for n, w in enumerate(before)]
    for unit in UNITS[:200]:
        old, new = assign(split(*before), unit).arm.name, assign(split(*after), unit).arm.name
        assert new in (old, f"arm{grown}")


def test_the_salt_makes_experiments_independent() -> None:
    both = Counter(
        (assign(split(1, 1, salt="a"), u).arm.name, assign(split(1, 1, salt="b"), u).arm.name)
        for u in UNITS
    )
    assert all(count / len(UNITS) == pytest.approx(0.25, abs=0.015) for count in both.values())


def test_an_arm_without_weight_gets_nobody() -> None:
    assert {assign(split(0, 1), unit).arm.name for unit in UNITS[:500]} == {"arm1"}


@pytest.mark.parametrize("weights", [(1,), (0, 0), (-1, 2), (float("nan"), 1), (float("inf"), 1)])
def test_splits_that_make_no_sense_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(InvalidExperiment):
        split(*weights)
