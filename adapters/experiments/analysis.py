"""What an experiment's data say: one look that may be taken at any time, and its verdict in words.

For people and for the rollout. Nothing on the request path imports this, or the statistics.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import numpy as np

from adapters.experiments.design import Guardrail, Kind, Measure
from adapters.experiments.entry import Entry
from adapters.experiments.observations import Measurement, Sample
from adapters.experiments.report import Outcome, Reading, Report, Verdict, reading_of, words
from adapters.experiments.statistics import moments as mm
from adapters.experiments.statistics import sequential as st
from adapters.experiments.statistics.moments import Effect, Estimand, Moments
from adapters.experiments.statistics.multiple import by_slice, together
from adapters.experiments.statistics.power import plan_information, sequential_drift
from adapters.experiments.statistics.sample_ratio import SampleRatioTest
from adapters.experiments.statistics.sequential import InformationHorizon, SequentialTest

ALPHA = 0.05
POWER = 0.8
LOOKS = 100  # planned for: about one a day over a season, or one an hour over four days
_LEAST_COVERED = 0.5  # of the units must have a past for it to be used


def analyse(entry: Entry, measured: Measurement, moves: Sequence[Mapping[str, Any]]) -> Report:
    """Read what was measured. `moves` is the audit log: units that came under other weights are
    compared among themselves."""
    experiment = entry.experiment
    periods = _periods(entry, moves)
    names = [arm.name for arm in experiment.arms]
    arrivals = [measured.populations[name].first for name in names]
    ratio = SampleRatioTest().look(
        [
            ([int(((a >= begin) & (a < end)).sum()) for a in arrivals], [w[n] for n in names])
            for begin, end, w in periods
        ]
    )
    test = together(SequentialTest(ALPHA), len(names) - 1)
    mismatched = bool(ratio.mismatched)
    look = _Look(entry, measured, [(begin, end) for begin, end, _ in periods], test)
    return Report(
        experiment.name,
        float(ratio.p_value),
        mismatched,
        tuple(look.verdict(name, mismatched) for name in names[1:]),
    )


class _Look:
    """One look at every arm."""

    def __init__(
        self,
        entry: Entry,
        measured: Measurement,
        periods: Sequence[tuple[float, float]],
        test: SequentialTest,
    ) -> None:
        self._experiment = entry.experiment
        self._measured = measured
        self._periods = periods
        self._test = test
        self._control = entry.experiment.control.name

    def verdict(self, arm: str, mismatched: bool) -> Verdict:
        metric = self._experiment.metric
        primary, standing = self._read(metric.measure, arm, metric.effect, metric.margin)
        guards = [self._guard(guardrail, arm) for guardrail in self._experiment.guardrails]
        harmed = tuple(reading.metric for reading, broken in guards if broken)
        slices, worse = self._slices(arm)
        if mismatched:
            outcome = Outcome.INVALID
        elif harmed:
            outcome = Outcome.HARMFUL
        elif standing.superior:
            outcome = Outcome.BETTER
        elif metric.margin and standing.non_inferior:
            outcome = Outcome.NOT_WORSE
        elif standing.inferior:
            outcome = Outcome.WORSE
        else:
            outcome = Outcome.UNDECIDED
        return Verdict(
            arm=arm,
            outcome=outcome,
            words=words(arm, self._control, outcome, primary, harmed, worse),
            primary=primary,
            guardrails=tuple(reading for reading, _ in guards),
            harmed=harmed,
            slices=slices,
            worse_slices=worse,
        )

    def _guard(self, guardrail: Guardrail, arm: str) -> tuple[Reading, bool]:
        """A guardrail's reading, and whether it is surely beyond its margin."""
        test = together(self._test, len(self._experiment.guardrails))
        course = self._course(guardrail.measure, arm)
        scale = abs(float(course[-1].control.value)) if guardrail.relative else 1.0
        margin = max(guardrail.margin * scale, 1e-12)
        look = _look(test, course, margin)
        standing = st.judge(look, guardrail.measure.direction, margin)
        return reading_of(guardrail.name, course[-1], look), bool(standing.beyond_margin)

    def _read(
        self, measure: Measure, arm: str, wanted: float | None, margin: float | None
    ) -> tuple[Reading, st.Standing]:
        course = self._course(measure, arm)
        look = _look(self._test, course, wanted or margin or 1.0)
        standing = st.judge(look, measure.direction, margin or 0.0)
        return reading_of(measure.name, course[-1], look), standing

    def _course(self, measure: Measure, arm: str) -> list[Effect]:
        """The effect after equal parts of the units, and at last after all of them. Moments add
        up, so each unit is read once."""
        samples = self._measured.samples[measure.name]
        pair = samples[self._control], samples[arm]
        firsts = np.sort(np.concatenate([sample.first for sample in pair]))
        parts = np.linspace(0, len(firsts), LOOKS, endpoint=False)[1:].astype(int)
        ends = [*(np.unique(firsts[parts]).tolist() if len(firsts) else []), np.inf]
        seen = [(Moments.none(), Moments.none()) for _ in self._periods]
        course, begin = [], -np.inf
        for end in ends:
            for place, period in enumerate(self._periods):
                part = max(begin, period[0]), min(end, period[1])
                control, treatment = seen[place]
                seen[place] = control + _moments(pair[0], part), treatment + _moments(pair[1], part)
            course.append(mm.stratified([self._difference(measure, both) for both in seen]))
            begin = end
        return course

    def _difference(self, measure: Measure, both: tuple[Moments, Moments]) -> Effect:
        return mm.difference(*both, _estimand(measure), adjusted=self._adjusted)

    @property
    def _adjusted(self) -> bool:
        return self._measured.covered >= _LEAST_COVERED

    def _slices(self, arm: str) -> tuple[dict[str, dict[str, Reading]], tuple[str, ...]]:
        """The primary metric by slice, and where the arm is surely worse."""
        metric, control = self._experiment.metric, self._control
        always = (-np.inf, np.inf)
        found: dict[str, dict[str, Reading]] = {}
        worse: list[str] = []
        for name, values in self._measured.slices.items():
            pairs = {
                value: (_moments(samples[control], always), _moments(samples[arm], always))
                for value, samples in values.items()
            }
            if not pairs:
                continue
            estimand = _estimand(metric.measure)
            read = by_slice(
                self._test,
                pairs,
                _horizon(self._test, metric.effect or metric.margin or 1.0),
                estimand=estimand,
                direction=metric.measure.direction,
            )
            found[name] = {
                r.name: reading_of(metric.name, mm.difference(*pairs[r.name], estimand), r.look)
                for r in read.readings
            }
            worse += [f"{name}={value}" for value in read.worse()]
        return found, tuple(worse)


def _look(test: SequentialTest, course: Sequence[Effect], effect: float) -> st.Look:
    """A look at the whole course, with what looks on the way excluded already: past the horizon
    the test alone says less than it did before."""
    horizon = _horizon(test, effect)
    looks = [test.look(effect_so_far, horizon) for effect_so_far in course]
    return reduce(lambda earlier, now: now.after(earlier), looks)


def _periods(
    entry: Entry, moves: Sequence[Mapping[str, Any]]
) -> list[tuple[float, float, Mapping[str, float]]]:
    """Times between changes of the weights, unix seconds, each with its weights."""
    begins: list[tuple[float, Mapping[str, float]]] = []
    for move in moves:
        weights = move["after"]["weights"]
        if not begins or weights != begins[-1][1]:
            begins.append((_seconds(move["at"]), weights))
    if not begins:
        begins = [(_seconds(entry.created), entry.weights)]
    begins[0] = (-np.inf, begins[0][1])
    ends = [*(begin for begin, _ in begins[1:]), np.inf]
    return [(begin, end, weights) for (begin, weights), end in zip(begins, ends, strict=True)]


def _seconds(moment: str) -> float:
    return datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def _moments(sample: Sample, period: tuple[float, float]) -> Moments:
    """Of the units that first came in a period; they are in the order in which they came."""
    begin, end = np.searchsorted(sample.first, period)
    if begin >= end:
        return Moments.none()
    return Moments.of(sample.y[begin:end], sample.x[begin:end], sample.c[begin:end])


def _horizon(test: SequentialTest, effect: float) -> InformationHorizon:
    """On the clock of information: units come back and bring more (RESULTS, "Experiments")."""
    return plan_information(effect, sequential_drift(test, POWER, LOOKS))


def _estimand(measure: Measure) -> Estimand:
    return Estimand.RATIO if measure.kind is Kind.RATIO else Estimand.MEAN
