"""What an experiment's data say: one look that may be taken at any time, and its verdict in words.

For people and for the rollout. Nothing on the request path imports this, or the statistics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapters.experiments.design import Experiment
from adapters.experiments.entry import Entry
from adapters.experiments.looks import ALPHA, Pair, adjusted, look_along, planned
from adapters.experiments.measures import Guardrail, Metric
from adapters.experiments.observations import Measurement, Places, Population
from adapters.experiments.periods import Periods
from adapters.experiments.report import (
    Outcome,
    Reading,
    Report,
    Verdict,
    points_of,
    reading_of,
    words,
)
from adapters.experiments.slices import by_slice
from adapters.experiments.statistics.multiple import together
from adapters.experiments.statistics.sample_ratio import SampleRatio, SampleRatioTest
from adapters.experiments.statistics.sequential import Look, SequentialTest, judge


def analyse(entry: Entry, measured: Measurement, moves: Sequence[Mapping[str, Any]]) -> Report:
    """Read what was measured. `moves` is the audit log: units that came under other weights are
    compared among themselves. Every arm under test that gets traffic has a verdict."""
    design, periods = entry.experiment, Periods.of(entry, moves)
    control, *tested = (arm.name for arm in design.live)
    ratio = _sample_ratio(measured, periods, [control, *tested])
    mismatched = bool(ratio.mismatched)
    verdicts = []
    for name in tested:
        pair = Pair(measured, periods, control, name)
        arm = _Arm(design, measured, pair, together(SequentialTest(ALPHA), len(tested)))
        verdicts.append(arm.verdict(mismatched))
    return Report(
        experiment=design.name,
        sample_ratio=float(ratio.p_value),
        mismatched=mismatched,
        verdicts=tuple(verdicts),
        switched=measured.switched,
        covered=measured.covered,
        adjusted=adjusted(measured),
    )


@dataclass(frozen=True, slots=True)
class _Arm:
    """One look at one arm under test."""

    design: Experiment
    measured: Measurement
    pair: Pair
    test: SequentialTest

    def verdict(self, mismatched: bool) -> Verdict:
        metric, pair = self.design.metric, self.pair
        course = pair.course(metric.measure, self.measured.samples[metric.name])
        look = look_along(self.test, course, planned(metric))
        primary = reading_of(metric.name, course, look)
        guards = [self._guard(guardrail) for guardrail in self.design.guardrails]
        harmed = tuple(reading.metric for reading, broken in guards if broken)
        slices = by_slice(pair, metric, self.measured.slices, self.test)
        worse = {f"{n}={v}": one.readings[v] for n, one in slices.items() for v in one.worse}
        differences = {name: one.heterogeneity for name, one in slices.items()}
        differing = {n: one for n, one in differences.items() if one.p_value <= self.test.alpha}
        outcome = Outcome.INVALID if mismatched else _outcome(metric, look, bool(harmed))
        return Verdict(
            arm=pair.arm,
            outcome=outcome,
            words=words(pair.arm, pair.control, outcome, primary, harmed, worse, differing),
            primary=primary,
            guardrails=tuple(reading for reading, _ in guards),
            harmed=harmed,
            slices={name: one.readings for name, one in slices.items()},
            worse_slices=tuple(worse),
            heterogeneity=differences,
            course=points_of(pair.ends, course, look),
        )

    def _guard(self, guardrail: Guardrail) -> tuple[Reading, bool]:
        """A guardrail's reading, and whether it is surely beyond its margin."""
        test = together(self.test, len(self.design.guardrails))
        course = self.pair.course(guardrail.measure, self.measured.samples[guardrail.name])
        scale = abs(float(course.control.value[-1])) if guardrail.relative else 1.0
        margin = max(guardrail.margin * scale, 1e-12)
        look = look_along(test, course, margin)
        standing = judge(look, guardrail.measure.direction, margin)
        return reading_of(guardrail.name, course, look), bool(standing.beyond_margin[-1])


def _outcome(metric: Metric, look: Look, harmed: bool) -> Outcome:
    standing = judge(look, metric.measure.direction, metric.margin or 0.0)
    if harmed:
        return Outcome.HARMFUL
    if standing.superior[-1]:
        return Outcome.BETTER
    if metric.margin and standing.non_inferior[-1]:
        return Outcome.NOT_WORSE
    return Outcome.WORSE if standing.inferior[-1] else Outcome.UNDECIDED


def _sample_ratio(measured: Measurement, periods: Periods, arms: Sequence[str]) -> SampleRatio:
    """Whether the arms got what they were promised in each period; a lone arm always does."""
    counts = [_arrivals(measured.populations[name], name, periods) for name in arms]
    return SampleRatioTest().look(
        [
            ([int(count[place]) for count in counts], [weights[name] for name in arms])
            for place, weights in enumerate(periods.weights)
            if len(arms) > 1
        ]
    )


def _arrivals(population: Population, arm: str, periods: Periods) -> Places:
    """How many units came to an arm in each period."""
    places = periods.places(arm, population.first, population.propensity)
    return np.bincount(places, minlength=len(periods))
