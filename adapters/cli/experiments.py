"""`turnout experiments`: live splits between arms."""

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapters.cli import Workspace, as_json, show_json, show_table
from adapters.cli.forecasts import simulate
from adapters.cli.reports import show_report
from adapters.experiments.book import ExperimentBook
from adapters.experiments.design import Kind, Unit
from adapters.experiments.entry import Entry, Why
from adapters.experiments.reading import read_experiment, read_file
from adapters.registry import Registry
from adapters.store import Store

if TYPE_CHECKING:
    from adapters.experiments.report import Report

_reason = click.option("--reason", default="", help="Why; kept in the audit log.")


@click.group()
def experiments() -> None:
    """Live tests between arms: simulate, create, list, show, move, freeze, thaw, stop."""


experiments.add_command(simulate)


@experiments.command()
@click.argument("name", required=False)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The whole design as .toml or .json; other options override it.",
)
@click.option("--domain", help="The domain whose traffic is split.")
@click.option(
    "--arm",
    "arms",
    multiple=True,
    metavar="NAME=MODEL:WEIGHT",
    help="An arm; MODEL is an adapter version or `base`. At least two, the control first.",
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
@as_json
@click.pass_obj
def create(workspace: Workspace, /, as_json: bool, file: Path | None, **options: Any) -> None:
    """Start experiment NAME; traffic splits within a second."""
    values = {"owner": getpass.getuser(), **(read_file(file) if file else {})}
    experiment = read_experiment(_overridden(values, **options))
    made = _book(workspace).begin(experiment, Why(getpass.getuser()))
    if as_json:
        show_json(made.to_json())
    else:
        click.echo(f"{experiment.name} splits {experiment.domain}: {_shares(made)}")


@experiments.command("list")
@as_json
@click.pass_obj
def list_experiments(workspace: Workspace, as_json: bool) -> None:
    """Every experiment, oldest first."""
    entries = _book(workspace).entries()
    if as_json:
        show_json([entry.to_json() for entry in entries])
        return
    rows = [
        (e.experiment.name, e.experiment.domain, _shares(e), e.created, e.stopped or e.state)
        for e in entries
    ]
    show_table(("name", "domain", "arms", "created", "stopped"), rows)


@experiments.command()
@click.argument("name")
@click.option("--quick", is_flag=True, help="Without the analysis, which reads the whole log.")
@as_json
@click.pass_obj
def show(workspace: Workspace, name: str, quick: bool, as_json: bool) -> None:
    """One experiment: its design, how far it is, how many answers each arm was asked for, every
    move, and what the data say by now. Look as often as you like: the error rate holds."""
    book, store = _book(workspace), Store(workspace.store_url)
    entry, counts, moves = book.entry(name), store.answers_by_arm(name), book.moves(name)
    if as_json:
        report = None if quick else asdict(_report(store, entry, moves))
        show_json({**entry.to_json(), "answers": counts, "moves": moves, "report": report})
        return
    shares = entry.shares
    rows = [
        (a.name, a.model, f"{shares[a.name]:.3g} %", counts.get(a.name, 0))
        for a in entry.experiment.arms
    ]
    show_table(("arm", "model", "share", "answers"), rows)
    told = [(m["at"], m["kind"], m["after"]["percent"], m["actor"], m["reason"]) for m in moves]
    show_table(("at", "move", "percent", "by", "reason"), told)
    if not quick:
        show_report(_report(store, entry, moves))


def _report(store: Store, entry: Entry, moves: Sequence[Mapping[str, Any]]) -> "Report":
    # They bring numpy and scipy: a second that the other verbs need not wait.
    from adapters.experiments.analysis import analyse
    from adapters.experiments.metrics import measure

    return analyse(entry, measure(store, entry), moves)


@experiments.command()
@click.argument("name")
@click.option("--stage", type=float, metavar="PERCENT", help="One of the experiment's stages.")
@click.option("--weight", "weights", multiple=True, metavar="ARM=WEIGHT", help="One for each arm.")
@_reason
@click.pass_obj
def move(
    workspace: Workspace, name: str, stage: float | None, weights: tuple[str, ...], reason: str
) -> None:
    """Give the arms of NAME other shares; running conversations stay where they are."""
    book, why = _book(workspace), Why(getpass.getuser(), reason)
    if (stage is None) == (not weights):
        raise click.UsageError("give either --stage or a --weight for each arm")
    if stage is not None:
        moved = book.set_stage(name, stage, why)
    else:
        moved = book.set_weights(name, dict(_pair(text, "--weight") for text in weights), why)
    click.echo(f"{name} splits {moved.experiment.domain}: {_shares(moved)}")


@experiments.command()
@click.argument("name")
@_reason
@click.pass_obj
def freeze(workspace: Workspace, name: str, reason: str) -> None:
    """Let NAME go on as it is, without moves."""
    _book(workspace).freeze(name, Why(getpass.getuser(), reason))
    click.echo(f"{name} is frozen")


@experiments.command()
@click.argument("name")
@_reason
@click.pass_obj
def thaw(workspace: Workspace, name: str, reason: str) -> None:
    """Let NAME move again."""
    _book(workspace).thaw(name, Why(getpass.getuser(), reason))
    click.echo(f"{name} is running")


@experiments.command()
@click.argument("name")
@_reason
@click.pass_obj
def stop(workspace: Workspace, name: str, reason: str) -> None:
    """End experiment NAME; its units return to the champion."""
    _book(workspace).stop(name, Why(getpass.getuser(), reason))
    click.echo(f"{name} is stopped")


def _book(workspace: Workspace) -> ExperimentBook:
    store = Store(workspace.store_url)
    return ExperimentBook(store, Registry(store, workspace.versions))


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


def _pair(text: str, option: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        return name, float(weight)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} is not ARM=WEIGHT", param_hint=option) from exc


def _shares(entry: Entry) -> str:
    models = {arm.name: arm.model for arm in entry.experiment.arms}
    return ", ".join(f"{name}={models[name]} {part:.3g} %" for name, part in entry.shares.items())
