"""How an arm compares with the control at every look: among units of the same period, with what is
known of them from before. What follows from that is the analysis's."""

from collections.abc import Sequence

import numpy as np

from adapters.experiments.measures import Kind, Measure, Metric
from adapters.experiments.observations import Array, Measurement, Population, Sample, Samples
from adapters.experiments.periods import Periods
from adapters.experiments.statistics.moments import (
    Effect,
    Estimand,
    Moments,
    difference,
    stratified,
)
from adapters.experiments.statistics.power import plan_information, sequential_drift
from adapters.experiments.statistics.sequential import Look, SequentialTest

ALPHA = 0.05
POWER = 0.8
LOOKS = 100  # planned for: about one a day over a season, or one an hour over four days
_LEAST_COVERED = 0.5  # of the units must have a past for it to be used


def adjusted(measured: Measurement) -> bool:
    """Whether what is known from before is used (CUPED)."""
    return measured.covered >= _LEAST_COVERED


def planned(metric: Metric) -> float:
    """The difference that an experiment is planned for, in the metric's unit."""
    return metric.effect or metric.margin or 1.0


class Pair:
    """An arm under test and the control.

    `ends` are the looks' times, unix seconds: when the last of LOOKS equal parts of the units came,
    or fewer where parts would be empty.
    """

    def __init__(self, measured: Measurement, periods: Periods, control: str, arm: str) -> None:
        self.control, self.arm = control, arm
        self.ends = _ends([measured.populations[name] for name in (control, arm)])
        self._periods = periods
        self._adjusted = adjusted(measured)

    def course(self, measure: Measure, samples: Samples) -> Effect:
        """The effect as of each look, `(looks,)`."""
        estimand = Estimand.RATIO if measure.kind is Kind.RATIO else Estimand.MEAN
        control, arm = (self._so_far(name, samples[name]) for name in (self.control, self.arm))
        return stratified(
            [
                difference(left, right, estimand, adjusted=self._adjusted)
                for left, right in zip(control, arm, strict=True)
            ]
        )

    def _so_far(self, arm: str, sample: Sample) -> list[Moments]:
        """Each period's units, as of each look."""
        count = len(self.ends)
        looks = np.minimum(np.searchsorted(self.ends, sample.first), count - 1)
        places = self._periods.places(arm, sample.first, sample.propensity)
        return [
            Moments.running(looks[here], count, sample.y[here], sample.x[here], sample.c[here])
            for here in (places == place for place in range(len(self._periods)))
        ]


def look_along(test: SequentialTest, course: Effect, effect: float, share: float = 1.0) -> Look:
    """A look at every point of a course that is planned for `effect`, each with what those before
    it excluded already: past the horizon the test alone says less than it did before.

    The horizon is on the clock of information, since units come back and bring more (RESULTS,
    "Experiments"); a slice with a share of the units has that part of it.
    """
    horizon = plan_information(effect, sequential_drift(test, POWER, LOOKS))
    return test.look(course, horizon.part(share)).running()


def _ends(populations: Sequence[Population]) -> Array:
    came = np.sort(np.concatenate([population.first for population in populations]))
    if not len(came):
        return np.array([np.inf])
    counts = np.unique(np.linspace(0, len(came), LOOKS + 1).astype(int))
    return np.unique(came[counts[1:] - 1])
