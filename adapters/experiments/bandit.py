"""Which weights a bandit asks for by what was measured. It moves nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adapters.experiments.design import Experiment
from adapters.experiments.entry import Entry
from adapters.experiments.looks import Pair
from adapters.experiments.observations import Measurement
from adapters.experiments.periods import Periods
from adapters.experiments.statistics.bandit import thompson_weights

LEAST_UNITS = 30  # of every arm, before weights move at all
_LEAST_MOVE = 0.02  # part of the units that would go elsewhere


def bandit_weights(
    entry: Entry, measured: Measurement, moves: Sequence[Mapping[str, Any]]
) -> dict[str, float] | None:
    """Every arm's weight by the probability that it is the best. None while weights should stay:
    an arm has too few units, `limits.stage_units` have not come by the present weights, or hardly
    any unit would go elsewhere.

    Arms are compared as in the analysis, period by period: that an arm had much of the traffic in a
    good week does not speak for it. Arms without traffic stay without; those under test get no more
    than `limits.percent` together.
    """
    design, periods = entry.experiment, Periods.of(entry, moves)
    names = [arm.name for arm in design.live if entry.weights[arm.name] > 0]
    metric = design.metric.measure
    samples = measured.samples[metric.name]
    places = [periods.places(n, samples[n].first, samples[n].propensity) for n in names]
    batch = sum(np.count_nonzero(place == len(periods) - 1) for place in places)
    if len(names) < 2 or batch < design.limits.stage_units:
        return None
    effects = [
        Pair(measured, periods, names[0], name).course(metric, samples) for name in names[1:]
    ]
    units = [side.units[-1] for one in effects for side in (one.control, one.treatment)]
    if min(units) < LEAST_UNITS:
        return None
    # The control's value is 0, with what it varies by in the comparisons.
    control = float(np.mean([one.control.variance[-1] for one in effects]))
    values = [0.0, *(float(one.value[-1]) for one in effects)]
    variances = [control, *(float(one.treatment.variance[-1]) for one in effects)]
    chosen = thompson_weights(values, np.sqrt(variances), metric.direction).round(3).tolist()
    asked = dict.fromkeys((arm.name for arm in design.live), 0.0)
    asked = _within_limits(design, asked | dict(zip(names, chosen, strict=True)))
    return asked if _moved(asked, entry.weights) >= _LEAST_MOVE else None


def _within_limits(design: Experiment, weights: dict[str, float]) -> dict[str, float]:
    """No more for the arms under test together than they may have."""
    excess = design.percent_of(weights) / design.limits.percent
    if excess <= 1:
        return weights
    total, control = sum(weights.values()), design.control.name
    tested = {name: weight / excess for name, weight in weights.items() if name != control}
    return {control: total - sum(tested.values()), **tested}


def _moved(after: Mapping[str, float], before: Mapping[str, float]) -> float:
    """The part of the units that go elsewhere: total variation."""
    totals = sum(after.values()), sum(before.values())
    return sum(abs(after[n] / totals[0] - before[n] / totals[1]) for n in after) / 2
