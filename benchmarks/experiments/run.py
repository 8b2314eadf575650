"""Which experiments are simulated, and what has to be true of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from adapters.experiments.statistics.populations import Amount, Population, Proportion, RequestRate
from adapters.experiments.statistics.power import (
    expected_fraction,
    fixed_drift,
    plan,
    plan_information,
    sequential_drift,
)
from adapters.experiments.statistics.sample_ratio import SampleRatioTest
from adapters.experiments.statistics.sequential import Horizon, SequentialTest
from adapters.experiments.statistics.simulate import (
    Design,
    Outcome,
    Share,
    simulate,
    simulate_sample_ratio,
)

POWER = 0.8
MOST_UNITS = 1.15  # of a fixed-horizon test's, at the minimum effect
MOST_FALSE_MISMATCHES = 0.001
SAMPLE_RATIO_UNITS = 10_000
TEST = SequentialTest()
Say = Callable[[str, int, int], None]
"""Told what is being simulated, the looks done, and all looks."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric and the minimum effect its experiment is planned for."""

    population: Population
    effect: float
    adjusted: bool = False
    by_information: bool = False


METRICS = {
    "proportion": Metric(Proportion(0.3), 0.05),
    "by information": Metric(Proportion(0.3), 0.05, by_information=True),
    "rare proportion": Metric(Proportion(0.02), 0.01),
    "mean": Metric(Amount(mean=2.0, deviation=2.0), 0.2),
    "ratio": Metric(RequestRate(rate=0.2, requests=5.0, spread=0.2), 0.04),
    "mean, CUPED": Metric(Amount(mean=2.0, deviation=2.0, correlation=0.6), 0.2, adjusted=True),
}
# A/A tests where the normal approximation is worst: few events, heavy tails, arms of unequal size,
# and looks past the horizon.
HARD = {
    "2 %, 300 a side": (Proportion(0.02), Design(Horizon(300, 300))),
    "2 %, 100 against 1,900": (Proportion(0.02), Design(Horizon(1900, 100))),
    "50 %, 100 against 9,900": (Proportion(0.5), Design(Horizon(9900, 100))),
    "heavy tail, 500 a side": (Amount(1.0, 4.0), Design(Horizon(500, 500))),
    "heavy tail, 500 against 9,500": (Amount(1.0, 4.0), Design(Horizon(9500, 500))),
    "to 5 horizons": (Proportion(0.3), Design(Horizon(1000, 1000), looks=500, span=5.0)),
}


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One metric's simulated experiments: none, one and two minimum effects."""

    metric: str
    fixed_units: float
    horizon: Horizon
    expected: float
    none: Outcome
    one: Outcome
    two: Outcome

    @property
    def units_ratio(self) -> float:
        """Units at the horizon over those of a test with a single look at the same power."""
        return (self.horizon.control + self.horizon.treatment) / self.fixed_units

    @property
    def ok(self) -> bool:
        enough = self.one.decided(1).high >= POWER
        return self.none.decided().value <= TEST.alpha and self.units_ratio <= MOST_UNITS and enough

    def as_json(self) -> dict[str, Any]:
        stopped = self.two.fractions()
        return {
            "metric": self.metric,
            "ok": self.ok,
            "false_positives": _share(self.none.decided()),
            "false_positives_peeking": _share(self.none.peeking()),
            "units_fixed": round(self.fixed_units),
            "units_horizon": round(self.horizon.control + self.horizon.treatment),
            "units_ratio": round(self.units_ratio, 3),
            "power": _share(self.one.decided(1)),
            "mean_units_ratio_at_effect": _ratio(self, self.one),
            "twice_the_effect": {
                "power": _share(self.two.decided(1)),
                "mean_units_ratio": _ratio(self, self.two),
                "mean_fraction": round(float(stopped.mean()), 3),
                "expected_fraction": round(self.expected, 3),
                "p90_fraction": round(float(np.quantile(stopped, 0.9)), 3),
            },
        }


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything simulated."""

    rows: tuple[Row, ...]
    hard: dict[str, Share]
    sample_ratio: dict[str, Any]

    @property
    def ok(self) -> bool:
        honest = all(share.low <= TEST.alpha for share in self.hard.values())
        return honest and all(row.ok for row in self.rows) and bool(self.sample_ratio["ok"])

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "alpha": TEST.alpha,
            "power": POWER,
            "metrics": [row.as_json() for row in self.rows],
            "hard_aa": {name: _share(share) for name, share in self.hard.items()},
            "sample_ratio": self.sample_ratio,
        }


def run(experiments: int, looks: int, seed: int, say: Say) -> Report:
    """Simulate so many experiments of each kind, looked at so often until the horizon."""
    rows = tuple(
        _row(name, metric, experiments, looks, seed, say) for name, metric in METRICS.items()
    )
    hard = {
        name: simulate(
            population,
            design,
            experiments=experiments,
            seed=seed,
            progress=lambda done, total, name=name: say(f"A/A, {name}", done, total),
        ).decided()
        for name, (population, design) in HARD.items()
    }
    return Report(rows, hard, _sample_ratio(experiments, seed, say))


def _row(name: str, metric: Metric, experiments: int, looks: int, seed: int, say: Say) -> Row:
    effect, population = metric.effect, metric.population
    variances = population.unit_variance(), population.unit_variance(effect)
    fixed = plan(variances, effect, fixed_drift(TEST.alpha, POWER))
    drift = sequential_drift(TEST, POWER, looks)
    planned = plan(variances, effect, drift)
    information = plan_information(effect, drift) if metric.by_information else None
    design = Design(planned, looks, 1.0, TEST, metric.adjusted, information)
    none, one, two = (
        simulate(
            population,
            design,
            times * effect,
            experiments=experiments,
            seed=seed + times,
            progress=lambda done, total, times=times: say(f"{name}, effect x {times}", done, total),
        )
        for times in (0, 1, 2)
    )
    expected = expected_fraction(TEST, 2 * drift, looks)
    return Row(name, fixed.control + fixed.treatment, planned, expected, none, one, two)


def _sample_ratio(experiments: int, seed: int, say: Say) -> dict[str, Any]:
    """Promised 50/50: a true 48/52 for four times the units, a true 50/50, and exact counts."""
    test, even = SampleRatioTest(), (1.0, 1.0)
    off = simulate_sample_ratio(
        even,
        (0.48, 0.52),
        units=4 * SAMPLE_RATIO_UNITS,
        experiments=experiments,
        seed=seed,
        progress=lambda done, total: say("48/52", done, total),
    )
    alarms = {}
    for name, weights in (("50/50", even), ("1/99", (1.0, 99.0)), ("3 arms", (1.0, 1.0, 2.0))):
        right = simulate_sample_ratio(
            weights,
            weights,
            units=SAMPLE_RATIO_UNITS,
            experiments=5 * experiments,
            seed=seed + 1,
            progress=lambda done, total, name=name: say(f"true {name}", done, total),
        )
        alarms[name] = right.caught()
    exactly = np.arange(100, SAMPLE_RATIO_UNITS + 1, 100)
    counts = np.stack([exactly * 48 // 100, exactly * 52 // 100], axis=-1)
    found = exactly[test.look([(counts, even)]).mismatched]
    within = int(((off.units > 0) & (off.units <= SAMPLE_RATIO_UNITS)).sum())
    honest = all(share.low <= MOST_FALSE_MISMATCHES for share in alarms.values())
    return {
        "ok": bool(len(found)) and honest,
        "counts_of_exactly_48_52_caught_at_units": int(found[0]) if len(found) else None,
        "true_48_52_caught_within_10000": _share(Share.counted(within, experiments)),
        "true_48_52_single_look_chi_square": round(_single_look(test.alpha), 3),
        "true_48_52_units_until_caught": {
            f"p{round(100 * share)}": off.quantile(share) for share in (0.1, 0.5, 0.9, 0.99)
        },
        "false_alarms": {name: _share(share) for name, share in alarms.items()},
    }


def _single_look(alpha: float) -> float:
    """Power of the chi-square test at 10,000 units and no sooner: more than any that peeks has."""
    shift = 0.04 * SAMPLE_RATIO_UNITS**0.5
    return float(ndtr(shift - ndtri(1 - alpha / 2)))


def _ratio(row: Row, outcome: Outcome) -> float:
    """Mean units until the end over a fixed-horizon test's."""
    return round(float(outcome.fractions().mean()) * row.units_ratio, 3)


def _share(share: Share) -> dict[str, float]:
    rounded = {"value": share.value, "low": share.low, "high": share.high}
    return {name: round(value, 5) for name, value in rounded.items()} | {"of": share.of}
