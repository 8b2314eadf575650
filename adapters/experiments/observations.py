"""What an analysis reads: for every arm and metric, three numbers for each unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from adapters.experiments.measures import Kind, Measure

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One metric of one arm, by unit, in the order in which the units came.

    Args:
        y: the outcome, or a ratio's numerator.
        x: a ratio's denominator; otherwise 1.
        c: the same metric from before the experiment; what is not known is the mean of what is, so
            that it says nothing.
        first: when the unit's first answer was, unix seconds.
        propensity: how likely the arm was for the unit then.
    """

    y: Array
    x: Array
    c: Array
    first: Array
    propensity: Array

    @property
    def units(self) -> int:
        return len(self.y)

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Sample":
        """The chosen units alone."""
        columns = (self.y, self.x, self.c, self.first, self.propensity)
        return Sample(*(column[chosen] for column in columns))


@dataclass(frozen=True, slots=True)
class Population:
    """An arm's traffic: units and answers, of which the arm itself gave those `exposed`; `first` is
    when each unit came, unix seconds, in that order, and `propensity` how likely the arm was."""

    units: int
    exposed_units: int
    answers: int
    exposed_answers: int
    first: Array = field(default_factory=lambda: np.empty(0), compare=False, repr=False)
    propensity: Array = field(default_factory=lambda: np.empty(0), compare=False, repr=False)


Samples = Mapping[str, Sample]


@dataclass(frozen=True, slots=True)
class Measurement:
    """An experiment's data as of one look.

    Args:
        populations: by arm, the holdout (if there is one) under its own name.
        samples: by metric, then arm.
        slices: by slice's name, its value, then arm; of the primary metric.
        ineligible: answers of the domain that were not eligible.
        switched: units that were seen in more than one arm, as weights moved; each counts in
            both, with what it got there.
        covered: part of the units for which something is known from before the experiment.
        unreadable: records that could not be used.
        capped: judgements left out, as their unit has `most_judged` earlier ones of the metric.
    """

    populations: Mapping[str, Population]
    samples: Mapping[str, Samples]
    slices: Mapping[str, Mapping[str, Samples]] = field(default_factory=dict)
    ineligible: int = 0
    switched: int = 0
    covered: float = 0.0
    unreadable: int = 0
    capped: int = 0


def by_unit(
    measure: Measure,
    units: Places,
    values: Array,
    created: Array,
    propensity: Array,
    before: Array | None,
) -> Sample:
    """Answers' values as their units' numbers; `values` are NaN where there is none, and `before`
    is what is known of each unit, by its number."""
    there = ~np.isnan(values)
    units, values = units[there], values[there]
    created, propensity = created[there], propensity[there]
    names, index, place = np.unique(units, return_index=True, return_inverse=True)
    sums = np.bincount(place, weights=values, minlength=len(names)).astype(np.float64)
    counts = np.bincount(place, minlength=len(names)).astype(np.float64)
    order = np.argsort(index)  # answers come in the order of time
    ratio = measure.kind is Kind.RATIO
    y = sums if ratio else sums / counts
    x = counts if ratio else np.ones(len(names))
    c = np.zeros(len(names)) if before is None else before[names]
    return Sample(y[order], x[order], c[order], created[index][order], propensity[index][order])


def beyond(values: Array, units: Places, most: int) -> Places:
    """Where a unit has a value (not NaN) after its first `most`; answers come in the order of
    time."""
    there = np.flatnonzero(~np.isnan(values))
    together = there[np.argsort(units[there], kind="stable")]
    _, begins, counts = np.unique(units[together], return_index=True, return_counts=True)
    rank = np.arange(len(together)) - np.repeat(begins, counts)
    return together[rank >= most]
