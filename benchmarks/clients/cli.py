"""`turnout bench clients`: options in, verdicts and figures out."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from adapters.cli import as_json, show_json
from benchmarks import options
from benchmarks.clients.client import NAMES
from benchmarks.clients.run import Plan, run
from benchmarks.gateway.tools import NotBuilt

_SHORT = 20  # what a check saw is shown with a "yes" if it is no longer


@click.command()
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@options.seconds(2, "load")
@click.option("--checks/--no-checks", default=True, help="Whether answers are looked at first.")
@options.home("pyreqwest is installed")
@as_json
def clients(
    rounds: int,
    seconds: float,
    checks: bool,
    home: Path,
    as_json: bool,
) -> None:
    """Compare the gateway's HTTP client with aiohttp and pyreqwest: what each gets right, and what
    it costs.

    Each client runs in a process of its own on core 0, the mock upstream on core 1; rounds
    alternate over the clients. Exit code 1 if our own client fails a check or a load.
    """
    plan = Plan(rounds, seconds, home.expanduser(), checks)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=plan.steps)
        try:
            report = run(plan, lambda what: progress.update(task, description=what, advance=1))
        except NotBuilt as exc:
            raise click.ClickException(str(exc)) from exc
    found = report.as_json()
    if as_json:
        show_json(found)
    else:
        _show(found)
    raise SystemExit(0 if report.ok else 1)


def _show(found: dict[str, Any]) -> None:
    console = Console()
    if found["checks"]:
        matrix = Table("check", *NAMES)
        for check, verdicts in found["checks"].items():
            matrix.add_row(check, *(_verdict(verdicts.get(name)) for name in NAMES))
        console.print(matrix)
    figures = ("rps", "us_per_request", "events_per_s", "us_per_event")
    titles = ("req/s", "µs/req", "events/s", "µs/event")
    speed = Table("client", *titles)
    for row in found["rows"]:
        if "error" in row:
            console.print(f"{row['client']}: {row['error']}", markup=False)
        else:
            cells = (f"{row[figure]['median']:,.0f}" for figure in figures)
            speed.add_row(f"{row['client']} {row['version']}", *cells)
    console.print(speed)
    ratios = Table("turnout", *titles)
    for name, ratio in found["ratios"].items():
        cells = (
            f"{part['median']:.2f} [{part['least']:.2f}-{part['most']:.2f}]"
            for part in (ratio[figure] for figure in figures)
        )
        ratios.add_row(name.replace("_", " "), *(escape(cell) for cell in cells))
    console.print(ratios)


def _verdict(verdict: dict[str, Any] | None) -> str:
    if verdict is None:
        return "-"
    if not verdict["ok"]:
        return f"[bold]no[/bold]: {escape(verdict['said'][:40])}"
    return "yes" if len(verdict["said"]) > _SHORT else f"yes: {escape(verdict['said'])}"
