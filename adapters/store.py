"""The SQL store: SQLite in one file by default, PostgreSQL by URL. Migrations apply themselves.

Off the request path: everything here blocks, and is called from a thread, a command or a test.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    create_engine,
    delete,
    event,
    func,
    insert,
    make_url,
    or_,
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

_PART = 500  # interactions read at once


@dataclass(frozen=True, slots=True)
class OnRecord:
    """What feedback has to know of an answer: its arm, None outside experiments, and the ids of
    the feedback that is on it."""

    arm: str | None = None
    feedback: frozenset[str] = frozenset()


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

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Hold, or go on holding, what only one process at a time may do; False while another does.
        Hosts' clocks should not differ by more than a fraction of `seconds`."""
        moment, leases = time.time(), tables.leases
        free = or_(leases.c.holder == holder, leases.c.until < moment)
        mine = {"holder": holder, "until": moment + seconds}
        with self.transaction() as connection:
            if connection.execute(select(leases).where(leases.c.name == name)).first() is None:
                connection.execute(insert(leases).values(name=name, **mine))
                return True
            taken = connection.execute(
                update(leases).where(leases.c.name == name, free).values(**mine)
            )
            return taken.rowcount == 1

    def release(self, name: str, holder: str) -> None:
        """Let another process hold a lease."""
        leases = tables.leases
        with self.transaction() as connection:
            connection.execute(
                delete(leases).where(leases.c.name == name, leases.c.holder == holder)
            )

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

    def on_record(self, receipt: str) -> OnRecord | None:
        """What is stored of an answer; None for an unknown receipt."""
        answered, said = tables.interactions, tables.feedback
        query = (
            select(answered.c.arm, said.c.id)
            .select_from(answered.outerjoin(said, said.c.interaction_id == answered.c.id))
            .where(answered.c.id == receipt)
        )
        with self.transaction() as connection:
            rows = connection.execute(query).all()
        if not rows:
            return None
        return OnRecord(rows[0][0], frozenset(row[1] for row in rows if row[1] is not None))

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

    def judged(
        self,
        target: str | None = None,
        since: float = 0.0,
        *,
        until: float | None = None,
        experiment: str | None = None,
    ) -> Iterator[JudgedInteraction]:
        """Interactions from `since` until before `until` (unix seconds), oldest first, each with
        its feedback. A part at a time, each in a transaction of its own: what is stored meanwhile
        may come along, and whoever takes long holds nothing up."""
        answered = tables.interactions.c
        chosen = _chosen(target, until, experiment)
        created, identity = since, ""
        while True:
            query = (
                select(answered.created, answered.id, answered.record)
                .where(
                    *chosen,
                    answered.created >= created,
                    or_(answered.created > created, answered.id > identity),
                )
                .order_by(answered.created, answered.id)
                .limit(_PART)
            )
            with self.transaction() as connection:
                rows = connection.execute(query).all()
                said = _feedback_on(connection, [row.id for row in rows])
            for row in rows:
                interaction = Interaction.from_record(row.record)
                yield JudgedInteraction(interaction, tuple(said.get(row.id, ())))
            if len(rows) < _PART:
                return
            created, identity = rows[-1].created, rows[-1].id

    def recorded(
        self,
        target: str | None = None,
        since: float = 0.0,
        *,
        until: float | None = None,
        experiment: str | None = None,
    ) -> int:
        """How many interactions `judged` has with the same words."""
        chosen = _chosen(target, until, experiment)
        query = (
            select(func.count())
            .select_from(tables.interactions)
            .where(*chosen, tables.interactions.c.created >= since)
        )
        with self.transaction() as connection:
            return int(connection.execute(query).scalar_one())

    def forget(self, *, unit: str | None = None, receipt: str | None = None) -> int:
        """Delete interactions of a unit, or with an id and what shadow arms answered to the same,
        the feedback on them, and what of them is to be reviewed; returns how many."""
        kept, reviewed = tables.interactions.c, tables.review_items.c
        with self.transaction() as connection:
            if unit:
                # `created` makes it read the index that holds both, in place of every record.
                chosen = and_(kept.unit == unit, kept.created >= 0)
                queued = reviewed.unit == unit
            else:
                chosen = kept.id.in_([receipt, *_shadows(connection, receipt)])
                queued = reviewed.receipt == receipt
            said = tables.review_annotations.c.item.in_(select(reviewed.id).where(queued))
            connection.execute(delete(tables.review_annotations).where(said))
            connection.execute(delete(tables.review_items).where(queued))
            ids = select(kept.id).where(chosen)
            connection.execute(
                delete(tables.feedback).where(tables.feedback.c.interaction_id.in_(ids))
            )
            return connection.execute(delete(tables.interactions).where(chosen)).rowcount

    def close(self) -> None:
        """Give every connection back."""
        self._engine.dispose()


def _shadows(connection: Connection, receipt: str | None) -> Sequence[str]:
    """Ids of what shadow arms answered to what an interaction was asked."""
    seen, shadow = tables.interactions.alias(), tables.interactions.alias()
    # They come later, in the same experiment: its index is read, in place of every record.
    later = and_(shadow.c.experiment == seen.c.experiment, shadow.c.created >= seen.c.created)
    query = (
        select(shadow.c.id)
        .join_from(seen, shadow, later)
        .where(seen.c.id == receipt, shadow.c.record["shadow_of"].as_string() == receipt)
    )
    return connection.execute(query).scalars().all()


def _chosen(
    target: str | None, until: float | None, experiment: str | None
) -> list[ColumnElement[bool]]:
    """Of which interactions something is wanted; None for all."""
    answered = tables.interactions.c
    wanted = ((answered.target, target), (answered.experiment, experiment))
    chosen = [column == value for column, value in wanted if value is not None]
    return chosen if until is None else [*chosen, answered.created < until]


def _feedback_on(connection: Connection, receipts: Sequence[str]) -> dict[str, list[Feedback]]:
    """Feedback on each of these answers, oldest first."""
    said = tables.feedback.c
    query = select(said.record).where(said.interaction_id.in_(receipts))
    found: dict[str, list[Feedback]] = {}
    for row in connection.execute(query.order_by(said.created, said.id)):
        feedback = Feedback.from_record(row.record)
        found.setdefault(feedback.interaction_id, []).append(feedback)
    return found


def now(precision: Literal["seconds", "milliseconds"] = "seconds") -> str:
    """The present, UTC, ISO 8601: how the store writes times that people read."""
    return datetime.now(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def instant(moment: str) -> float:
    """A time that `now` wrote, in unix seconds."""
    return datetime.fromisoformat(moment).timestamp()


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
