"""`turnout experiments` verbs that move one: by hand, or by itself (`watch`)."""

import getpass
import logging
import time

import click
import orjson

from adapters.cli import Workspace, as_json, show_table
from adapters.cli.books import open_book, shares_of
from adapters.experiments.entry import Why
from adapters.store import Store

_reason = click.option("--reason", default="", help="Why; kept in the audit log.")


@click.command()
@click.option("--once", is_flag=True, help="Look at every experiment once, and end.")
@click.option(
    "--every",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="Seconds between looks at one experiment.",
)
@as_json
@click.pass_obj
def watch(workspace: Workspace, once: bool, every: float, as_json: bool) -> None:
    """Look at the live experiments and move them: stages, promotions, rollbacks, freezes.

    A gateway does so by itself (`experiments.automatic`); this is for a host of its own, or a look
    right now. One process at a time does it; the others wait.
    """
    # Here, as it brings scipy: a second that the other verbs need not wait.
    from adapters.experiments.watch import Watch

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    watching = Watch(Store(workspace.store_url), open_book(workspace), every=every)
    try:
        while True:
            for look in watching.round():
                row = (look.experiment, look.step.act, look.step.reason or "; ".join(look.words))
                if as_json:
                    said = dict(zip(("experiment", "act", "reason"), row, strict=True))
                    click.echo(orjson.dumps(said))
                else:
                    show_table(("experiment", "act", "why"), [row])
            if once:
                return
            time.sleep(min(every / 2, 5.0))
    finally:
        watching.close()


@click.command()
@click.argument("name")
@click.option("--stage", type=float, metavar="PERCENT", help="One of the experiment's stages.")
@click.option("--weight", "weights", multiple=True, metavar="ARM=WEIGHT", help="One for each arm.")
@_reason
@click.pass_obj
def move(
    workspace: Workspace, name: str, stage: float | None, weights: tuple[str, ...], reason: str
) -> None:
    """Give the arms of NAME other shares; running conversations stay where they are."""
    book, why = open_book(workspace), Why(getpass.getuser(), reason)
    if (stage is None) == (not weights):
        raise click.UsageError("give either --stage or a --weight for each arm")
    if stage is not None:
        moved = book.set_stage(name, stage, why)
    else:
        moved = book.set_weights(name, dict(_pair(text, "--weight") for text in weights), why)
    click.echo(f"{name} splits {moved.experiment.domain}: {shares_of(moved)}")


@click.command()
@click.argument("name")
@_reason
@click.pass_obj
def freeze(workspace: Workspace, name: str, reason: str) -> None:
    """Let NAME go on as it is, without moves."""
    open_book(workspace).freeze(name, Why(getpass.getuser(), reason))
    click.echo(f"{name} is frozen")


@click.command()
@click.argument("name")
@_reason
@click.pass_obj
def thaw(workspace: Workspace, name: str, reason: str) -> None:
    """Let NAME move again."""
    open_book(workspace).thaw(name, Why(getpass.getuser(), reason))
    click.echo(f"{name} is running")


@click.command()
@click.argument("name")
@click.option("--arm", required=True, help="The arm that becomes champion.")
@_reason
@click.pass_obj
def promote(workspace: Workspace, name: str, arm: str, reason: str) -> None:
    """End NAME with ARM as its domain's champion; running conversations end where they are."""
    open_book(workspace).promote(name, arm, Why(getpass.getuser(), reason))
    click.echo(f"{name} is over, {arm} serves")


@click.command()
@click.argument("name")
@_reason
@click.pass_obj
def rollback(workspace: Workspace, name: str, reason: str) -> None:
    """End NAME and withdraw the arms under test; every unit returns to the champion at once."""
    open_book(workspace).roll_back(name, Why(getpass.getuser(), reason))
    click.echo(f"{name} is rolled back")


@click.command()
@click.argument("name")
@_reason
@click.pass_obj
def stop(workspace: Workspace, name: str, reason: str) -> None:
    """End experiment NAME; its units return to the champion."""
    open_book(workspace).stop(name, Why(getpass.getuser(), reason))
    click.echo(f"{name} is stopped")


def _pair(text: str, option: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        return name, float(weight)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} is not ARM=WEIGHT", param_hint=option) from exc


VERBS = (move, freeze, thaw, promote, rollback, stop, watch)
