"""Experiments that may meet on a request share a layer, and none of its units."""

from typing import Any

import pytest

from adapters.experiments.assignment import Subject, enrol
from adapters.experiments.entry import Entry, State
from adapters.experiments.layers import free_start
from adapters.interactions import unit_digest
from tests.adapters.experiments.designs import design

ROUTERS = [{"name": "control", "router": "v1"}, {"name": "new", "router": "v2"}]
BETWEEN_ROUTERS: dict[str, Any] = {"name": "routers", "domain": "auto", "arms": ROUTERS}
HALF = {"layer": {"name": "l", "share": 0.5}}


@pytest.mark.parametrize(
    ("first", "second"),
    [({}, BETWEEN_ROUTERS), (BETWEEN_ROUTERS, {}), (BETWEEN_ROUTERS, {**BETWEEN_ROUTERS, **HALF})],
)
def test_whoever_may_meet_one_between_routers_has_to_share_a_layer_with_it(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    one, other = design(**first), design(**{**second, "name": "other"})
    _, problems = free_start(other, [(one, 0.0)])
    assert problems == [
        f"layer: {one.name!r} runs on {one.domain} in layer {one.domain!r}, 'other' would on "
        f"{other.domain} in layer {other.share_of_layer.name!r}; stop it, or give both a share of "
        "one layer"
    ]
    one, other = design(**{**first, **HALF}), design(**{**second, **HALF, "name": "other"})
    assert free_start(other, [(one, 0.0)]) == (0.5, [])


def test_different_domains_and_tiers_never_meet() -> None:
    assert free_start(design(name="b", domain="general"), [(design(), 0.0)]) == (0.0, [])


def test_units_of_one_between_routers_are_in_no_other_of_its_layer() -> None:
    def entry(start: float, **changes: Any) -> Entry:
        made = design(**changes, **HALF)
        weights = {arm.name: arm.weight for arm in made.arms}
        return Entry(made, State.RUNNING, None, weights, {}, start, "", "", None)

    between = entry(0.0, **BETWEEN_ROUTERS, holdout=0.3, eligibility={"keys": ["key_1"]}).split
    legal, general = entry(0.5).split, entry(0.5, name="tiers", domain="general").split
    subjects = [Subject(unit_digest(f"u{n}"), f"key_{n % 2}") for n in range(400)]
    inside = [enrol([between], subject) is not None for subject in subjects]
    assert 150 < sum(inside) < 250
    for split in (legal, general):
        assert [enrol([split], subject) is None for subject in subjects] == inside
