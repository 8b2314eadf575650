"""`turnout log`: interactions and feedback out of the store, and their deletion."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from adapters.cli import Workspace
from adapters.cli.exports import destination, shown, write
from adapters.exports import Export, columns_of
from adapters.interactions import Interaction, JudgedInteraction, unit_digest
from adapters.store import Store


@click.group()
def log() -> None:
    """Interactions and feedback: export, delete."""


@log.command()
@click.option("--target", help="Only this target.")
@click.option(
    "--experiment", help="Only this experiment, with the answers that counted for no arm."
)
@click.option("--since", type=click.DateTime(), help="Only from this time on, UTC.")
@click.option("--until", type=click.DateTime(), help="Only before this time, UTC.")
@destination
@click.pass_obj
def export(
    workspace: Workspace,
    target: str | None,
    experiment: str | None,
    since: datetime | None,
    until: datetime | None,
    out: Path | None,
    form: str | None,
) -> None:
    """Every interaction with its feedback, oldest first. In CSV and Parquet `request`, `response`
    and `feedback` are JSON text."""
    begin, end = _seconds(since) or 0.0, _seconds(until)
    store = Store(workspace.store_url)
    total = store.recorded(target, begin, until=end, experiment=experiment)
    judged = store.judged(target, begin, until=end, experiment=experiment)
    table = Export({**columns_of(Interaction), "feedback": dict}, map(_row, judged))
    with shown(out, total) as advance:
        write(table, out, form, advance)


@log.command()
@click.option("--unit", help="The user, session or key as the caller sent it.")
@click.option("--id", "receipt", help="One interaction's id.")
@click.pass_obj
def delete(workspace: Workspace, unit: str | None, receipt: str | None) -> None:
    """Delete a unit's interactions, or one by id, with the feedback on them."""
    if (unit is None) == (receipt is None):
        raise click.UsageError("give either --unit or --id")
    hashed = unit_digest(unit) if unit else None
    count = Store(workspace.store_url).forget(unit=hashed, receipt=receipt)
    click.echo(f"{count} deleted")


def _row(judged: JudgedInteraction) -> dict[str, Any]:
    said = [feedback.to_record() for feedback in judged.feedback]
    return {**judged.interaction.to_record(), "feedback": said}


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()
