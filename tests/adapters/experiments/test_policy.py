"""What a rollout does next, for every situation it can be in."""

import time
from typing import Any

import numpy as np
import pytest

from adapters.experiments.entry import Entry, State
from adapters.experiments.observations import Measurement, Population, Sample
from adapters.experiments.policy import HOLD, Act, Situation, Step, next_step
from adapters.experiments.pulse import Pulse, feel, read_pulses
from adapters.experiments.report import Outcome, Reading, Report, Verdict
from adapters.store import instant, now
from tests.adapters.experiments.designs import design

NOW = time.time()
ARMS = [{"name": "control", "model": "base"}, {"name": "new", "model": "legal--v1-0123abcd"}]
MORE = [*ARMS, {"name": "other", "model": "legal--v2-0123abcd"}]


def verdict(outcome: Outcome, arm: str = "new", **changes: Any) -> Verdict:
    reading = Reading(
        "thumb", 0.5, 0.6, 0.1, 0.02, 0.18, 0.01, changes.pop("information", 0.3), (9, 9)
    )
    values = {"primary": reading, "guardrails": (), "harmed": (), "slices": {}, "worse_slices": ()}
    return Verdict(arm=arm, outcome=outcome, words=f"{arm} is {outcome}", **{**values, **changes})


def situation(*verdicts: Verdict, units: int = 500, **changes: Any) -> Situation:
    """An experiment at 5 % for two hours, with as many units in every arm."""
    state, missing = changes.pop("state", State.RUNNING), changes.pop("missing", "")
    mismatched, moves = changes.pop("mismatched", False), changes.pop("moves", [])
    age, weights = changes.pop("age", 7200.0), changes.pop("weights", None)
    made = design(**{"arms": ARMS, "stages": "default", **changes})
    percent = 5.0 if made.stages else None
    weights = weights or (made.weights_at(5.0) if percent else {a.name: 1.0 for a in made.live})
    entry = Entry(made, state, percent, weights, {}, 0.0, now(), now(), None)
    began = instant(entry.created)
    population = Population(units, units, units, units, first=np.full(units, began))
    measured = Measurement(populations={arm.name: population for arm in made.live}, samples={})
    report = Report("e", 1e-5 if mismatched else 0.4, mismatched, verdicts)
    return Situation(entry, report, measured, moves, missing, began + age)


UNDECIDED = verdict(Outcome.UNDECIDED)


@pytest.mark.parametrize(
    ("at", "act"),
    [
        (situation(verdict(Outcome.WORSE)), Act.ROLL_BACK),
        (situation(verdict(Outcome.HARMFUL)), Act.ROLL_BACK),
        (situation(verdict(Outcome.BETTER)), Act.PROMOTE),
        (situation(verdict(Outcome.NOT_WORSE), metric={"margin": 0.05}), Act.PROMOTE),
        (situation(UNDECIDED), Act.STAGE),
        # Not yet enough units or hours at this stage, or no stage that its owner allows.
        (situation(UNDECIDED, units=99), Act.HOLD),
        (situation(UNDECIDED, age=3500), Act.HOLD),
        (situation(UNDECIDED, limits={"percent": 20}), Act.HOLD),
        # All of the traffic comes with a verdict only.
        (situation(UNDECIDED, stages=[5, 100]), Act.HOLD),
        # What was granted is used up.
        (situation(UNDECIDED, limits={"units": 1000}), Act.STOP),
        (situation(UNDECIDED, limits={"days": 0.08}), Act.STOP),
        (situation(verdict(Outcome.UNDECIDED, information=1.0)), Act.STOP),
        # What cannot be trusted, in whatever direction it points.
        (situation(verdict(Outcome.BETTER), mismatched=True), Act.FREEZE),
        (situation(verdict(Outcome.HARMFUL), mismatched=True), Act.FREEZE),
        (situation(UNDECIDED, missing="no thumb of new"), Act.FREEZE),
        # But the way back is safe, whatever the figures are worth.
        (situation(verdict(Outcome.INVALID, harmed=("error",)), mismatched=True), Act.ROLL_BACK),
        # Harm is acted on also where data are missing.
        (situation(verdict(Outcome.HARMFUL), missing="no thumb of new"), Act.ROLL_BACK),
        # A fixed split ends by harm and limits alone.
        (situation(verdict(Outcome.BETTER), stages=[]), Act.HOLD),
        (situation(verdict(Outcome.WORSE), stages=[]), Act.HOLD),
        (situation(verdict(Outcome.HARMFUL), stages=[]), Act.ROLL_BACK),
        (situation(verdict(Outcome.UNDECIDED, information=2.0), stages=[]), Act.HOLD),
        (situation(UNDECIDED, stages=[], limits={"units": 10}), Act.STOP),
        # A bandit ends by its verdict as a rollout does.
        (situation(verdict(Outcome.BETTER), stages=[], allocation="thompson"), Act.PROMOTE),
    ],
)
def test_every_situation_has_its_step(at: Situation, act: Act) -> None:
    assert next_step(at).act is act


def test_the_next_stage_is_the_next_larger_one() -> None:
    step = next_step(situation(UNDECIDED))
    assert (step.percent, step.evidence["units"]) == (25.0, {"control": 500, "new": 500})
    assert step.reason.startswith("500 units and 2 hours at 5 % without harm; new is undecided")


@pytest.mark.parametrize(
    ("changes", "wish"),
    [
        ({"limits": {"approval": True}}, "its owner wants to agree first"),
        ({"limits": {"percent": 50}}, "it may have 50 % at most"),
        ({"arms": [ARMS[0], {**ARMS[1], "prompt": "Be brief."}]}, "the pack's system_prompt"),
        ({"arms": [ARMS[0], {**ARMS[1], "index": "ix-2"}]}, "new is index ix-2"),
        ({"arms": [ARMS[0], {"name": "new", "model": "strong"}]}, "new is the tier strong"),
    ],
)
def test_a_person_is_asked_once(changes: dict[str, Any], wish: str) -> None:
    step = next_step(situation(verdict(Outcome.BETTER), **changes))
    assert step.act is Act.PROPOSE and wish in step.reason
    said = {
        "kind": "propose",
        "evidence": dict(step.evidence),
        "before": {},
        "after": {"weights": {}},
    }
    assert next_step(situation(verdict(Outcome.BETTER), moves=[said], **changes)) == HOLD


def test_what_is_worse_somewhere_is_not_promoted_by_itself() -> None:
    step = next_step(situation(verdict(Outcome.BETTER, worse_slices=("key=sad",))))
    assert step.act is Act.PROPOSE and "worse on key=sad" in step.reason


def test_of_several_arms_the_bad_one_is_dropped_and_the_best_one_wins() -> None:
    bad, good = verdict(Outcome.WORSE), verdict(Outcome.UNDECIDED, "other")
    at = situation(bad, good, arms=MORE)
    assert next_step(at).act is Act.DROP and next_step(at).arm == "new"
    weights = at.entry.experiment.weights_at(5.0, {"new"})
    assert weights == {"control": 0.95, "new": 0.0, "other": 0.05}
    # Once dropped it counts no more, and the last one left is rolled back with the experiment.
    assert next_step(situation(bad, good, arms=MORE, weights=weights)).act is Act.STAGE
    worse = verdict(Outcome.WORSE, "other")
    last = next_step(situation(bad, worse, arms=MORE, weights=weights))
    assert (last.act, last.arm) == (Act.ROLL_BACK, "other")
    two = [verdict(Outcome.BETTER), verdict(Outcome.BETTER, "other")]
    assert next_step(situation(*two, arms=MORE)).arm == "new"


@pytest.mark.parametrize(
    ("cause", "missing", "step"),
    [
        ("missing_data", "", Step(Act.THAW, "the data come again")),
        ("missing_data", "no thumb of new", HOLD),
        ("sample_ratio", "", HOLD),
        (None, "", HOLD),
    ],
)
def test_only_data_that_come_again_end_a_freeze(
    cause: str | None, missing: str, step: Step
) -> None:
    evidence = {"cause": cause} if cause else {}
    moves = [{"kind": "freeze", "evidence": evidence, "before": {}, "after": {"weights": {}}}]
    frozen = situation(verdict(Outcome.BETTER), state=State.FROZEN, moves=moves, missing=missing)
    assert next_step(frozen) == step


def judged(came: int, told: int) -> tuple[Entry, Measurement]:
    at = situation()
    population = Population(came, came, came, came)
    sample = Sample(*[np.ones(told)] * 5)
    names = [arm.name for arm in at.entry.experiment.live]
    return at.entry, Measurement(
        populations=dict.fromkeys(names, population),
        samples={"thumb": dict.fromkeys(names, sample)},
    )


def test_feedback_that_stops_is_missed_and_that_is_late_is_not() -> None:
    pulses, missing = feel(*judged(100, 50), {})
    assert (pulses["new"], missing) == (Pulse(100, 50), "")
    # As long as the count grows, it may be as far behind as it likes.
    pulses, missing = feel(*judged(400, 51), pulses)
    assert (pulses["new"], missing) == (Pulse(400, 51), "")
    again, missing = feel(*judged(500, 51), pulses)
    assert (again, missing) == (pulses, "")
    again, missing = feel(*judged(557, 51), again)
    assert again == pulses
    assert missing == "; ".join(
        f"no thumb of {arm} for 157 units, 20 were to be expected" for arm in ("control", "new")
    )
    assert feel(*judged(600, 52), again)[1] == ""


def test_feedback_that_never_came_is_missed_in_the_end() -> None:
    assert feel(*judged(999, 0), {})[1] == ""
    assert "no thumb of new at all, after 1000 units" in feel(*judged(1000, 0), {})[1]
    assert read_pulses(None) == {}
    assert read_pulses({"new": {"came": 3, "told": 1}}) == {"new": Pulse(3, 1)}
