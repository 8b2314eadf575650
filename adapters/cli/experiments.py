"""`turnout experiments`: live splits between arms."""

import getpass
from pathlib import Path
from typing import Any

import click

from adapters.cli import Workspace, as_json, show_json, show_table
from adapters.cli.books import open_book, shares_of
from adapters.cli.exports import export_experiment
from adapters.cli.forecasts import simulate
from adapters.cli.judging import judge
from adapters.cli.reports import show
from adapters.cli.rollouts import VERBS
from adapters.experiments.design import Unit
from adapters.experiments.entry import Why
from adapters.experiments.measures import Kind
from adapters.experiments.reading import read_experiment, read_file


@click.group()
def experiments() -> None:
    """Live tests between arms."""


for verb in (simulate, show, judge, export_experiment, *VERBS):
    experiments.add_command(verb)


@experiments.command()
@click.argument("name", required=False)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The whole design as .toml or .json; other options override it.",
)
@click.option(
    "--domain", help="Whose traffic is split: a domain's, a general tier's, or auto's (routers)."
)
@click.option(
    "--arm",
    "arms",
    multiple=True,
    metavar="NAME=MODEL:WEIGHT",
    help="An arm; MODEL is an adapter version, `base` or a general tier. At least two, the control "
    "first.",
)
@click.option("--owner", help="Who answers for it; default: you.")
@click.option(
    "--unit", type=click.Choice([*map(str, Unit)]), help="What is assigned; default: session."
)
@click.option("--metric", help="Primary metric: feedback's, or a signal; default: thumb.")
@click.option(
    "--kind", type=click.Choice([*map(str, Kind)]), help="Of the metric; default: by its name."
)
@click.option("--minimum-effect", type=float, help="A difference worth having (superiority).")
@click.option("--margin", type=float, help="A loss that is acceptable (non-inferiority).")
@click.option(
    "--stages", metavar="1,5,25,…", help="Percent for the arms under test, in turn; or `default`."
)
@click.option("--holdout", type=float, help="Part of the units that stay outside; 0 to 0.9.")
@click.option("--force", is_flag=True, help="In spite of a gate's verdict, or within a cool-down.")
@as_json
@click.pass_obj
def create(
    workspace: Workspace, /, as_json: bool, file: Path | None, force: bool, **options: Any
) -> None:
    """Start experiment NAME; traffic splits within a second."""
    values = {"owner": getpass.getuser(), **(read_file(file) if file else {})}
    experiment = read_experiment(_overridden(values, **options))
    why = Why(getpass.getuser(), "forced" if force else "")
    made = open_book(workspace).begin(experiment, why, force=force)
    if as_json:
        show_json(made.to_json())
    else:
        click.echo(f"{experiment.name} splits {experiment.domain}: {shares_of(made)}")


@experiments.command("list")
@as_json
@click.pass_obj
def list_experiments(workspace: Workspace, as_json: bool) -> None:
    """Every experiment, oldest first."""
    entries = open_book(workspace).entries()
    if as_json:
        show_json([entry.to_json() for entry in entries])
        return
    rows = [
        (e.experiment.name, e.experiment.domain, shares_of(e), e.created, e.stopped or e.state)
        for e in entries
    ]
    show_table(("name", "domain", "arms", "created", "stopped"), rows)


def _overridden(
    values: dict[str, Any],
    *,
    arms: tuple[str, ...],
    stages: str | None,
    metric: str | None,
    kind: str | None,
    minimum_effect: float | None,
    margin: float | None,
    **plain: Any,
) -> dict[str, Any]:
    """A design's values with what the command line says in their place."""
    said = {name: value for name, value in plain.items() if value is not None}
    if arms:
        said["arms"] = [_arm(text) for text in arms]
    if stages is not None:
        said["stages"] = _stages(stages)
    parts = {"name": metric, "kind": kind, "minimum_effect": minimum_effect, "margin": margin}
    given = {name: value for name, value in parts.items() if value is not None}
    if given:
        before = values.get("metric", {})
        said["metric"] = {**(before if isinstance(before, dict) else {}), **given}
    return {**values, **said}


def _arm(text: str) -> dict[str, Any]:
    name, _, rest = text.partition("=")
    model, _, weight = rest.rpartition(":")
    try:
        return {"name": name, "model": model, "weight": float(weight)}
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} is not NAME=MODEL:WEIGHT", param_hint="--arm") from exc


def _stages(text: str) -> list[float] | str:
    if text == "default":
        return text
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} is no list of percent", param_hint="--stages") from exc
