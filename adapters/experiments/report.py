"""What an analysis tells: readings with their intervals, verdicts, and the sentence for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from adapters.experiments.statistics.moments import Effect
from adapters.experiments.statistics.sequential import Look


class Outcome(StrEnum):
    """What is known of an arm under test."""

    BETTER = "better"
    NOT_WORSE = "not_worse"
    WORSE = "worse"
    HARMFUL = "harmful"  # a guardrail is surely beyond its margin
    UNDECIDED = "undecided"
    INVALID = "invalid"  # the split is not what was promised


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric of an arm against the control; the interval holds at all looks together.

    `low` and `high` are None while too few units have come; `information` is the part of what was
    planned for.
    """

    metric: str
    control: float
    treatment: float
    effect: float
    low: float | None
    high: float | None
    p_value: float
    information: float
    units: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one arm under test, and the readings that say so."""

    arm: str
    outcome: Outcome
    words: str
    primary: Reading
    guardrails: tuple[Reading, ...]
    harmed: tuple[str, ...]
    slices: Mapping[str, Mapping[str, Reading]]
    worse_slices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """An experiment as of one look."""

    experiment: str
    sample_ratio: float
    mismatched: bool
    verdicts: tuple[Verdict, ...]

    def verdict(self, arm: str) -> Verdict:
        return next(verdict for verdict in self.verdicts if verdict.arm == arm)


def reading_of(metric: str, effect: Effect, look: Look) -> Reading:
    known = bool(np.isfinite(look.low) and np.isfinite(look.high))
    return Reading(
        metric=metric,
        control=float(effect.control.value),
        treatment=float(effect.treatment.value),
        effect=float(effect.value),
        low=float(look.low) if known else None,
        high=float(look.high) if known else None,
        p_value=float(look.p_value),
        information=float(look.fraction),
        units=(int(effect.control.units), int(effect.treatment.units)),
    )


def words(
    arm: str,
    control: str,
    outcome: Outcome,
    reading: Reading,
    harmed: Sequence[str],
    worse: Sequence[str],
) -> str:
    """The verdict as a sentence with its numbers."""
    numbers = (
        f"{reading.metric} {reading.treatment:.4g} against {reading.control:.4g}, "
        f"{reading.effect:+.4g}"
    )
    if reading.low is not None and reading.high is not None:
        numbers += f" [{reading.low:+.4g}, {reading.high:+.4g}]"
    head = {
        Outcome.BETTER: f"{arm} is better than {control}",
        Outcome.NOT_WORSE: f"{arm} is not worse than {control} by the margin",
        Outcome.WORSE: f"{arm} is worse than {control}",
        Outcome.HARMFUL: f"{arm} does harm: {', '.join(harmed)} beyond the margin",
        Outcome.UNDECIDED: (
            f"not decided between {arm} and {control}, "
            f"{min(reading.information, 1):.0%} of the planned information"
        ),
        Outcome.INVALID: "arms did not get the share of units they were promised: trust no figure",
    }[outcome]
    tail = f"; worse on {', '.join(worse)}" if worse else ""
    return f"{head}: {numbers}{tail}"
