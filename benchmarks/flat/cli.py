"""`turnout bench flat`: options in, ratios out."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from adapters.cli import as_json, show_json
from benchmarks import options
from benchmarks.flat.report import MOST_LOST, Report
from benchmarks.flat.run import DISCONNECT, Plan, run
from benchmarks.flat.sides import dimensions
from benchmarks.gateway.tools import NotBuilt
from benchmarks.swap.prepare import NotPrepared

_INTERACTIONS = 1_000_000
_NAMES = (*dimensions(_INTERACTIONS), DISCONNECT)
_COLUMNS = ("", "req/s", "ratio", "CPU ratio", "idle", "MB")


@click.command()
@click.option(
    "--only",
    default=",".join(_NAMES),
    callback=options.names(*_NAMES),
    help=f"Some of {','.join(_NAMES)}; `same` compares two equal gateways. [default: all]",
)
@click.option("--rounds", type=click.IntRange(1, 1000), default=10, show_default=True)
@options.seconds(2, "turn")
@click.option(
    "--interactions",
    type=click.IntRange(10_000, 100_000_000),
    default=_INTERACTIONS,
    show_default=True,
    help="In the larger store; they take 0.5 GB a million, twice, and are kept for the next run.",
)
@options.home("they are kept")
@as_json
def flat(
    only: tuple[str, ...],
    rounds: int,
    seconds: float,
    interactions: int,
    home: Path,
    as_json: bool,
) -> None:
    """Compare a gateway that has much of something with one that has little.

    Both run on core 0, mock and load on core 1; they are under load in turn, the other one stopped:
    a closed loop of 32 connections, the full pipeline without retrieval. Run it on a quiet machine.
    Exit code 1 if much of anything costs more than 5 % of the throughput, or an answer was wrong.
    """
    options.stop_servers_when_told()
    plan = Plan(only, rounds, seconds, interactions, home.expanduser())
    with options.steps() as progress:
        task = progress.add_task("", total=plan.steps)
        try:
            report = run(plan, lambda what, by: progress.update(task, description=what, advance=by))
        except (NotBuilt, NotPrepared) as exc:
            raise click.ClickException(str(exc)) from exc
    if as_json:
        show_json(report.as_json())
    else:
        _show(report)
    raise SystemExit(0 if report.ok else 1)


def _show(report: Report) -> None:
    console = Console()
    found = report.as_json()
    table = Table(*(Column(title, no_wrap=True) for title in _COLUMNS))
    for name, row in found["dimensions"].items():
        table.add_row(
            f"{name}\n{row['little']:,} - {row['much']:,}",
            _both(f"{rps:.0f}" for rps in row["rps"]),
            f"{'' if row['kept'] else '[bold]'}{_ratio(row['ratio'])}",
            _ratio(row["cost_ratio"]),
            _both(f"{share:.1%}" for share in row["idle_busy"]),
            _both(f"{megabytes:.0f}" for megabytes in row["rss_mb"]),
        )
    console.print(table)
    console.print(
        "ratio: throughput with much over little, median of the rounds \\[middle half], wanted at "
        f"least {1 - MOST_LOST:.2f}; CPU: processor time a request, records included; idle: share "
        "of the core that each takes while nobody asks"
    )
    for name, problem in found["errors"].items():
        console.print(f"{name}: {problem}", markup=False)
    if report.disconnect is not None:
        console.print(_disconnect_line(report.disconnect), markup=False)


def _both(parts: Iterable[str]) -> str:
    """Little above much."""
    return "\n".join(parts)


def _ratio(spread: dict[str, float]) -> str:
    return escape(f"{spread['median']:.3f}\n[{spread['lower']:.3f}-{spread['upper']:.3f}]")


def _disconnect_line(found: dict[str, Any]) -> str:
    waiting, streaming, slow = (
        found[name] for name in ("waiting_ms", "streaming_ms", "slow_caller")
    )
    return (
        f"a caller who leaves is noticed by the engine after {waiting['p50']} ms while it waits "
        f"(at most {waiting['most']}), {streaming['p50']} ms in mid-stream (at most "
        f"{streaming['most']}); one who does not read is sent {slow['sent_mb']} MB and costs the "
        f"gateway {slow['gateway_grew_mb']} MB"
    )
