"""How often the gate is wrong: candidates whose true worth is known, judged again and again.

    python -m benchmarks.gate

Both models are right with known chances and answer a part of the rows alike, as models of one
family do. Exact match, one rival.
"""

from collections import Counter
from collections.abc import Sequence

import click
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from adapters.cli import as_json, show_json, show_table
from benchmarks import options
from training.evaluation.evaluate import Evaluation, TaskResult
from training.evaluation.gate import Evidence, Retention, Verdict, judge
from training.evaluation.metrics import Metric

BASE, GAIN, ALIKE = 0.5, 0.1, 0.5
ROWS, TASKS = (50, 270), (1, 3, 10)
PROTECTED_ROWS, LOSSES = (40, 100, 270), (0.0, 0.05, 0.1, 0.2, 0.3)
KNOWN, CHANGED = 0.45, 0.1  # of a capability: what the base gets right, and what moves by chance

Rights = NDArray[np.bool_]
Shares = dict[str, float]


def evaluation(model: str, rights: Sequence[Rights]) -> Evaluation:
    """Right and wrong by task."""
    return Evaluation(
        model,
        {
            f"task {number}": TaskResult(
                Metric.EXACT_MATCH, tuple(map(float, right.tolist())), 0, {}
            )
            for number, right in enumerate(rights)
        },
    )


def answered(random: Generator, rows: int, mine: float, its: float) -> tuple[Rights, Rights]:
    """Which rows two models answer rightly, with these chances."""
    first = random.random(rows)
    second = np.where(random.random(rows) < ALIKE, first, random.random(rows))
    return first < mine, second < its


def verdicts(rows: int, tasks: int, gaining: int, trials: int) -> Shares:
    """Of candidates that are better by GAIN on the first `gaining` tasks, and equal elsewhere."""
    random = np.random.default_rng(0)
    found: Counter[str] = Counter()
    for _ in range(trials):
        chances = [BASE + GAIN] * gaining + [BASE] * (tasks - gaining)
        pairs = [answered(random, rows, chance, BASE) for chance in chances]
        mine, its = zip(*pairs, strict=True)
        found[
            judge(Evidence(evaluation("candidate", mine), (evaluation("base", its),))).verdict
        ] += 1
    return {kind: count / trials for kind, count in found.items()}


def retained(rows: int, loss: float, trials: int) -> Shares:
    """Of capabilities of which a candidate has truly lost so much."""
    random = np.random.default_rng(0)
    found: Counter[str] = Counter()
    better = evaluation("candidate", [np.ones(30, bool)]), evaluation("base", [np.zeros(30, bool)])
    for _ in range(trials):
        before = random.random(rows) < KNOWN
        moved = np.where(random.random(rows) < CHANGED, random.random(rows) < KNOWN, before)
        after = moved & (random.random(rows) >= loss / KNOWN)
        protected = evaluation("candidate", [after]), evaluation("base", [before])
        [(_, kind)] = judge(Evidence(better[0], better[1:], protected)).capabilities
        found[kind] += 1
    return {kind: count / trials for kind, count in found.items()}


@click.command()
@click.option("--trials", type=click.IntRange(10), default=1000, show_default=True)
@as_json
def main(trials: int, as_json: bool) -> None:
    """Simulate verdicts; with 1,000 trials each, about ten minutes."""
    with options.steps() as progress:
        cells = [(rows, tasks) for rows in ROWS for tasks in TASKS]
        judged: list[tuple[int, int, Shares, Shares, Shares]] = [
            (
                rows,
                tasks,
                verdicts(rows, tasks, 0, trials),
                verdicts(rows, tasks, 1, trials),
                verdicts(rows, tasks, tasks, trials),
            )
            for rows, tasks in progress.track(cells, description="verdicts")
        ]
        kept = [
            (rows, loss, retained(rows, loss, trials))
            for rows in progress.track(PROTECTED_ROWS, description="capabilities")
            for loss in LOSSES
        ]
    if as_json:
        show_json({"trials": trials, "verdicts": judged, "capabilities": kept})
        return

    def share(found: Shares, kind: str) -> str:
        return f"{found.get(kind, 0.0):.1%}"

    show_table(
        (
            "rows",
            "tasks",
            "equal: pass",
            "fail",
            "+10 on one: pass",
            "fail",
            "+10 on all: pass",
        ),
        [
            (
                rows,
                tasks,
                share(equal, Verdict.PASS),
                share(equal, Verdict.FAIL),
                share(one, Verdict.PASS),
                share(one, Verdict.FAIL),
                share(every, Verdict.PASS),
            )
            for rows, tasks, equal, one, every in judged
        ],
    )
    show_table(
        ("rows", "points lost", "called lost", "surely kept"),
        [
            (
                rows,
                f"{100 * loss:.0f}",
                share(found, Retention.LOST),
                share(found, Retention.KEPT),
            )
            for rows, loss, found in kept
        ],
    )


if __name__ == "__main__":
    main()
