"""`turnout router drift`."""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from router.cli.common import (
    UsageProblem,
    Workspace,
    as_json_option,
    plot_option,
    print_json,
    serving_folder,
    since_option,
)
from router.examples import read_texts
from router.quality.drift import REASONS, DriftReport, drift_of
from router.quality.picture import draw_drift
from router.router import Router

SHOWN = 120


@click.command("drift")
@click.option("--data", type=click.Path(path_type=Path), help='{"text"} lines, not the log.')
@since_option
@click.option("--model", type=click.Path(path_type=Path), help="Instead of the serving router.")
@plot_option("Also draw the signals then and now to this .svg or .png.")
@as_json_option
@click.pass_obj
def drift_command(
    workspace: Workspace,
    data: Path | None,
    since: float | None,
    model: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Compare logged queries with those the router was fitted on; exit code 1 where they differ.

    Each signal's population stability index counts as drift above 0.25, if it is beyond what
    chance makes of as many queries.
    """
    if data is not None and since is not None:
        raise click.UsageError("--since is about the log; it does not go with --data")
    router = Router.load(serving_folder(workspace, model))
    if data is not None:
        texts = read_texts(data)
    else:
        texts = [logged.text for logged in workspace.logged(since)]
        if not texts:
            raise UsageProblem("the log holds no query of that time; give lines with --data")
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(f"Looking at {len(texts)} queries", total=len(texts))
        report = drift_of(router, texts, lambda done: progress.update(task, completed=done))
    if plot is not None:
        draw_drift(report, plot)
    if as_json:
        print_json(report.as_json())
    else:
        _print(report, Console())
    if report.drifted:
        raise SystemExit(1)


def _print(report: DriftReport, console: Console) -> None:
    console.print(f"{report.n} queries against {report.reference_n} at the fit")
    table = Table("signal", "PSI", "noise", "verdict", "moved most")
    for signal, shift in report.shifts.items():
        shares = [
            (name, then / sum(shift.then), now / sum(shift.now))
            for name, then, now in zip(shift.names, shift.then, shift.now, strict=True)
        ]
        name, then, now = max(shares, key=lambda share: abs(share[2] - share[1]))
        table.add_row(
            signal,
            f"{shift.index:.3f}",
            f"{shift.noise:.3f}",
            shift.verdict,
            f"{name}: {then:.1%} → {now:.1%}",
        )
    console.print(table)
    if report.words:
        words = ", ".join(f"{word} {count}" for word, count in report.words.items())
        console.print(f"unknown words: {words}", markup=False)
    console.print(f"{report.advice}: {REASONS[report.advice]}", markup=False)
    if report.drifted:
        for query in report.queries:
            console.print(f"  least sure: {query[:SHOWN]!r}", markup=False)
