"""What a rollout does next: a pure function of where it stands and of what its data say.

Worse or harmful is rolled back at once. Better, or not worse where that was the question, is
promoted; a person has to agree where the owner said so, where a slice got worse, and where an arm
is more than a version. Without a verdict the next stage comes when this one has had its time and
its units, until the planned information has come or a limit is reached. What cannot be trusted is
frozen. A fixed split is only watched: nothing ends it but harm and its owner's limits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from adapters.experiments.design import Allocation, Arm
from adapters.experiments.entry import Entry, State
from adapters.experiments.measures import Direction
from adapters.experiments.observations import Measurement
from adapters.experiments.pulse import MISSING
from adapters.experiments.report import Outcome, Report, Verdict
from adapters.experiments.statistics.sequential import SequentialTest
from adapters.store import instant

_BAD = (Outcome.HARMFUL, Outcome.WORSE)


class Act(StrEnum):
    """What can be done to an experiment by itself."""

    HOLD = "hold"
    STAGE = "stage"
    PROMOTE = "promote"
    PROPOSE = "propose"
    ROLL_BACK = "roll_back"
    DROP = "drop"
    FREEZE = "freeze"
    THAW = "thaw"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Step:
    """What to do, why in words, and what shows it; `percent` is the next stage."""

    act: Act
    reason: str = ""
    arm: str = ""
    percent: float = 0.0
    cause: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


HOLD = Step(Act.HOLD)


@dataclass(frozen=True, slots=True)
class Situation:
    """An experiment at a look: `moves` is its audit log, `missing` says what data do not come,
    `now` is in unix seconds."""

    entry: Entry
    report: Report
    measured: Measurement
    moves: Sequence[Mapping[str, Any]]
    missing: str
    now: float

    @property
    def is_bandit(self) -> bool:
        """Whether a bandit may set the weights now."""
        thompson = self.entry.experiment.allocation is Allocation.THOMPSON
        return thompson and self.entry.state is State.RUNNING

    @property
    def moves_itself(self) -> bool:
        return bool(self.entry.experiment.stages) or self.is_bandit

    @property
    def units(self) -> int:
        """Units that came to the arms that get traffic."""
        names = (arm.name for arm in self.entry.experiment.live)
        return sum(self.measured.populations[name].units for name in names)

    def units_since(self, begin: float) -> int:
        """Units that came to the arms under test from then on."""
        tested = self.entry.experiment.live[1:]
        firsts = (self.measured.populations[arm.name].first for arm in tested)
        return int(sum(np.count_nonzero(first >= begin) for first in firsts))

    @property
    def stage_began(self) -> float:
        """When the weights last changed."""
        changed = [
            m["at"] for m in self.moves if m["before"].get("weights") != m["after"]["weights"]
        ]
        return instant(changed[-1] if changed else self.entry.created)

    @property
    def stage_is_over(self) -> bool:
        """Whether the present weights have had their time and their units, and no arm under test
        so few in all that harm could not be seen."""
        limits, began = self.entry.experiment.limits, self.stage_began
        enough = self.units_since(began) >= limits.stage_units
        tested = self.entry.experiment.live[1:]
        fewest = min(self.measured.populations[arm.name].units for arm in tested)
        visible = fewest >= SequentialTest().minimum_units
        return enough and visible and self.now - began >= 3600 * limits.stage_hours

    @property
    def in_the_race(self) -> list[Verdict]:
        """Verdicts on arms that were not dropped."""
        return [v for v in self.report.verdicts if v.arm not in self.entry.dropped]


def next_step(at: Situation) -> Step:
    """What to do now."""
    if at.entry.state is State.FROZEN:
        return _thaw(at)
    if at.report.mismatched:
        if harmed := [v for v in at.in_the_race if v.harmed]:  # the way back is safe in any case
            return _roll_back(at, harmed[0])
        reason = f"units are not split as promised (p = {at.report.sample_ratio:.2g})"
        return Step(Act.FREEZE, reason, cause="sample_ratio")
    bad = [v for v in at.in_the_race if v.outcome in _BAD]
    if not at.moves_itself:
        bad = [v for v in bad if v.outcome is Outcome.HARMFUL]
    if bad:
        return _roll_back(at, bad[0])
    if at.missing:
        return Step(Act.FREEZE, at.missing, cause=MISSING)
    if winner := _winner(at):
        return _promote(at, winner)
    return _end(at) or _next_stage(at)


def _thaw(at: Situation) -> Step:
    """Data that come again end the freeze that their absence began; all else is a person's."""
    last = next((m for m in reversed(at.moves) if m["kind"] == "freeze"), None)
    if last is None or last["evidence"].get("cause") != MISSING or at.missing:
        return HOLD
    return Step(Act.THAW, "the data come again")


def _roll_back(at: Situation, verdict: Verdict) -> Step:
    act = Act.DROP if len(at.in_the_race) > 1 else Act.ROLL_BACK
    return Step(act, verdict.words, verdict.arm, evidence=_shown(at, verdict))


def _winner(at: Situation) -> Verdict | None:
    """The arm that won by most."""
    metric = at.entry.experiment.metric
    won = (Outcome.BETTER, Outcome.NOT_WORSE) if metric.margin else (Outcome.BETTER,)
    winners = [v for v in at.in_the_race if v.outcome in won and at.moves_itself]
    sign = 1 if metric.measure.direction is Direction.HIGHER else -1
    return max(winners, key=lambda v: sign * v.primary.effect, default=None)


def _promote(at: Situation, verdict: Verdict) -> Step:
    design = at.entry.experiment
    arm: Arm = next(arm for arm in design.live if arm.name == verdict.arm)
    asks = [
        "its owner wants to agree first" if design.limits.approval else "",
        f"it may have {design.limits.percent:g} % at most" if design.limits.percent < 100 else "",
        f"it is worse on {', '.join(verdict.worse_slices)}" if verdict.worse_slices else "",
        design.by_hand(arm) or "",
    ]
    if wishes := [text for text in asks if text]:
        return _propose(at, verdict, f"{verdict.words}; a person decides: {'; '.join(wishes)}")
    return Step(Act.PROMOTE, verdict.words, verdict.arm, evidence=_shown(at, verdict))


def _propose(at: Situation, verdict: Verdict, reason: str) -> Step:
    """Once for each arm: what was proposed stands in the audit log."""
    said = [m for m in at.moves if m["kind"] == "propose"]
    if any(move["evidence"].get("arm") == verdict.arm for move in said):
        return HOLD
    return Step(Act.PROPOSE, reason, verdict.arm, evidence=_shown(at, verdict))


def _end(at: Situation) -> Step | None:
    """Whether an experiment has had what it was given without a verdict."""
    limits, verdicts = at.entry.experiment.limits, at.in_the_race
    days = (at.now - instant(at.entry.created)) / 86_400
    reason = ""
    if limits.units is not None and at.units >= limits.units:
        reason = f"limits.units: {at.units} units have come, {limits.units} were granted"
    elif limits.days is not None and days >= limits.days:
        reason = f"limits.days: {days:.3g} days are over, {limits.days:g} were granted"
    elif at.moves_itself and verdicts and min(v.primary.information for v in verdicts) >= 1:
        reason = "the planned information has come"
    if not reason:
        return None
    told = "; ".join(verdict.words for verdict in verdicts)
    evidence = {"verdicts": [verdict.words for verdict in verdicts]}
    return Step(Act.STOP, f"{reason}; {told}", evidence=evidence)


def _next_stage(at: Situation) -> Step:
    """The stage after this one. All of the traffic comes with a verdict only: after it there is
    nothing to compare with."""
    design, limits = at.entry.experiment, at.entry.experiment.limits
    later = [stage for stage in design.stages if stage > (at.entry.percent or 0)]
    if not later or later[0] >= 100 or later[0] > limits.percent or not at.stage_is_over:
        return HOLD
    units, hours = at.units_since(at.stage_began), (at.now - at.stage_began) / 3600
    told = "; ".join(verdict.words for verdict in at.in_the_race)
    reason = f"{units} units and {hours:.3g} hours at {at.entry.percent:g} % without harm; {told}"
    return Step(Act.STAGE, reason, percent=later[0], evidence=_so_far(at))


def _shown(at: Situation, verdict: Verdict) -> dict[str, Any]:
    """A verdict's numbers, for the audit log."""
    primary = verdict.primary
    return {
        "arm": verdict.arm,
        "outcome": verdict.outcome,
        "metric": primary.metric,
        "control": primary.control,
        "treatment": primary.treatment,
        "effect": primary.effect,
        "interval": [primary.low, primary.high],
        "harmed": list(verdict.harmed),
        "worse_slices": list(verdict.worse_slices),
        **_so_far(at),
    }


def _so_far(at: Situation) -> dict[str, Any]:
    units = {name: one.units for name, one in at.measured.populations.items()}
    return {"units": units, "sample_ratio": at.report.sample_ratio}
