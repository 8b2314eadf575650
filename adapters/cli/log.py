"""`turnout log`: interactions and feedback out of the store, and their deletion."""

from datetime import UTC, datetime
from pathlib import Path

import click
import orjson

from adapters.cli import Workspace
from adapters.interactions import unit_digest
from adapters.store import Store


@click.group()
def log() -> None:
    """Interactions and feedback: export, delete."""


@log.command()
@click.option("--target", help="Only this target.")
@click.option("--since", type=click.DateTime(), help="Only from this time on, UTC.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; default stdout."
)
@click.pass_obj
def export(workspace: Workspace, target: str | None, since: object, out: Path | None) -> None:
    """One JSON line per interaction, with its feedback."""
    start = since.replace(tzinfo=UTC).timestamp() if isinstance(since, datetime) else 0.0
    with click.open_file(str(out) if out else "-", "wb") as file:
        for judged in Store(workspace.store_url).judged(target, start):
            record = judged.interaction.to_record()
            record["feedback"] = [feedback.to_record() for feedback in judged.feedback]
            file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))


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
