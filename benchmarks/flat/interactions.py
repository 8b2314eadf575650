"""Stores that hold many interactions, made up in SQL by the tables' own metadata, and kept for the
next run.

A row here is smaller than a real one: what can slow an insert is the number of rows, and of
entries in each index.
"""

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import JSON, Column, Float, Integer, LargeBinary
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable, DropIndex

from adapters import tables
from adapters.store import Store

_TABLE = tables.interactions
_BATCH = 200_000
_UNITS = 100_000
_DAYS = 30
# Measured at a million rows, indexes included.
_BYTES_A_ROW = 500
# Expressions over the row's number i, by column. Ids rise evenly over their whole range, so that
# the first index is written in order and later ids fall anywhere into it.
_VALUES = {
    "id": "printf('chatcmpl-%016x%016x', i * :step, i)",
    "created": ":now - {seconds} + {seconds} * 1.0 * i / :count".format(seconds=_DAYS * 86_400),
    "unit": f"printf('%032x', i * 2654435761 % {_UNITS})",
    "target": "CASE i % 3 WHEN 0 THEN 'general' WHEN 1 THEN 'espresso' ELSE 'library' END",
    "model": "'bench-base'",
    "experiment": "CASE i % 3 WHEN 1 THEN 'bench-espresso' WHEN 2 THEN 'bench-library' END",
    "arm": "CASE WHEN i % 3 = 0 THEN NULL WHEN i / 3 % 2 = 0 THEN 'first' ELSE 'second' END",
    "outcome": "'ok'",
}
_RECORD = '{"request": "' + "x" * 180 + '"}'


class NoRoom(Exception):
    """The disk does not hold the interactions that were asked for."""


def filled_store(home: Path, count: int, say: Callable[[int], None]) -> Path:
    """A SQLite file with so many interactions and nothing else; made on first use.

    `say` is called with the number of rows that are there. Raises NoRoom.
    """
    path = home / "interactions" / f"{_schema()}-{count}.db"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob("*.db"):
        if not old.name.startswith(_schema()):
            old.unlink()
    insist_on_room(path.parent, count)
    aside = path.with_suffix(f".{os.getpid()}")
    try:
        Store(f"sqlite:///{aside}").close()
        with closing(sqlite3.connect(aside)) as connection:
            _fill(connection, count, say)
        aside.rename(path)
    finally:
        for rest in path.parent.glob(f"{aside.name}*"):
            rest.unlink()
    return path


def insist_on_room(folder: Path, count: int) -> None:
    """Raise NoRoom unless the disk takes so many interactions once more, and a tenth beyond."""
    free, needed = shutil.disk_usage(folder).free, int(count * _BYTES_A_ROW * 1.1)
    if free < needed:
        raise NoRoom(
            f"{count:,} interactions need {needed / 1e9:.1f} GB at {folder}, {free / 1e9:.1f} GB "
            "are free; ask for fewer with --interactions, or for another place with --home"
        )


def _fill(connection: sqlite3.Connection, count: int, say: Callable[[int], None]) -> None:
    """Rows first and the indexes afterwards, which sorts each of them once. A file that is not
    finished is thrown away, so nothing has to survive a failure."""
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-500000", "temp_store=FILE"):
        connection.execute(f"PRAGMA {pragma}")
    indexes = sorted(_TABLE.indexes, key=lambda index: str(index.name))
    for index in indexes:
        connection.execute(_sql(DropIndex(index)))
    columns = ", ".join(column.name for column in _TABLE.columns)
    values = ", ".join(_value(column) for column in _TABLE.columns)
    insert = (
        f"WITH RECURSIVE n(i) AS (SELECT :start UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :end) "
        f"INSERT INTO {_TABLE.name} ({columns}) SELECT {values} FROM n"
    )
    fixed = {"count": count, "step": 2**63 // count, "now": time.time()}
    for start in range(0, count, _BATCH):
        end = min(start + _BATCH, count)
        connection.execute(insert, {**fixed, "start": start, "end": end})
        connection.commit()
        say(end)
    for index in indexes:
        connection.execute(_sql(CreateIndex(index)))
        connection.commit()
    connection.execute("PRAGMA journal_mode=WAL")


def _value(column: "Column[object]") -> str:
    """What to write into a column: its own expression, or something of its type."""
    if column.name in _VALUES:
        return _VALUES[column.name]
    if isinstance(column.type, JSON) or column.name == "record":
        return f"CAST('{_RECORD}' AS {'BLOB' if isinstance(column.type, LargeBinary) else 'TEXT'})"
    if column.nullable:
        return "NULL"
    if isinstance(column.type, LargeBinary):
        return f"zeroblob({len(_RECORD)})"
    return "0" if isinstance(column.type, Integer | Float) else "''"


def _schema() -> str:
    """Changes with the tables: a file of another schema is of no use."""
    parts = [_sql(CreateTable(table)) for table in tables.metadata.sorted_tables]
    parts += sorted(_sql(CreateIndex(index)) for index in _TABLE.indexes)
    parts += [repr(_VALUES), _RECORD]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _sql(statement: CreateIndex | CreateTable | DropIndex) -> str:
    return str(statement.compile(dialect=sqlite.dialect()))
