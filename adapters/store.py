"""The SQL store: SQLite in one file by default, PostgreSQL by URL. Migrations apply themselves.

Off the request path: everything here blocks, and is called from a thread, a command or a test.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import (
    Connection,
    Table,
    and_,
    create_engine,
    delete,
    event,
    func,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from adapters import tables
from adapters.delivery import Record
from adapters.errors import StoreUnavailable
from adapters.intake import postgres_documents, sqlite_rows
from adapters.interactions import Feedback, Interaction, JudgedInteraction
from adapters.schema import bring_to_head


class Store:
    """One database. Safe to share between threads; `transaction` is the only door to a
    connection."""

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() == "sqlite" and parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self._engine = create_engine(parsed, pool_pre_ping=True, json_serializer=_serialized)
        except (ArgumentError, NoSuchModuleError, OSError) as exc:
            raise StoreUnavailable(f"store url {url!r} cannot be used: {exc}") from exc
        if parsed.get_backend_name() == "sqlite":
            event.listen(self._engine, "connect", _prepare_sqlite)
        with self.transaction() as connection:
            bring_to_head(connection)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that commits on exit; database errors become StoreUnavailable."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as exc:
            raise StoreUnavailable(f"the store did not answer: {exc}") from exc

    @contextmanager
    def change(self) -> Iterator[Connection]:
        """A transaction on what gateways hold in memory: it raises the revision they poll."""
        with self.transaction() as connection:
            connection.execute(update(tables.revision).values(value=tables.revision.c.value + 1))
            yield connection

    def revision(self) -> int:
        """The counter that grows with every `change`."""
        with self.transaction() as connection:
            return int(connection.execute(select(tables.revision.c.value)).scalar_one())

    def take(self, records: Sequence[Record]) -> None:
        """The journal's sink: interactions and feedback, each once however often it is
        delivered."""
        with self.transaction() as connection:
            if connection.dialect.name == "sqlite":
                for statement, rows in sqlite_rows(records):
                    connection.exec_driver_sql(statement, rows)
            else:
                for statement, documents in postgres_documents(records):
                    connection.execute(text(statement), documents)

    def has_interaction(self, receipt: str) -> bool:
        """Whether an interaction with this id is stored."""
        query = select(tables.interactions.c.id).where(tables.interactions.c.id == receipt)
        with self.transaction() as connection:
            return connection.execute(query).first() is not None

    def arm_of(self, receipt: str) -> str | None:
        """The experiment arm an interaction was assigned; None outside experiments and for unknown
        receipts."""
        query = select(tables.interactions.c.arm).where(tables.interactions.c.id == receipt)
        with self.transaction() as connection:
            return connection.execute(query).scalar()

    def answers_by_arm(self, experiment: str) -> dict[str, int]:
        """How many interactions of an experiment each arm was assigned."""
        arm = tables.interactions.c.arm
        query = (
            select(arm, func.count())
            .where(tables.interactions.c.experiment == experiment, arm.is_not(None))
            .group_by(arm)
        )
        with self.transaction() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query)}

    def count(self, table: Table) -> int:
        """Number of rows of one of this store's tables."""
        with self.transaction() as connection:
            return int(connection.execute(select(func.count()).select_from(table)).scalar_one())

    def judged(self, target: str | None = None, since: float = 0.0) -> Iterator[JudgedInteraction]:
        """Interactions from `since` (unix seconds) on, oldest first, with their feedback."""
        by_interaction: dict[str, list[Feedback]] = {}
        answered = select(tables.interactions.c.record).where(
            tables.interactions.c.created >= since
        )
        if target is not None:
            answered = answered.where(tables.interactions.c.target == target)
        with self.transaction() as connection:
            for row in connection.execute(select(tables.feedback.c.record).order_by("created")):
                judgement = Feedback.from_record(row.record)
                by_interaction.setdefault(judgement.interaction_id, []).append(judgement)
            for row in connection.execute(answered.order_by("created")):
                interaction = Interaction.from_record(row.record)
                yield JudgedInteraction(interaction, tuple(by_interaction.get(interaction.id, ())))

    def forget(self, *, unit: str | None = None, receipt: str | None = None) -> int:
        """Delete interactions of a unit or with an id, and the feedback on them; returns how
        many."""
        kept = tables.interactions.c
        # `created` makes it read the index that holds both, in place of every record.
        of_unit = and_(kept.unit == unit, kept.created >= 0)
        chosen = of_unit if unit else kept.id == receipt
        ids = select(tables.interactions.c.id).where(chosen)
        with self.transaction() as connection:
            connection.execute(
                delete(tables.feedback).where(tables.feedback.c.interaction_id.in_(ids))
            )
            return connection.execute(delete(tables.interactions).where(chosen)).rowcount

    def close(self) -> None:
        """Give every connection back."""
        self._engine.dispose()


def now() -> str:
    """The present, UTC, ISO 8601 to the second: how the store writes times that people read."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # WAL lets gateways read while a training run writes; NORMAL fsyncs at checkpoints. What
    # the journal relies on is written by the drainer, which fsyncs each commit.
    for pragma in (
        "page_size=8192",  # of a new file; a record is 1 to 2 KB
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "busy_timeout=15000",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _serialized(value: object) -> str:
    return orjson.dumps(value).decode()
