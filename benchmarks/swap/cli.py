"""`turnout bench swap`: options in, figures out."""

from datetime import datetime
from pathlib import Path
from typing import Protocol

import click
import orjson
from rich.console import Console
from rich.table import Table

from adapters.cli import as_json
from benchmarks import options
from benchmarks.swap.phases import Findings
from benchmarks.swap.prepare import NotPrepared
from benchmarks.swap.run import PHASES, Plan, run
from benchmarks.swap.servers import NotStarted
from benchmarks.swap.system import NotSeen


class Workspace(Protocol):
    """What this verb needs of the command's workspace."""

    @property
    def state(self) -> Path: ...
    @property
    def base_model(self) -> Path: ...


def _named(_ctx: click.Context, _option: click.Parameter, value: str) -> frozenset[str]:
    named = frozenset(name.strip() for name in value.split(","))
    if unknown := named - set(PHASES):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}; known are {', '.join(PHASES)}")
    return named


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(20),
    default=180,
    show_default=True,
    help="Time for the moves under load; half as long without any before.",
)
@click.option("--workers", type=click.IntRange(1, 256), default=6, show_default=True)
@click.option("--replicas", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=0.5,
    show_default=True,
    help="Training time of each of the two adapters, where they are not there yet.",
)
@options.vllm()
@click.option(
    "--phases",
    default="swap,kill",
    show_default=True,
    callback=_named,
    help=f"Some of {','.join(PHASES)}.",
)
@as_json
@click.pass_obj
def swap(
    workspace: Workspace,
    seconds: float,
    workers: int,
    replicas: int,
    minutes: float,
    python: Path,
    phases: frozenset[str],
    as_json: bool,
) -> None:
    """Swap adapters under load on real vLLM and count what went wrong.

    Starts replicas (deploy/vllm/cpu.sh) and a gateway of its own, on free ports. Works in
    bench-swap under the state folder, where the two trained adapters are kept for the next run.
    Exit code 1 if a request failed or a version that was out of service answered.
    """
    plan = Plan(
        folder=(workspace.state / "bench-swap").resolve(),
        model=workspace.base_model,
        python=python.absolute(),
        seconds=seconds,
        workers=workers,
        replicas=replicas,
        minutes=minutes,
        phases=phases,
    )
    options.stop_servers_when_told()
    try:
        findings = run(plan, _say)
    except (NotPrepared, NotStarted, NotSeen) as exc:
        raise click.ClickException(str(exc)) from exc
    if as_json:
        click.echo(orjson.dumps(findings.as_json()))
    else:
        _show(findings)
    raise SystemExit(0 if findings.ok else 1)


def _say(what: str) -> None:
    """What goes on, with the time, on stderr."""
    click.echo(f"{datetime.now():%H:%M:%S}  {what}", err=True)


def _show(findings: Findings) -> None:
    table = Table("phase", "figure", "value")
    for phase, figures in findings.phases.items():
        for name, value in figures.items():
            table.add_row(phase, name, str(value))
    for name, value in findings.as_json().items():
        if name != "phases":
            table.add_row("all", name, str(value))
    Console().print(table)
