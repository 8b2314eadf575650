"""`turnout bench gateway`: options in, figures out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Column, Table

from adapters.cli import as_json
from benchmarks import options
from benchmarks.gateway.measure import Workload
from benchmarks.gateway.peers import PEERS
from benchmarks.gateway.report import USUAL_RATE
from benchmarks.gateway.run import MODES, Plan, run
from benchmarks.gateway.tools import NotBuilt


def _rates(_ctx: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        rates = tuple(sorted({int(part) for part in value.split(",") if part.strip()}))
    except ValueError as exc:
        raise click.BadParameter(f"{value!r} is no list of whole numbers") from exc
    if any(not 0 < rate <= 100_000 for rate in rates):
        raise click.BadParameter("rates are 1 to 100000 a second")
    return rates


@click.command()
@click.option(
    "--peers",
    default="tensorzero,nginx",
    show_default=True,
    callback=options.names(*PEERS),
    help=f"Some of {','.join(PEERS)}; installed on first use. Empty for none.",
)
@click.option(
    "--modes",
    default="pass,full",
    show_default=True,
    callback=options.names(*MODES),
    help=f"Some of {','.join(MODES)}; asgi is an empty application on the same server.",
)
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@options.seconds(3, "load")
@click.option(
    "--rates",
    default="100,300,1000,3000",
    show_default=True,
    callback=_rates,
    help="Requests a second of the open loop.",
)
@click.option(
    "--delay",
    type=click.FloatRange(0, 10_000),
    default=0,
    show_default=True,
    help="Milliseconds before the mock answers.",
)
@options.home("peers are installed")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON here.")
@as_json
def gateway(
    peers: tuple[str, ...],
    modes: tuple[str, ...],
    rounds: int,
    seconds: float,
    rates: tuple[int, ...],
    delay: float,
    home: Path,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare this gateway with others on one core each, in front of the same mock upstream.

    Gateway on core 0, mock and load on core 1; rounds alternate over the gateways. Run it on a
    quiet machine: `others_busy` says how much of the gateway's core others took. Exit code 1 if a
    request to Turnout failed, or its record is not what the pipeline claims.
    """
    options.stop_servers_when_told()
    workload = Workload(seconds=seconds, rates=rates)
    plan = Plan(peers, modes, rounds, workload, home.expanduser(), delay_ms=delay)
    with options.steps() as progress:
        task = progress.add_task("preparing", total=plan.turns + len(peers) + len(modes))

        def say(what: str) -> None:
            progress.update(task, description=what, advance=1)

        try:
            report = run(plan, say)
        except NotBuilt as exc:
            raise click.ClickException(str(exc)) from exc
    found = report.as_json()
    if out is not None:
        out.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if as_json:
        click.echo(orjson.dumps(found))
    else:
        _show(found)
    raise SystemExit(0 if report.ok else 1)


def _show(found: dict[str, Any]) -> None:
    console = Console()
    figures: dict[str, Callable[[dict[str, Any]], str]] = {
        "req/s": lambda row: f"{row['rps']:,.0f}",
        "µs/req": lambda row: f"{row['us_per_request']:.0f}",
        "added p50 ms": lambda row: _added(row, "p50"),
        "p99 ms": lambda row: _added(row, "p99"),
        "TTFT ms": lambda row: f"{row['ttft_added_ms']:.2f}",
        "µs/event": lambda row: f"{row['us_per_event']:.0f}",
        "MB": lambda row: f"{row['rss_mb']:.0f}",
        "start s": lambda row: f"{row['start_s']:.1f}",
    }
    table = Table(Column("gateway", no_wrap=True), *figures)
    for row in found["rows"]:
        name = f"{row['gateway']} {row['mode']}"
        if "error" in row:
            console.print(f"{name}: {row['error']}", markup=False)
        else:
            table.add_row(name, *(show(row) for show in figures.values()))
    console.print(table)
    ratios = Table("requests per second and core", "ratio", "least - most")
    for name, ratio in found["ratios"].items():
        low, high = found["ratios_spread"][name]
        ratios.add_row(name, str(ratio), f"{low} - {high}")
    console.print(ratios)


def _added(row: dict[str, Any], part: str) -> str:
    """At the row's own rate, which is named unless it is the usual one."""
    added = row["added_ms"]
    if added is None:
        return "-"
    at = "" if added["rate"] == USUAL_RATE else f" @{added['rate']}"
    return f"{added[part]:.2f}{at}"
