"""Training jobs on record, for those who want something trained.

Knows nothing of training. Whoever works on them uses `training.service.queue`.
"""

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import to_builtins
from sqlalchemy import Connection, Select, func, insert, or_, select, tuple_, update

from adapters import tables
from adapters.errors import RefusedChange, UnknownJob
from adapters.files import is_plain
from adapters.job import (
    OPEN,
    TRIGGER,
    Event,
    EventKind,
    JobState,
    Level,
    Note,
    TrainingJob,
    TrainingRequest,
    read_job,
)
from adapters.store import Store

_PAUSABLE = frozenset({JobState.QUEUED, JobState.RUNNING})


class JobBook:
    """The jobs on record. Everything blocks and belongs in a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, request: TrainingRequest, owner: str, reason: str = "") -> TrainingJob:
        """Put a job into the queue; `reason` is what its first event says."""
        name = f"ftjob-{secrets.token_hex(12)}"
        row = {
            "id": name,
            "owner": owner,
            "domain": request.domain,
            "created": time.time(),
            "request": to_builtins(request),
            "state": JobState.QUEUED,
            "seconds": 0.0,
            "deaths": 0,
            "until": 0.0,
        }
        with self._store.transaction() as connection:
            connection.execute(insert(tables.training_jobs).values(row))
            note(connection, name, [Note(reason or f"Created by {owner}, and waiting.")])
        return self.job(name)

    def job(self, name: str, owner: str | None = None) -> TrainingJob:
        """One by id, if it is `owner`'s (None: anybody's); raises UnknownJob."""
        with self._store.transaction() as connection:
            return _found(connection, name, owner)

    def jobs(
        self,
        owner: str | None = None,
        *,
        domain: str | None = None,
        states: Collection[JobState] = (),
        metadata: Mapping[str, str] | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> list[TrainingJob]:
        """A page of what is `owner`'s (None: anybody's), newest first, from behind `after`."""
        jobs = tables.training_jobs.c
        query = select(tables.training_jobs).order_by(jobs.created.desc(), jobs.id.desc())
        if owner is not None:
            query = query.where(jobs.owner == owner)
        if domain is not None:
            query = query.where(jobs.domain == domain)
        if states:
            query = query.where(jobs.state.in_(states))
        for key, value in (metadata or {}).items():
            query = query.where(jobs.request["metadata"][key].as_string() == value)
        with self._store.transaction() as connection:
            if after is not None:
                last = _found(connection, after, owner)
                query = query.where(tuple_(jobs.created, jobs.id) < tuple_(last.created, last.id))
            return [read_job(row) for row in connection.execute(query.limit(limit))]

    def events(
        self,
        name: str,
        kinds: Collection[EventKind],
        *,
        after: int | None = None,
        limit: int = 20,
    ) -> list[Event]:
        """A page of a job's events, newest first, from behind the one numbered `after`."""
        events = tables.training_events.c
        query = select(tables.training_events).where(events.job == name, events.kind.in_(kinds))
        if after is not None:
            query = query.where(events.id < after)
        with self._store.transaction() as connection:
            rows = connection.execute(query.order_by(events.id.desc()).limit(limit)).all()
        return [
            Event(r.id, r.created, EventKind(r.kind), Level(r.level), r.message, r.data)
            for r in rows
        ]

    def note(self, name: str, notes: Sequence[Note]) -> None:
        """Write events down, in one transaction."""
        with self._store.transaction() as connection:
            note(connection, name, notes)

    def cancel(self, name: str, owner: str | None = None, *, actor: str) -> TrainingJob:
        """End a job; who works on it hears of it within seconds."""
        return self._change(name, owner, OPEN, JobState.CANCELLED, f"Cancelled by {actor}.")

    def pause(self, name: str, owner: str | None = None, *, actor: str) -> TrainingJob:
        """Hold a job; who works on it hears of it within seconds."""
        return self._change(name, owner, _PAUSABLE, JobState.PAUSED, f"Paused by {actor}.")

    def resume(self, name: str, owner: str | None = None, *, actor: str) -> TrainingJob:
        """Put a job that was held into the queue again."""
        paused = frozenset({JobState.PAUSED})
        return self._change(name, owner, paused, JobState.QUEUED, f"Resumed by {actor}.")

    def waiting_on(self, file: str) -> str | None:
        """A job that is not over and needs this upload; None if there is none."""
        wanted = tables.training_jobs.c.request
        named = (wanted[key].as_string() == file for key in ("training_file", "validation_file"))
        return self._one(select(tables.training_jobs.c.id).where(or_(*named)))

    def waiting_for(self, domain: str) -> str | None:
        """A job for this domain that is not over and that no key asked for."""
        jobs = tables.training_jobs.c
        return self._one(select(jobs.id).where(jobs.domain == domain, jobs.owner == TRIGGER))

    def open_jobs(self, owner: str) -> int:
        """How many of `owner`'s jobs are not over."""
        jobs = tables.training_jobs.c
        query = select(func.count()).where(jobs.owner == owner, jobs.state.in_(OPEN))
        with self._store.transaction() as connection:
            return int(connection.execute(query).scalar_one())

    def _one(self, query: Select[tuple[str]]) -> str | None:
        with self._store.transaction() as connection:
            row = connection.execute(
                query.where(tables.training_jobs.c.state.in_(OPEN)).limit(1)
            ).first()
        return None if row is None else row.id

    def _change(
        self,
        name: str,
        owner: str | None,
        before: frozenset[JobState],
        after: JobState,
        message: str,
    ) -> TrainingJob:
        jobs = tables.training_jobs
        values: dict[str, Any] = {"state": after}
        if after not in OPEN:
            values["finished"] = time.time()
        with self._store.transaction() as connection:
            _found(connection, name, owner)
            done = connection.execute(
                update(jobs).where(jobs.c.id == name, jobs.c.state.in_(before)).values(values)
            )
            job = _found(connection, name, owner)
            if done.rowcount == 0:
                allowed = ", ".join(sorted(before))
                raise RefusedChange(f"job {name} is {job.state}; this takes one that is {allowed}")
            note(connection, name, [Note(message)])
        return job


def note(connection: Connection, job: str, notes: Sequence[Note]) -> None:
    """Write events down, inside a transaction."""
    rows = [
        {
            "job": job,
            "created": one.created or time.time(),
            "kind": one.kind,
            "level": one.level,
            "message": one.message,
            "data": dict(one.data),
        }
        for one in notes
    ]
    if rows:
        connection.execute(insert(tables.training_events), rows)


def _found(connection: Connection, name: str, owner: str | None) -> TrainingJob:
    query = select(tables.training_jobs).where(tables.training_jobs.c.id == name)
    row = connection.execute(query).first() if is_plain(name) else None  # PostgreSQL takes no NUL
    if row is None or owner not in (None, row.owner):
        raise UnknownJob(f"no training job {name!r:.80}; `GET /v1/fine_tuning/jobs` lists yours")
    return read_job(row)
