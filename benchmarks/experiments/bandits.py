"""Whole bandits in memory: a batch comes, the weights follow, the next comes. How often one without
an effect is called decided, and what one with an effect costs, beside a fixed split.

    python -m benchmarks.experiments.bandits [--runs 1000] [--json]

What people like drifts all the while, so that arms which are compared over all time seem to differ.
"""

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from adapters.experiments.analysis import analyse
from adapters.experiments.bandit import bandit_weights
from adapters.experiments.entry import Entry, State
from adapters.experiments.observations import Measurement
from adapters.experiments.reading import read_experiment
from adapters.experiments.report import Report
from adapters.experiments.statistics.simulate import Share
from benchmarks.experiments.rollouts import BEGUN, HOUR, Arm, told

BATCH, BATCHES = 500, 20  # an A/A test comes to its horizon
DESIGN: dict[str, Any] = {
    "name": "simulated",
    "domain": "d",
    "salt": "s",
    "arms": [{"name": "control", "model": "base"}, {"name": "new", "model": "base"}],
    "guardrails": [],
    "allocation": "thompson",
}


@dataclass(frozen=True, slots=True)
class Truth:
    """Rates of the control in the first and in the last batch, and by how much the new arm's
    differ."""

    first: float = 0.5
    last: float = 0.5
    effect: float = 0.0


SCENARIOS = {
    "equal": Truth(),
    "equal, while rates rise": Truth(0.3, 0.7),
    "better by 0.1": Truth(0.45, 0.45, 0.1),
    "better by 0.1, while rates fall": Truth(0.6, 0.3, 0.1),
}


@dataclass(frozen=True, slots=True)
class End:
    """Whether the arms were told apart, whether they would have been by units compared over all
    time, the part of the units that the new arm got at last, and the control's units."""

    decided: bool
    pooled: bool
    share: float
    control: int


def play(truth: Truth, seed: int) -> End:
    """One bandit, over all batches."""
    random = np.random.default_rng(seed)
    design = read_experiment(DESIGN)
    weights = {arm.name: 1.0 for arm in design.live}
    entry = Entry(design, State.RUNNING, None, weights, {}, 0.0, told(0), told(0), None)
    moves = [{"at": told(0), "after": {"weights": weights}}]
    arms = {name: Arm() for name in weights}
    for batch in range(BATCHES):
        rate = truth.first + (truth.last - truth.first) * batch / (BATCHES - 1)
        rates = {"control": rate, "new": rate + truth.effect}
        _come(random, batch, entry, rates, arms)
        measured = _measured(arms)
        if asked := bandit_weights(entry, measured, moves):
            moves.append({"at": told(batch + 1), "after": {"weights": asked}})
            entry = replace(entry, weights=asked)
    return End(
        _told_apart(analyse(entry, measured, moves)),
        _told_apart(analyse(entry, measured, moves[:1])),
        entry.shares["new"] / 100,
        measured.populations["control"].units,
    )


def _told_apart(report: Report) -> bool:
    reading = report.verdict("new").primary
    return reading.low is not None and reading.high is not None and reading.low * reading.high > 0


def _come(
    random: np.random.Generator,
    batch: int,
    entry: Entry,
    rates: dict[str, float],
    arms: dict[str, Arm],
) -> None:
    """An hour's units, in the arms by their weights."""
    shares = {name: percent / 100 for name, percent in entry.shares.items()}
    counts = random.multinomial(BATCH, list(shares.values()))
    for (name, share), units in zip(shares.items(), counts, strict=True):
        arms[name].add(
            {
                "first": BEGUN + (batch + np.sort(random.random(units))) * HOUR,
                "propensity": np.full(units, share),
                "thumb": (random.random(units) < rates[name]).astype(float),
            }
        )


def _measured(arms: dict[str, Arm]) -> Measurement:
    return Measurement(
        populations={name: arm.population() for name, arm in arms.items()},
        samples={"thumb": {name: arm.sample("thumb") for name, arm in arms.items()}},
    )


def summary(ends: Sequence[End], truth: Truth) -> dict[str, Any]:
    """Shares that were told apart, and what the control's units cost in likes."""
    decided = Share.counted(sum(end.decided for end in ends), len(ends))
    pooled = Share.counted(sum(end.pooled for end in ends), len(ends))
    regrets = np.array([end.control for end in ends]) * truth.effect
    return {
        "n": len(ends),
        "decided": {**asdict(decided), "value": decided.value},
        "decided_pooled": {**asdict(pooled), "value": pooled.value},
        "median_share_of_new": float(np.median([end.share for end in ends])),
        "mean_regret": float(regrets.mean()),
        "regret_of_a_fixed_split": BATCH * BATCHES / 2 * truth.effect,
    }


def simulate_bandits(truth: Truth, runs: int, seed: int) -> dict[str, Any]:
    """So many bandits of the same truth, on all processors."""
    with ProcessPoolExecutor() as pool:
        ends = list(pool.map(partial(play, truth), range(seed, seed + runs), chunksize=8))
    return summary(ends, truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="of each kind")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    began, found = time.monotonic(), {}
    for name, truth in track(SCENARIOS.items(), console=Console(stderr=True)):
        found[name] = simulate_bandits(truth, arguments.runs, arguments.seed)
    if arguments.json:
        print(json.dumps({"seconds": time.monotonic() - began, "scenarios": found}))
        return
    table = Table(
        "truth", "decided", "over all time", "new arm at the end", "regret", "fixed split"
    )
    for name, one in found.items():
        decided, pooled = one["decided"], one["decided_pooled"]
        table.add_row(
            name,
            f"{decided['value']:.1%} ({decided['low']:.1%} to {decided['high']:.1%})",
            f"{pooled['value']:.1%}",
            f"{one['median_share_of_new']:.0%}",
            f"{one['mean_regret']:.0f}",
            f"{one['regret_of_a_fixed_split']:.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
