"""Whole rollouts in memory: units come, the data are analysed, the policy moves. What ends how, and
after how many units, where the truth is known.

    python -m benchmarks.experiments.rollouts [--rollouts 400] [--json]

The statistics alone are simulated in `run`; here stages, guardrails, looks after every batch and
the policy are in it as well.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from adapters.experiments.analysis import analyse
from adapters.experiments.design import Experiment
from adapters.experiments.entry import Entry, State
from adapters.experiments.observations import Array, Measurement, Population, Sample
from adapters.experiments.policy import Act, Situation, next_step
from adapters.experiments.reading import read_experiment
from adapters.experiments.statistics.simulate import Share

BEGUN = 1_800_000_000.0
HOUR = 3600.0
BATCH = 400  # units between two looks, an hour apart
MOST_LOOKS = 200
DESIGN: dict[str, Any] = {
    "name": "simulated",
    "domain": "d",
    "arms": [{"name": "control", "model": "base"}, {"name": "new", "model": "base"}],
    "metric": {"name": "thumb", "minimum_effect": 0.05},
    "stages": "default",
}


@dataclass(frozen=True, slots=True)
class Truth:
    """How often the arms are liked, and how often they fail."""

    control: float = 0.5
    new: float = 0.5
    errors: float = 0.005


SCENARIOS = {
    "equal (A/A)": Truth(),
    "better by the minimum effect": Truth(new=0.55),
    "better by twice that": Truth(new=0.60),
    "worse by the minimum effect": Truth(new=0.45),
    "worse by four times that": Truth(new=0.30),
    "as good, but fails 5 % more": Truth(errors=0.055),
}


@dataclass(frozen=True, slots=True)
class End:
    """How a rollout ended, after how many units in all and on the arm under test."""

    act: Act
    units: int
    tested: int


class Arm:
    """One arm's units so far, by metric."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Array]] = {}

    def add(self, values: dict[str, Array]) -> None:
        for name, column in values.items():
            self._columns.setdefault(name, []).append(column)

    def column(self, name: str) -> Array:
        return np.concatenate(self._columns[name])

    def sample(self, metric: str) -> Sample:
        y, first = self.column(metric), self.column("first")
        return Sample(y, np.ones(len(y)), np.zeros(len(y)), first, self.column("propensity"))

    def population(self) -> Population:
        first, propensity = self.column("first"), self.column("propensity")
        return Population(len(first), len(first), len(first), len(first), first, propensity)


def play(design: Experiment, truth: Truth, seed: int) -> End:
    """One rollout from its first stage to its end."""
    random = np.random.default_rng(seed)
    weights = design.weights_at(design.stages[0])
    entry = Entry(design, State.RUNNING, design.stages[0], weights, {}, 0.0, told(0), told(0), None)
    moves = [{"kind": "create", "at": told(0), "before": {}, "after": {"weights": weights}}]
    arms = {"control": Arm(), "new": Arm()}
    for look in range(1, MOST_LOOKS + 1):
        _batch(random, look, entry, truth, arms)
        measured = Measurement(
            populations={name: arm.population() for name, arm in arms.items()},
            samples={
                metric: {name: arm.sample(metric) for name, arm in arms.items()}
                for metric in ("thumb", *(g.name for g in design.guardrails))
            },
        )
        report = analyse(entry, measured, moves)
        moment = BEGUN + look * HOUR
        step = next_step(Situation(entry, report, measured, moves, "", moment))
        if step.act is Act.STAGE:
            after = design.weights_at(step.percent)
            moves.append(
                {
                    "kind": "stage",
                    "at": told(look),
                    "before": {"weights": entry.weights},
                    "after": {"weights": after},
                }
            )
            entry = replace(entry, percent=step.percent, weights=after)
        elif step.act is not Act.HOLD:
            return End(step.act, look * BATCH, measured.populations["new"].units)
    return End(Act.HOLD, MOST_LOOKS * BATCH, measured.populations["new"].units)


def _batch(
    random: np.random.Generator, look: int, entry: Entry, truth: Truth, arms: dict[str, Arm]
) -> None:
    """The units of an hour, in the arms by their weights."""
    tested = entry.weights["new"]
    count = int(random.binomial(BATCH, tested))
    for name, units, share, rate, errors in (
        ("control", BATCH - count, 1 - tested, truth.control, 0.005),
        ("new", count, tested, truth.new, truth.errors),
    ):
        arms[name].add(
            {
                "first": BEGUN + (look - 1 + np.sort(random.random(units))) * HOUR,
                "propensity": np.full(units, share),
                "thumb": (random.random(units) < rate).astype(float),
                "error": (random.random(units) < errors).astype(float),
                "fallback": (random.random(units) < 0.002).astype(float),
                "refusal": (random.random(units) < 0.02).astype(float),
                "total_ms": random.lognormal(6.5, 0.6, units),
                "completion_tokens": random.lognormal(4.5, 0.8, units),
            }
        )


def told(look: int) -> str:
    """The hour of a look, as the audit log has it."""
    return datetime.fromtimestamp(BEGUN + look * HOUR, UTC).isoformat().replace("+00:00", "Z")


def simulate_rollouts(truth: Truth, rollouts: int, seed: int) -> list[End]:
    """So many rollouts of the same truth, on all processors."""
    design = read_experiment({**DESIGN, "salt": "s"})
    with ProcessPoolExecutor() as pool:
        seeds = range(seed, seed + rollouts)
        return list(pool.map(partial(play, design, truth), seeds, chunksize=8))


def summary(ends: Sequence[End]) -> dict[str, Any]:
    """Shares of the ends with their intervals, and the units they took."""
    counts = Counter(end.act for end in ends)
    shares = {act: Share.counted(counts[act], len(ends)) for act in counts}
    return {
        "n": len(ends),
        "ends": {act: {**asdict(s), "value": s.value} for act, s in sorted(shares.items())},
        "units": {q: int(np.quantile([e.units for e in ends], q / 100)) for q in (50, 95)},
        "units_on_new": {q: int(np.quantile([e.tested for e in ends], q / 100)) for q in (50, 95)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=400, help="of each kind")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    began, found = time.monotonic(), {}
    for name, truth in track(SCENARIOS.items(), console=Console(stderr=True)):
        found[name] = summary(simulate_rollouts(truth, arguments.rollouts, arguments.seed))
    if arguments.json:
        print(json.dumps({"seconds": time.monotonic() - began, "scenarios": found}))
        return
    table = Table("truth", "promoted", "rolled back", "no difference", "frozen", "units", "on new")
    for name, one in found.items():
        ends = one["ends"]
        acts = (Act.PROMOTE, Act.ROLL_BACK, Act.STOP, Act.FREEZE)
        shares = [f"{ends[act]['value']:.1%}" if act in ends else "0" for act in acts]
        units, tested = one["units"], one["units_on_new"]
        table.add_row(
            name, *shares, f"{units[50]:,} ({units[95]:,})", f"{tested[50]:,} ({tested[95]:,})"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
