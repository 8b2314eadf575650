"""A design is read whole or refused with every reason, whatever it holds."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.errors import InvalidExperiment
from adapters.experiments.design import DEFAULT_STAGES
from adapters.experiments.measures import Direction, Kind, Measure
from adapters.experiments.reading import read_experiment, read_file
from tests.adapters.experiments.designs import ARMS, design

SIMPLE: dict[str, Any] = {"name": "e", "domain": "legal", "arms": ARMS}


def problem(**changes: Any) -> str:
    with pytest.raises(InvalidExperiment) as caught:
        read_experiment({**SIMPLE, **changes})
    return str(caught.value)


def test_two_arms_are_enough() -> None:
    made = design()
    assert made.control.name == "control" and [arm.weight for arm in made.arms] == [1, 1]
    assert made.metric.measure == Measure("thumb", Kind.PROPORTION, Direction.HIGHER)
    assert made.metric.effect == 0.05 and made.stages == () and made.share_of_layer.share == 1
    assert {guardrail.name for guardrail in made.guardrails} >= {"error", "total_ms", "refusal"}
    assert read_experiment(SIMPLE).salt != read_experiment(SIMPLE).salt


def test_an_arm_is_also_an_index_or_on_auto_a_router() -> None:
    made = design(arms=[ARMS[0], {**ARMS[1], "index": "v2-0a1b2c3d"}])
    assert [arm.index for arm in made.arms] == [None, "v2-0a1b2c3d"]
    routers = [{"name": "control", "router": "v1"}, {"name": "new", "router": "v2"}]
    made = design(domain="auto", arms=routers)
    assert [(arm.router, arm.model) for arm in made.arms] == [("v1", ""), ("v2", "")]


def test_every_problem_is_told_at_once_with_its_field() -> None:
    said = problem(
        name="bad name",
        arms=[{"name": "holdout", "model": "base", "wieght": 1}, {"name": "x", "tier": "big"}],
        metric={"kind": "mode"},
        stages=[5, 1],
        holdout=2,
        limitz={},
    )
    for part in (
        "name: String should match",
        "arms.0.name: 'holdout' is what units outside every arm are called",
        "arms.0.wieght: no such field; did you mean 'weight'?",
        "arms.1.tier: no such field; a general tier is named in 'model'",
        "metric.kind: Input should be 'proportion', 'mean' or 'ratio'",
        "stages: each stage must be larger than the one before it",
        "holdout: Input should be less than or equal to 0.9, not '2'",
        "limitz: no such field; did you mean 'limits'?",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": ARMS[:1]}, "arms: needs at least two arms"),
        ({"arms": [ARMS[0], ARMS[0]]}, "two arms share a name"),
        ({"arms": [{**arm, "weight": 0} for arm in ARMS]}, "at least one weight must be above 0"),
        ({"arms": [ARMS[0], {**ARMS[1], "weight": -1}]}, "arms.1.weight"),
        ({"arms": [ARMS[0], {**ARMS[1], "weight": float("nan")}]}, "arms.1.weight"),
        ({"arms": [ARMS[0], {**ARMS[1], "weight": True}]}, "arms.1.weight"),
        ({"arms": [ARMS[0], {**ARMS[1], "router": "v2"}]}, "a router is for 'auto'"),
        ({"arms": [ARMS[0], {"name": "new"}]}, "arms: new needs a model"),
        ({"arms": [ARMS[0], {**ARMS[1], "index": "../v2"}]}, "arms.1.index: String should match"),
        ({"domain": "auto"}, "arms: on 'auto' an arm is a router, control is not"),
        (
            {"domain": "auto", "arms": [{**arm, "router": "v2"} for arm in ARMS]},
            "arms: on 'auto' an arm is a router, control is not",
        ),
        ({"arms": ARMS * 20}, "arms: Tuple should have at most 20 items"),
        ({"metric": {"minimum_effect": 0.1, "margin": 0.1}}, "metric: give minimum_effect"),
        ({"metric": {"name": "stars", "kind": "mean"}}, "metric: a mean needs minimum_effect"),
        ({"metric": {"name": "total_ms"}}, "metric: a ratio needs minimum_effect or margin"),
        ({"guardrails": [{"name": "error", "margin": 0}]}, "guardrails.0.margin"),
        ({"guardrails": [{"name": "error", "margin": 1}] * 2}, "a metric has one guardrail"),
        ({"slices": ["password"]}, "slices.0"),
        ({"eligibility": {"metadata": {"tier": []}}}, "eligibility.metadata.tier"),
        ({"layer": {"name": "l", "share": 1.5}}, "layer.share"),
        ({"limits": {"units": 1.5}}, "limits.units"),
        ({"unit": "planet"}, "unit: Input should be 'session', 'user', 'key' or 'request'"),
        ({"salt": "s\0"}, "salt"),
        ({"owner": "a\nb"}, "owner"),
    ],
)
def test_designs_that_make_no_sense_are_refused(changes: dict[str, Any], said: str) -> None:
    assert said in problem(**changes)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            "name domain arms owner salt unit eligibility holdout layer metric guardrails slices "
            "feedback_days limits stages other".split()
        ),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.just(10**400)
            | st.floats()
            | st.text(max_size=80),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.sampled_from(["name", "model", "weight", "share"]), inner)
            ),
            max_leaves=12,
        ),
    )
)
def test_hostile_values_are_refused_in_few_words(values: dict[str, Any]) -> None:
    try:
        read_experiment(values)
    except InvalidExperiment as exc:
        assert len(str(exc)) < 8000


def test_huge_values_are_refused_in_few_words() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    arms = [{"name": "x" * 10**6, "model": "y" * 10**6, "weight": 10**5000}] * 1000
    assert len(problem(arms=arms, owner="o" * 10**6, slices=deep, stages=deep)) < 8000
    assert len(problem(**{f"f{n}": n for n in range(10_000)})) < 8000


def test_files_are_read_and_broken_ones_named(tmp_path: Path) -> None:
    toml, text = tmp_path / "e.toml", tmp_path / "e.json"
    toml.write_text(
        'name = "e"\ndomain = "legal"\nstages = "default"\n'
        '[[arms]]\nname = "control"\nmodel = "base"\nprompt = "Be brief."\n'
        '[[arms]]\nname = "new"\nmodel = "base"\n[metric]\nname = "stars"\nkind = "mean"\n'
        "margin = 0.2\n"
    )
    made = read_experiment(read_file(toml))
    assert made.stages == DEFAULT_STAGES and made.arms[0].prompt == "Be brief."
    assert made.metric.effect is None and made.metric.margin == 0.2
    text.write_text(json.dumps(SIMPLE))
    assert read_experiment(read_file(text)).domain == "legal"
    for content in ("[", "[1]", "[" * 100_000, "1" * 5000, '"\ud800'.encode("utf-8", "replace")):
        text.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InvalidExperiment, match="e.json"):
            read_file(text)
    with pytest.raises(InvalidExperiment, match="larger than"):
        toml.write_text("#" * 2**20 + "##")
        read_file(toml)
    with pytest.raises(InvalidExperiment, match="cannot be read"):
        read_file(tmp_path / "absent.toml")
