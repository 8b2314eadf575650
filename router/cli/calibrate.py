"""`turnout router calibrate`."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from router.calibration import expected_calibration_error, reliability
from router.cli.common import (
    Workspace,
    as_json_option,
    plot_option,
    print_json,
    serving_folder,
)
from router.examples import read_examples
from router.fitting.artefact import republish
from router.quality.evaluate import evaluate
from router.quality.goals import DELTA, Cost, Coverage, Goal, Judged, Precision, lower_bounds
from router.quality.picture import draw_calibration
from router.quality.recalibration import MIN_LINES, Recalibrated, recalibrated
from router.router import MANIFEST, read_manifest
from router.second.stage import Cascade

OPEN_UNIT = click.FloatRange(0, 1, min_open=True, max_open=True)


class _Costs(click.ParamType[Cost]):
    name = "WRONG:ABSTAIN"

    def convert(self, value: Any, param: Any, ctx: Any) -> Cost:
        try:
            wrong, abstain = (float(part) for part in value.split(":"))
        except ValueError:
            self.fail(f"{value!r} is not two numbers, such as 5:1", param, ctx)
        if not 0 < abstain < wrong < float("inf"):
            self.fail("a wrong domain must cost more than abstaining, and that more than 0")
        return Cost(wrong, abstain)


@click.command("calibrate")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Labelled lines.")
@click.option("--precision", type=OPEN_UNIT, help="What goes to a domain belongs there.")
@click.option("--label", help="With --precision: this domain alone; the others stay.")
@click.option("--coverage", type=click.FloatRange(0, 1, min_open=True), help="Share decided.")
@click.option("--cost", type=_Costs(), help="Of a wrong domain and of holding back, such as 5:1.")
@click.option("--model", type=click.Path(path_type=Path), help="Instead of the serving router.")
@click.option("--out", type=click.Path(path_type=Path), help="Write here; do not serve it.")
@plot_option("Also draw what the new router does on these lines to this .svg or .png.")
@as_json_option
@click.pass_obj
def calibrate_command(
    workspace: Workspace,
    data: Path,
    precision: float | None,
    label: str | None,
    coverage: float | None,
    cost: Cost | None,
    model: Path | None,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Choose thresholds for a goal on labelled lines, and serve the router with them.

    The lines should be like the queries that come, and not those of the fit. A precision is
    promised with 95 % confidence, or refused. The temperatures are fitted again where that lowers
    the log loss in a cross-validation. `router.threshold`, where it is set, still takes the place
    of all thresholds.
    """
    goal = _goal(precision, label, coverage, cost)
    folder, examples = serving_folder(workspace, model), read_examples(data)
    before, cascade = read_manifest(folder / MANIFEST), Cascade.load(folder)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(f"Asking {len(examples)} queries", total=None)
        found = recalibrated(
            cascade,
            examples,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    thresholds = goal.thresholds(found.judged, cascade.first.thresholds)
    changes = {**found.manifest(before), "thresholds": thresholds, "goal": goal.as_json()}
    folder = republish(folder, changes, workspace.artifacts / "router", out)
    if plot is not None:
        draw_calibration(evaluate(Cascade.load(folder), examples), plot)
    row = _as_json(goal, found, thresholds, folder)
    if as_json:
        print_json(row)
    else:
        _print(row, Console())


def _goal(
    precision: float | None, label: str | None, coverage: float | None, cost: Cost | None
) -> Goal:
    goals: list[Goal] = []
    if precision is not None:
        goals.append(Precision(precision, label))
    if coverage is not None:
        goals.append(Coverage(coverage))
    if cost is not None:
        goals.append(cost)
    if len(goals) != 1:
        raise click.UsageError("give one of --precision, --coverage and --cost")
    if label is not None and precision is None:
        raise click.UsageError("--label goes with --precision")
    return goals[0]


def _as_json(
    goal: Goal, found: Recalibrated, thresholds: dict[str, float], folder: Path
) -> dict[str, Any]:
    judged = found.judged
    held_back = judged.held_back(thresholds)
    decided = judged.right[~held_back]
    row = {
        "folder": str(folder),
        "version": read_manifest(folder / MANIFEST)["version"],
        "goal": goal.as_json(),
        "n": len(judged.labels),
        "thresholds": thresholds,
        "coverage": float((~held_back).mean()),
        "selective_accuracy": float(decided.mean()) if len(decided) else 0.0,
        "ece": expected_calibration_error(reliability(judged.confidence, judged.right)),
        "temperature_factors": {"first": found.first, "second": found.second},
        "reference_renewed": found.reference is not None,
        "per_label": {label: _kept(judged, label, thresholds[label]) for label in judged.domains()},
    }
    if isinstance(goal, Cost):
        row["mean_cost"] = goal.of(judged, held_back)
    return row


def _kept(judged: Judged, label: str, threshold: float) -> dict[str, Any]:
    """What goes to a domain; `at_least` bounds its precision below with 95 % confidence."""
    confidence, right = judged.surest_first(label)
    kept = right[confidence >= threshold]
    hits, n = kept.sum(keepdims=True), kept.size
    return {
        "threshold": threshold,
        "predicted": len(right),
        "kept": n,
        "precision": float(kept.mean()) if n else 0.0,
        "at_least": float(lower_bounds(hits, hits * 0 + n, DELTA)[0]) if n else 0.0,
    }


def _print(row: dict[str, Any], console: Console) -> None:
    console.print(row["folder"], soft_wrap=True)
    table = Table("domain", "threshold", "predicted", "kept", "precision", "at least (95 %)")
    for label, kept in row["per_label"].items():
        table.add_row(
            label,
            f"{kept['threshold']:.3f}",
            str(kept["predicted"]),
            str(kept["kept"]),
            f"{kept['precision']:.3f}",
            f"{kept['at_least']:.3f}",
        )
    console.print(table)
    console.print(
        f"decided {row['coverage']:.1%} of {row['n']} queries, "
        f"{row['selective_accuracy']:.1%} of them right; ECE {row['ece']:.3f}"
    )
    if "mean_cost" in row:
        console.print(f"mean cost {row['mean_cost']:.4f}")
    factors = {s: f for s, f in row["temperature_factors"].items() if f != 1.0}
    fitted = ", ".join(f"{stage} times {factor:.3f}" for stage, factor in factors.items())
    console.print(f"temperature: {fitted or 'as it was, no other lowers the log loss'}")
    if not row["reference_renewed"]:
        console.print(f"drift is still measured against the fit: fewer than {MIN_LINES} lines")
