"""Where an arm does better or worse than elsewhere: the primary metric by slice, read like the
whole, and whether the effect differs between the values of a slice."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from adapters.experiments.looks import Pair, look_along, planned
from adapters.experiments.measures import Metric
from adapters.experiments.observations import Samples
from adapters.experiments.report import Reading, reading_of
from adapters.experiments.statistics.multiple import Heterogeneity, heterogeneity, holm, together
from adapters.experiments.statistics.sequential import SequentialTest, judge


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice: every value's reading, the values on which the arm is surely worse, and whether
    the effect differs between them."""

    readings: Mapping[str, Reading]
    worse: tuple[str, ...]
    heterogeneity: Heterogeneity


def by_slice(
    pair: Pair,
    metric: Metric,
    slices: Mapping[str, Mapping[str, Samples]],
    test: SequentialTest,
) -> dict[str, Slice]:
    """Every slice that has values. The intervals of all values of all slices hold together, and so
    do the p-values of heterogeneity (Holm).

    A unit that is in several values of a slice counts in each; as its outcomes go together, the
    effects then seem to differ less than they do.
    """
    slices = {name: values for name, values in slices.items() if values}
    if not slices:
        return {}
    each = together(test, sum(len(values) for values in slices.values()))
    found = {name: _read(pair, metric, values, each) for name, values in slices.items()}
    p_values = holm([one.heterogeneity.p_value for one in found.values()])
    return {
        name: replace(one, heterogeneity=replace(one.heterogeneity, p_value=float(p)))
        for (name, one), p in zip(found.items(), p_values, strict=True)
    }


def _read(pair: Pair, metric: Metric, values: Mapping[str, Samples], test: SequentialTest) -> Slice:
    """A value's horizon is its share of the experiment's: a tenth of the traffic is expected to
    stay a tenth."""
    courses = {name: pair.course(metric.measure, samples) for name, samples in values.items()}
    units = {n: float((c.control.units + c.treatment.units)[-1]) for n, c in courses.items()}
    total = max(1.0, sum(units.values()))
    looks = {
        name: look_along(test, course, planned(metric), max(1.0, units[name]) / total)
        for name, course in courses.items()
    }
    return Slice(
        readings={n: reading_of(metric.name, courses[n], look) for n, look in looks.items()},
        worse=tuple(
            n for n, look in looks.items() if judge(look, metric.measure.direction).inferior[-1]
        ),
        heterogeneity=heterogeneity(
            [course.value for course in courses.values()],
            [np.where(looks[n].fraction > 0, c.variance, np.inf) for n, c in courses.items()],
            planned(metric),
        ),
    )
