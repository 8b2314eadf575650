"""What an analysis tells: readings with their intervals, verdicts, and the sentence for people.

Plain numbers throughout: `asdict(report)` is JSON, and `Report.from_json` reads it back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt

from adapters.experiments.statistics.moments import Effect
from adapters.experiments.statistics.multiple import Heterogeneity
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

    @property
    def numbers(self) -> str:
        """The effect with its interval."""
        if self.low is None or self.high is None:
            return f"{self.effect:+.4g}"
        if self.low > self.high:  # what looks on the way left does not fit together
            return f"{self.effect:+.4g} [no interval: the effect has changed]"
        return f"{self.effect:+.4g} [{self.low:+.4g}, {self.high:+.4g}]"


@dataclass(frozen=True, slots=True)
class Point:
    """The primary metric's effect when the unit that came `at` (unix seconds) had come; `low` and
    `high` are what all looks until then leave, None while they leave everything."""

    at: float
    units: tuple[int, int]
    effect: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one arm under test, and the readings that say so.

    `heterogeneity` says of every slice whether the effect differs between its values, with p-values
    that hold for all slices together (Holm); `course` is how the primary reading came about.
    """

    arm: str
    outcome: Outcome
    words: str
    primary: Reading
    guardrails: tuple[Reading, ...]
    harmed: tuple[str, ...]
    slices: Mapping[str, Mapping[str, Reading]]
    worse_slices: tuple[str, ...]
    heterogeneity: Mapping[str, Heterogeneity] = field(default_factory=dict)
    course: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """An experiment as of one look.

    `switched` units were seen in more than one arm; of `covered`, a part of the units, something is
    known from before the experiment, which is used where `adjusted`.
    """

    experiment: str
    sample_ratio: float
    mismatched: bool
    verdicts: tuple[Verdict, ...]
    switched: int = 0
    covered: float = 0.0
    adjusted: bool = False

    def verdict(self, arm: str) -> Verdict:
        return next(verdict for verdict in self.verdicts if verdict.arm == arm)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The report of which `asdict` was kept; raises msgspec.ValidationError for another's."""
        return msgspec.convert(stored, cls)


def reading_of(metric: str, course: Effect, look: Look) -> Reading:
    """As of the last look of a course."""
    low, high = _interval(look)[-1]
    return Reading(
        metric=metric,
        control=_number(course.control.value),
        treatment=_number(course.treatment.value),
        effect=_number(course.value),
        low=low,
        high=high,
        p_value=_number(look.p_value),
        information=_number(look.fraction),
        units=_units(course)[-1],
    )


def points_of(ends: npt.NDArray[np.float64], course: Effect, look: Look) -> tuple[Point, ...]:
    """Every look of a course that saw units; `ends` is when the last of them came."""
    rows = zip(ends, _units(course), course.value, _interval(look), strict=True)
    return tuple(
        Point(float(at), units, _finite(effect), *interval)
        for at, units, effect, interval in rows
        if any(units)
    )


def words(
    arm: str,
    control: str,
    outcome: Outcome,
    reading: Reading,
    harmed: Sequence[str],
    worse: Mapping[str, Reading],
    differing: Mapping[str, Heterogeneity],
) -> str:
    """The verdict as a sentence with its numbers; `worse` are slices, and `differing` what slices
    the effect surely differs by."""
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
    numbers = f"{reading.metric} {reading.treatment:.4g} against {reading.control:.4g}"
    parts = [f"{head}: {numbers}, {reading.numbers}{' overall' if worse or differing else ''}"]
    if worse:
        parts.append(f"worse on {', '.join(f'{n} ({r.numbers})' for n, r in worse.items())}")
    parts += [
        f"the effect differs between values of {name} (p = {one.p_value:.2g})"
        for name, one in differing.items()
    ]
    return "; ".join(parts)


def _interval(look: Look) -> list[tuple[float, float] | tuple[None, None]]:
    both = zip(look.low.tolist(), look.high.tolist(), strict=True)
    return [one if np.isfinite(one).all() else (None, None) for one in both]


def _units(course: Effect) -> list[tuple[int, int]]:
    sides = (side.units.astype(int).tolist() for side in (course.control, course.treatment))
    return list(zip(*sides, strict=True))


def _number(values: npt.NDArray[np.float64]) -> float:
    return _finite(values[-1])


def _finite(value: float) -> float:
    """JSON has no other: sums of numbers near the largest end as that."""
    return float(np.nan_to_num(value))
