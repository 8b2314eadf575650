"""`turnout experiments` verbs that move one: by hand, or by itself (`watch`)."""

import getpass
import logging
import time
from collections.abc import Callable
from contextlib import closing

import click
import orjson

from adapters.cli import Workspace, as_json, show_table
from adapters.cli.books import open_book, shares_of
from adapters.experiments.book import ExperimentBook
from adapters.experiments.entry import Entry, Why
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
    store, book = Store(workspace.store_url), open_book(workspace)
    with closing(Watch(store, book, packs=workspace.packs, every=every)) as watching:
        looks = watching.round() if once else watching.rounds(_slept)
        if not looks:
            click.echo("no look: no experiment runs, or a gateway watches already", err=True)
        for look in looks:
            row = (look.experiment, look.step.act, look.step.reason or "; ".join(look.words))
            if as_json:
                said = dict(zip(("experiment", "act", "reason"), row, strict=True))
                click.echo(orjson.dumps(said))
            else:
                show_table(("experiment", "act", "why"), [row])


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return False


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
@click.option("--arm", required=True, help="The arm that becomes champion.")
@_reason
@click.pass_obj
def promote(workspace: Workspace, name: str, arm: str, reason: str) -> None:
    """End NAME with ARM as its domain's champion; running conversations end where they are."""
    open_book(workspace).promote(name, arm, Why(getpass.getuser(), reason))
    click.echo(f"{name} is over, {arm} serves")


def _plain(
    verb: str, act: Callable[[ExperimentBook, str, Why], Entry], does: str, told: str
) -> click.Command:
    """A verb that needs no more than NAME and a reason."""

    @click.command(verb, help=does)
    @click.argument("name")
    @_reason
    @click.pass_obj
    def command(workspace: Workspace, name: str, reason: str) -> None:
        act(open_book(workspace), name, Why(getpass.getuser(), reason))
        click.echo(f"{name} is {told}")

    return command


def _pair(text: str, option: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        return name, float(weight)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} is not ARM=WEIGHT", param_hint=option) from exc


VERBS = (
    move,
    _plain("freeze", ExperimentBook.freeze, "Let NAME go on as it is, without moves.", "frozen"),
    _plain("thaw", ExperimentBook.thaw, "Let NAME move again.", "running"),
    promote,
    _plain(
        "rollback",
        ExperimentBook.roll_back,
        "End NAME and withdraw the arms under test; every unit returns to the champion at once.",
        "rolled back",
    ),
    _plain(
        "stop",
        ExperimentBook.stop,
        "End experiment NAME; its units return to the champion.",
        "stopped",
    ),
    watch,
)
