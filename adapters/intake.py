"""The statements that put records into their tables, each once however often it is delivered.

They go to the database as they are, a tuple or a document for a record: this is done for every
request, and what SQLAlchemy does for each row took longer than its insertion.
"""

import sqlite3
from collections.abc import Iterator, Sequence

from msgspec.json import encode
from msgspec.structs import astuple

from adapters.delivery import FeedbackRow, InteractionRow, Record
from adapters.errors import StoreUnavailable

_BUSY_SECONDS = 15.0
_TABLES = {InteractionRow: "interactions", FeedbackRow: "feedback"}
_POSTGRES_TYPES = {"created": "double precision"}  # the other columns are text


def sqlite_rows(records: Sequence[Record]) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
    """Statements for SQLite, each with the parameters of every record that it is for."""
    for table, columns, group in _by_table(records):
        names, places = ", ".join(columns), ", ".join("?" * len(columns))
        statement = (
            f"INSERT INTO {table} ({names}, record) VALUES ({places}, ?) ON CONFLICT DO NOTHING"
        )
        yield statement, [(*astuple(record.row), record.text) for record in group]


def postgres_documents(records: Sequence[Record]) -> Iterator[tuple[str, dict[str, str]]]:
    """Statements for PostgreSQL with two parameters: `rows` and `records` are JSON arrays, which
    the server takes apart side by side."""
    for table, columns, group in _by_table(records):
        types = ", ".join(f"{name} {_POSTGRES_TYPES.get(name, 'text')}" for name in columns)
        statement = (
            f"INSERT INTO {table} ({', '.join(columns)}, record) SELECT * FROM ROWS FROM ("
            f"json_to_recordset(CAST(:rows AS json)) AS ({types}), "
            "json_array_elements(CAST(:records AS json))) ON CONFLICT DO NOTHING"
        )
        rows = encode([record.row for record in group]).decode()
        yield statement, {"rows": rows, "records": f"[{','.join(r.text for r in group)}]"}


class SqliteIntake:
    """A SQLite file as the journal's sink, without SQLAlchemy; the tables are there already."""

    def __init__(self, path: str) -> None:
        try:
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS)
            # A commit is on the disk when it returns, as the journal then deletes what it had.
            self._connection.execute("PRAGMA synchronous=FULL")
        except sqlite3.Error as exc:
            raise StoreUnavailable(f"store {path} cannot be opened: {exc}") from exc

    def take(self, records: Sequence[Record]) -> None:
        """Put every record into its table; all of them or, with StoreUnavailable, none."""
        try:
            with self._connection:
                for statement, rows in sqlite_rows(records):
                    self._connection.executemany(statement, rows)
        except sqlite3.Error as exc:
            raise StoreUnavailable(f"the store did not answer: {exc}") from exc


def _by_table(records: Sequence[Record]) -> Iterator[tuple[str, tuple[str, ...], list[Record]]]:
    """Each table that gets records, with its columns beside the whole record."""
    for kind, table in _TABLES.items():
        if group := [record for record in records if type(record.row) is kind]:
            yield table, kind.__struct_fields__, group
