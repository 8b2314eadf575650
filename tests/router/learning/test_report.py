import json
import random

import pytest

from router.learning.estimators import Estimator
from router.learning.report import OffPolicyReport, Verdict, off_policy_report
from router.learning.rewards import rated, replay
from router.logged import Logged
from tests.router.learning.log import METRIC, Constant, logged

TARGETS = ("espresso", "general", "library")
SHARE = 0.3
ESPRESSO = Constant({"espresso": 0.8, "general": 0.1, "library": 0.1})
LIBRARY = Constant({"espresso": 0.1, "general": 0.1, "library": 0.8})


def explored(n: int = 600) -> list[Logged]:
    """What a router that sends all to espresso logs while it explores; all belongs to the library,
    which is praised in 8 of 10 cases, others in 3."""
    draw = random.Random(0)
    log = []
    for number in range(n):
        target = draw.choice(TARGETS) if draw.random() < SHARE else "espresso"
        propensity = SHARE / 3 + (1 - SHARE) * (target == "espresso")
        praised = draw.random() < (0.8 if target == "library" else 0.3)
        unit = f"u{number % 100}"
        log.append(logged(f"q{number}", target, float(praised), propensity=propensity, unit=unit))
    return log


def report(log: list[Logged], before: Constant, after: Constant) -> OffPolicyReport:
    return off_policy_report(replay(rated(log, METRIC), METRIC, before, after))


@pytest.mark.parametrize(
    ("before", "after", "gain", "verdict"),
    [
        (ESPRESSO, LIBRARY, 0.5, Verdict.BETTER),
        (LIBRARY, ESPRESSO, -0.5, Verdict.WORSE),
    ],
)
def test_what_is_better_is_said_to_be(
    before: Constant, after: Constant, gain: float, verdict: Verdict
) -> None:
    found = report(explored(), before, after)
    assert (found.n, found.explored, found.units, found.differing) == (600, 600, 100, 600)
    assert (found.overlap, found.clipped, found.verdict) == (1.0, 0, verdict)
    for name in Estimator:
        assert found.difference[name].low < gain < found.difference[name].high
        assert found.after[name].value - found.before[name].value == pytest.approx(
            found.difference[name].value
        )


def test_the_model_of_rewards_narrows_the_interval() -> None:
    found = report(explored(), ESPRESSO, LIBRARY).after
    width = {name: found[name].high - found[name].low for name in Estimator}
    assert width[Estimator.DR] < width[Estimator.IPS]


def test_a_log_that_never_explored_says_nothing() -> None:
    log = [logged(f"q{n}", "espresso", 1.0, unit=f"u{n}") for n in range(50)]
    found = report(log, ESPRESSO, LIBRARY)
    assert (found.explored, found.overlap, found.verdict) == (0, 0.0, Verdict.NO_SUPPORT)
    assert found.why == "no rated request could have gone elsewhere; let the gateway explore first"
    assert (found.logged, found.difference) == (None, {})


def test_a_target_that_was_never_tried_has_no_support() -> None:
    log = [one for one in explored() if one.target != "library"]
    found = report(log, ESPRESSO, LIBRARY)
    assert (found.overlap, found.verdict) == (0.0, Verdict.NO_SUPPORT)
    assert found.why.startswith("100% of the new choices were never explored")


def test_a_few_matches_are_too_few() -> None:
    found = report(explored(100), ESPRESSO, LIBRARY)
    assert found.matches < 20 and found.verdict is Verdict.NO_SUPPORT
    assert "20 are needed" in found.why


def test_routers_that_agree_differ_by_nothing() -> None:
    found = report(explored(40), ESPRESSO, ESPRESSO)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.why == "both routers do the same on all 40 rated requests"


def test_only_what_a_router_decided_and_somebody_rated_counts() -> None:
    log = [
        logged("a", "espresso", 1.0),
        logged("b", "espresso"),
        logged("c", "espresso", 1.0, reason="explicit_domain"),
        logged("d", "espresso", 1.0, reason="rule"),
        logged("e", "espresso", 1.0, ok=False),
        logged("g", "espresso", 1.0, propensity=0.0),
        logged("f", "general", 0.0, reason="below_threshold"),
    ]
    assert [one.text for one in rated(log, METRIC)] == ["a", "f"]


def test_json_has_no_infinite_numbers() -> None:
    log = [logged("q", "espresso", 1.0, propensity=0.9)]
    row = json.loads(json.dumps(report(log, ESPRESSO, LIBRARY).as_json(), allow_nan=False))
    assert row["logged"] == {"value": 1.0, "low": None, "high": None}
    assert row["after"]["snips"] == {"value": None, "low": None, "high": None}
    assert row["verdict"] == "no_support"
