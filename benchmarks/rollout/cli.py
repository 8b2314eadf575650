"""`turnout bench rollout`: options in, checks out."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import click
from rich.console import Console
from rich.table import Table

from adapters.cli import as_json, show_json
from benchmarks import options
from benchmarks.rollout.design import Terms
from benchmarks.rollout.plot import svg
from benchmarks.rollout.run import Findings, Plan, Scenario, run
from benchmarks.swap.prepare import NotPrepared
from benchmarks.swap.servers import NotStarted
from benchmarks.swap.system import NotSeen


class Workspace(Protocol):
    """What this verb needs of the command's workspace."""

    @property
    def state(self) -> Path: ...
    @property
    def base_model(self) -> Path: ...


def _stages(_ctx: click.Context, _option: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        stages = tuple(float(part) for part in value.split(","))
    except ValueError as exc:
        raise click.BadParameter(f"{value!r} is no list of percent such as 10,25,50") from exc
    if not all(0 < stage < 100 for stage in stages[:-1]) or sorted(set(stages)) != list(stages):
        raise click.BadParameter(f"{value!r}: percent that grow, such as 10,25,50,100")
    return stages


@click.command()
@click.option("--engine", type=click.Choice(["embedded", "vllm"]), default="embedded")
@click.option("--scenario", type=click.Choice([*map(str, Scenario)]), default="worse")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option(
    "--stages",
    default="10,25,50,100",
    show_default=True,
    callback=_stages,
    help="Percent for the challenger.",
)
@click.option(
    "--stage-units",
    type=click.IntRange(1, 10_000),
    default=30,
    show_default=True,
    help="Sessions of the challenger in each stage.",
)
@click.option(
    "--effect",
    type=click.FloatRange(0.05, 0.45),
    default=0.2,
    show_default=True,
    help="Difference of thumbs up that counts.",
)
@click.option(
    "--damage",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Part of each lora_B that is shuffled in the worse adapter.",
)
@click.option(
    "--adapter",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of a legal version that was trained before.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, 600, min_open=True),
    default=8,
    show_default=True,
    help="Training time, where there is no adapter yet.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=24,
    show_default=True,
    help="Sessions at a time; each reads for five seconds before a question.",
)
@click.option("--replicas", type=click.IntRange(1, 16), default=1, show_default=True)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=lambda: os.environ.get("TURNOUT_DATA", "../shared/data"),
    help="Folder with legal/ [default: TURNOUT_DATA, or ../shared/data].",
)
@options.vllm()
@options.plot("the thumbs of both arms")
@as_json
@click.pass_obj
def rollout(
    workspace: Workspace,
    /,
    scenario: str,
    stages: tuple[float, ...],
    stage_units: int,
    effect: float,
    plot: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Have a rollout move by itself on real adapters, with users who know the truth.

    A clause-type adapter against itself damaged: as challenger the damaged one has to be rolled
    back (`worse`, and `killed`: with a kill -9 of the gateway on the way), the good one promoted
    (`better`), and the same weights under two names neither (`aa`). How many answers that takes at
    most is said before it begins. Works in bench-rollout under the state folder, where the trained
    adapter is kept. Exit code 1 if a check fails.
    """
    options.stop_servers_when_told()
    plan = Plan(
        folder=(workspace.state / "bench-rollout").resolve(),
        model=workspace.base_model,
        scenario=Scenario(scenario),
        terms=Terms(stages, stage_units, effect),
        **chosen,
    )
    with options.steps() as progress:
        task = progress.add_task(scenario)

        def say(what: str) -> None:
            progress.console.print(f"{datetime.now():%H:%M:%S}  {what}", markup=False)

        try:
            findings = run(plan, say, lambda n, of: progress.update(task, completed=n, total=of))
        except (NotPrepared, NotStarted, NotSeen) as exc:
            raise click.ClickException(str(exc)) from exc
    if plot is not None:
        plot.write_text(svg(findings.stored, f"{scenario}, {plan.engine}"), encoding="utf-8")
    if as_json:
        show_json(findings.as_json())
    else:
        _show(findings)
    raise SystemExit(0 if findings.ok else 1)


def _show(findings: Findings) -> None:
    table = Table("", "check", "found")
    for check in findings.checks:
        table.add_row("ok" if check.ok else "[bold]FAILS", check.name, check.told)
    Console().print(table)
