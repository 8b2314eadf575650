"""An experiment's rows in the store: where it stands, and the log of its moves."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, insert, select, update

from adapters import tables
from adapters.errors import UnknownExperiment
from adapters.experiments.entry import Entry, Why
from adapters.store import now


def note(
    connection: Connection,
    name: str,
    kind: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    why: Why,
) -> None:
    """Write a move into the log."""
    values = {"experiment": name, "kind": kind, "before": before, "after": after, **asdict(why)}
    at = now("milliseconds")  # units before and after are told apart by it
    connection.execute(insert(tables.experiment_moves).values(at=at, **values))


def changing(name: str) -> Update:
    """The statement that changes an experiment."""
    return update(tables.experiments).where(tables.experiments.c.name == name)


def entry_of(connection: Connection, name: str) -> Entry:
    """One experiment by name; raises UnknownExperiment."""
    query = select(tables.experiments).where(tables.experiments.c.name == name)
    row = connection.execute(query).first()
    if row is None:
        raise UnknownExperiment(f"no experiment {name!r}; `turnout experiments list` shows them")
    return Entry.of(row)


def all_entries(connection: Connection, *where: ColumnElement[bool]) -> list[Entry]:
    """Every experiment of which this holds, oldest first."""
    query = (
        select(tables.experiments)
        .where(*where)
        .order_by(tables.experiments.c.created, tables.experiments.c.name)
    )
    return [Entry.of(row) for row in connection.execute(query)]
