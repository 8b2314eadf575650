"""`turnout experiments`: live splits between arms."""

from dataclasses import asdict

import click

from adapters.cli import Workspace, as_json, show_json, show_table
from adapters.experiments.assignment import Arm
from adapters.experiments.book import Entry, ExperimentBook
from adapters.registry import Registry
from adapters.store import Store


@click.group()
def experiments() -> None:
    """Live tests between arms: create, list, show, stop."""


@experiments.command()
@click.argument("name")
@click.option("--domain", required=True, help="The domain whose traffic is split.")
@click.option(
    "--arm",
    "arms",
    required=True,
    multiple=True,
    metavar="NAME=MODEL:WEIGHT",
    help="An arm; MODEL is an adapter version or `base`. Give at least two, e.g. control=base:1.",
)
@as_json
@click.pass_obj
def create(
    workspace: Workspace, name: str, domain: str, arms: tuple[str, ...], as_json: bool
) -> None:
    """Start experiment NAME; traffic splits within a second."""
    made = _book(workspace).create(name, domain, [_arm(text) for text in arms])
    if as_json:
        show_json(asdict(made))
    else:
        click.echo(
            f"{made.name} splits {made.domain} between {', '.join(a.name for a in made.arms)}"
        )


@experiments.command("list")
@as_json
@click.pass_obj
def list_experiments(workspace: Workspace, as_json: bool) -> None:
    """Every experiment, oldest first."""
    entries = _book(workspace).entries()
    if as_json:
        show_json([_flat(entry) for entry in entries])
        return
    rows = [
        (e.experiment.name, e.experiment.domain, _arms(e), e.created, e.stopped or "running")
        for e in entries
    ]
    show_table(("name", "domain", "arms", "created", "stopped"), rows)


@experiments.command()
@click.argument("name")
@as_json
@click.pass_obj
def show(workspace: Workspace, name: str, as_json: bool) -> None:
    """One experiment: its arms, and how many answers each gave."""
    store = Store(workspace.store_url)
    entry = _book(workspace).entry(name)
    counts = store.answers_by_arm(name)
    if as_json:
        show_json({**_flat(entry), "answers": counts})
        return
    rows = [(a.name, a.model, a.weight, counts.get(a.name, 0)) for a in entry.experiment.arms]
    show_table(("arm", "model", "weight", "answers"), rows)


@experiments.command()
@click.argument("name")
@click.pass_obj
def stop(workspace: Workspace, name: str) -> None:
    """End experiment NAME; its units return to the champion."""
    _book(workspace).stop(name)
    click.echo(f"{name} is stopped")


def _book(workspace: Workspace) -> ExperimentBook:
    store = Store(workspace.store_url)
    return ExperimentBook(store, Registry(store, workspace.versions))


def _arm(text: str) -> Arm:
    name, _, rest = text.partition("=")
    model, _, weight = rest.rpartition(":")
    try:
        return Arm(name, model, float(weight))
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} is not NAME=MODEL:WEIGHT", param_hint="--arm") from exc


def _flat(entry: Entry) -> dict[str, object]:
    return {**asdict(entry.experiment), "created": entry.created, "stopped": entry.stopped}


def _arms(entry: Entry) -> str:
    return ", ".join(f"{arm.name}={arm.model}:{arm.weight:g}" for arm in entry.experiment.arms)
