"""Assignment is stateless, matches its propensities, and moves units only into a growing arm."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.experiments.assignment import Split, Standing, Subject, enrol
from adapters.interactions import unit_digest
from tests.adapters.experiments.designs import design, split
from tests.adapters.experiments.hashing import evenness, same_everywhere

UNITS = [f"user-{number}" for number in range(20_000)]
EVEN = {"control": 1.0, "new": 1.0}


def arm_of(splits: Split, unit: str) -> str:
    return splits.assign(unit).arm.name


def subject(unit: str, **changes: object) -> Subject:
    values: dict[str, object] = {"unit": unit_digest(unit), "key": "key_1", **changes}
    return Subject(**values)  # type: ignore[arg-type]


def test_shares_match_the_propensities() -> None:
    assignments = [split(1, 2, 7).assign(unit) for unit in UNITS]
    shares = Counter(assignment.arm.name for assignment in assignments)
    for name, propensity in (("arm0", 0.1), ("arm1", 0.2), ("arm2", 0.7)):
        # Four standard deviations of a binomial share.
        error = 4 * (propensity * (1 - propensity) / len(UNITS)) ** 0.5
        assert shares[name] / len(UNITS) == pytest.approx(propensity, abs=error)
    by_arm = {a.arm.name: a.propensity for a in assignments}
    assert by_arm == pytest.approx({"arm0": 0.1, "arm1": 0.2, "arm2": 0.7})


def test_four_processes_agree_and_split_evenly() -> None:
    assert same_everywhere(2_000)
    p, counts = evenness(200_000)
    assert counts.total() == 200_000 and p > 0.001


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
        old, new = arm_of(split(*before), unit), arm_of(split(*after), unit)
        assert new in (old, f"arm{grown}")


def test_stages_take_units_from_the_control_only() -> None:
    arms = [{"name": n, "model": "base", "weight": w} for n, w in (("a", 1), ("b", 1), ("c", 3))]
    made = design(arms=arms, stages="default")
    before = dict.fromkeys(UNITS[:3000], "a")
    for percent in made.stages:
        weights = made.weights_at(percent)
        now = {unit: arm_of(Split(made, weights), unit) for unit in before}
        assert all(now[unit] == arm for unit, arm in before.items() if arm != "a")
        tested = sum(arm != "a" for arm in now.values()) / len(now)
        assert tested == pytest.approx(percent / 100, abs=0.04)
        assert made.percent_of(weights) == pytest.approx(percent)
        before = now
    assert Counter(before.values())["c"] == pytest.approx(2250, abs=120)


def test_the_salt_makes_experiments_independent() -> None:
    both = Counter((arm_of(split(1, 1, salt="a"), u), arm_of(split(1, 1), u)) for u in UNITS)
    assert all(count / len(UNITS) == pytest.approx(0.25, abs=0.015) for count in both.values())


def test_an_arm_without_weight_gets_nobody() -> None:
    assert {arm_of(split(0, 1), unit) for unit in UNITS[:500]} == {"arm1"}


def test_the_holdout_says_nothing_of_the_arm() -> None:
    made = Split(design(holdout=0.2), EVEN)
    found = [(unit, enrol([made], subject(unit))) for unit in UNITS]
    held = [unit for unit, one in found if one and one.standing is Standing.HOLDOUT]
    assert len(held) / len(UNITS) == pytest.approx(0.2, abs=0.012)
    assert all(one and not one.assignment for unit, one in found if unit in set(held[:50]))
    arms = Counter(made.assign(unit_digest(unit)).arm.name for unit in held)
    assert arms["new"] / len(held) == pytest.approx(0.5, abs=0.04)


def test_experiments_in_one_layer_share_no_unit() -> None:
    first = Split(design(name="one", layer={"name": "l", "share": 0.3}), EVEN)
    second = Split(design(name="two", layer={"name": "l", "share": 0.5}, salt="t"), EVEN, 0.3)
    found = Counter[str | None]()
    for unit in UNITS:
        inside = [one for part in (first, second) if (one := part.enrol(subject(unit)))]
        assert len(inside) <= 1
        found[inside[0].experiment if inside else None] += 1
    shares = {name: many / len(UNITS) for name, many in found.items()}
    assert shares == pytest.approx({"one": 0.3, "two": 0.5, None: 0.2}, abs=0.015)


def test_what_is_assigned_is_the_unit_that_the_design_names() -> None:
    asks = subject("s1", session="s1", user="ann")
    for unit, expected in (("session", "s1"), ("user", "ann"), ("key", "key_1")):
        one = Split(design(unit=unit), EVEN).enrol(asks)
        assert one and one.unit == unit_digest(expected)
    each = Split(design(unit="request"), EVEN)
    arms = Counter(one.assignment.arm.name for _ in UNITS[:400] if (one := each.enrol(asks)))
    assert 150 < arms["new"] < 250
    nobody = Split(design(unit="user"), EVEN).enrol(subject("s1", session="s1"))
    assert nobody and nobody.standing is Standing.INELIGIBLE


@pytest.mark.parametrize(
    ("eligibility", "eligible"),
    [
        ({"keys": ["key_1"]}, True),
        ({"keys": ["key_2"]}, False),
        ({"metadata": {"tier": ["free", "paid"]}}, True),
        ({"metadata": {"tier": ["paid"]}}, False),
        ({"metadata": {"tier": ["free"], "country": ["fr"]}}, False),
        ({"keys": ["key_1"], "metadata": {"tier": ["free"]}}, True),
    ],
)
def test_only_eligible_requests_take_part(eligibility: dict[str, object], eligible: bool) -> None:
    one = Split(design(eligibility=eligibility), EVEN).enrol(
        subject("u", metadata={"tier": "free", "odd": [1]})
    )
    assert one and (one.standing is Standing.ASSIGNED) is eligible


def test_a_kept_conversation_stays_and_others_move() -> None:
    everything = {"control": 0.0, "new": 1.0}
    kept = {unit_digest("s1"): ("control", 0.99)}
    now = Split(design(unit="user"), everything, kept=kept)
    stays = now.enrol(subject("s1", session="s1", user="ann"))
    goes = now.enrol(subject("s2", session="s2", user="ann"))
    assert stays and stays.assignment and goes and goes.assignment
    assert (stays.assignment.arm.name, stays.assignment.propensity) == ("control", 0.99)
    assert (goes.assignment.arm.name, goes.assignment.propensity) == ("new", 1.0)
    assert replace(now, kept={}).enrol(subject("s1", session="s1", user="ann")) == goes
