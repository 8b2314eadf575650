"""What an experiment will take before anyone risks traffic: units, days, power, false alarms."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from adapters.errors import InvalidExperiment
from adapters.experiments.design import Experiment
from adapters.experiments.looks import ALPHA, LOOKS, POWER
from adapters.experiments.measures import Kind
from adapters.experiments.observations import Measurement
from adapters.experiments.statistics.moments import Estimand, Moments, estimate
from adapters.experiments.statistics.populations import Amount, Population, Proportion
from adapters.experiments.statistics.power import fixed_drift, plan, sequential_drift
from adapters.experiments.statistics.sequential import SequentialTest
from adapters.experiments.statistics.simulate import Design, Outcome, Progress, Share, simulate

_LEAST_UNITS = 50  # to take rates and variances from
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of a test of `effect` with `share` of the units on the arm under test.

    Units are of both arms together; `fixed_units` are those of a test with a single look. `used`
    and `used_at_twice` are mean parts of the horizon at the effect and at twice it, None where no
    rate can be so far off. Days are None where the traffic is not known.
    """

    effect: float
    share: float
    fixed_units: int
    horizon_units: int
    horizon_days: float | None
    false_positives: Share
    power: Share
    used: float
    used_at_twice: float | None


def forecast(
    population: Population,
    effect: float,
    *,
    share: float = 0.5,
    units_per_day: float | None = None,
    experiments: int = 2_000,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Forecast:
    """Plan for 80 % power at `effect`, and simulate the plan: without an effect, with it, and with
    twice it.

    Raises InvalidExperiment for an effect or a share that no experiment has.
    """
    if population.unit_variance(effect) <= 0:
        raise InvalidExperiment(f"an effect of {effect:g} leads out of what a rate can be")
    test = SequentialTest(ALPHA)
    variances = population.unit_variance(), population.unit_variance(effect)
    fixed = plan(variances, effect, fixed_drift(ALPHA, POWER), share)
    horizon = plan(variances, effect, sequential_drift(test, POWER, LOOKS), share)
    design = Design(horizon, looks=LOOKS, test=test)

    def run(times: int) -> Outcome:
        passed = partial(_pass_on, progress, times)
        true = times * effect
        return simulate(
            population, design, true, experiments=experiments, seed=seed + times, progress=passed
        )

    none, once = run(0), run(1)
    twice = run(2) if population.unit_variance(2 * effect) > 0 else None
    units = horizon.control + horizon.treatment
    return Forecast(
        effect=effect,
        share=share,
        fixed_units=math.ceil(fixed.control + fixed.treatment),
        horizon_units=math.ceil(units),
        horizon_days=units / units_per_day if units_per_day else None,
        false_positives=none.decided(),
        power=once.decided(1 if effect > 0 else -1),
        used=float(once.fractions().mean()),
        used_at_twice=None if twice is None else float(twice.fractions().mean()),
    )


def _pass_on(progress: Progress, times: int, done: int, total: int) -> None:
    progress(times * total + done, 3 * total)


def observed(experiment: Experiment, measured: Measurement) -> tuple[Population, float]:
    """The control's units as they came, and how many units came a day.

    Raises InvalidExperiment while there are too few of them.
    """
    metric = experiment.metric.measure
    sample = measured.samples[metric.name][experiment.control.name]
    if sample.units < _LEAST_UNITS:
        raise InvalidExperiment(
            f"{sample.units} units of {experiment.control.name} tell {metric.name}; "
            f"{_LEAST_UNITS} are needed: give --rate, or --mean and --deviation"
        )
    ratio = metric.kind is Kind.RATIO
    found = estimate(Moments.of(sample.y, sample.x), Estimand.RATIO if ratio else Estimand.MEAN)
    first = np.concatenate([population.first for population in measured.populations.values()])
    days = max(float(first.max() - first.min()) / _DAY, 1 / 24)
    if metric.kind is Kind.PROPORTION:
        return Proportion(float(found.value)), len(first) / days
    return Amount(float(found.value), math.sqrt(float(found.unit_variance))), len(first) / days
