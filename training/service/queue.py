"""The worker's side of the queue: taking a job, holding on to it, and settling it.

A job belongs to the worker that holds it until its lease runs out; whoever lost it changes nothing
any more.
"""

import time
from dataclasses import asdict
from typing import Any

from sqlalchemy import and_, func, or_, select, update

from adapters import tables
from adapters.job import TRIGGER, JobError, JobState, Level, Note, TrainingJob, read_job
from adapters.jobs import note
from adapters.store import Store

# A job that takes its workers with it (no memory, a driver that crashes) is not tried for ever.
MOST_DEATHS = 3

_jobs = tables.training_jobs.c


class Queue:
    """The jobs that one worker may take.

    Args:
        holder: this worker's name, like no other's.
        seconds: how long a job stays its own without `keep`.
    """

    def __init__(self, store: Store, holder: str, seconds: float) -> None:
        self._store = store
        self._holder = holder
        self._seconds = seconds

    def claim(self, *, triggered: bool = True) -> TrainingJob | None:
        """The oldest job that waits, or whose worker is gone; None if there is none.

        Args:
            triggered: also those that no person asked for.
        """
        moment = time.time()
        free = or_(_jobs.holder.is_(None), _jobs.until < moment)
        lost = and_(_jobs.state == JobState.RUNNING, _jobs.until < moment)
        query = select(tables.training_jobs).where(
            or_(and_(_jobs.state == JobState.QUEUED, free), lost)
        )
        if not triggered:
            query = query.where(_jobs.owner != TRIGGER)
        query = query.order_by(_jobs.created, _jobs.id).limit(1)
        with self._store.transaction() as connection:
            row = connection.execute(query).first()
            if row is None:
                return None
            died = row.state == JobState.RUNNING
            taken = connection.execute(
                update(tables.training_jobs)
                .where(_jobs.id == row.id, _jobs.state == row.state, _jobs.until == row.until, free)
                .values(
                    state=JobState.RUNNING,
                    holder=self._holder,
                    until=moment + self._seconds,
                    started=func.coalesce(_jobs.started, moment),
                    deaths=_jobs.deaths + int(died),
                )
            )
            if taken.rowcount == 0:
                return None
            if died:
                lost_note = Note("Its worker was lost; another takes it up.", level=Level.WARN)
                note(connection, row.id, [lost_note])
            note(connection, row.id, [Note(f"Taken up by {self._holder}.")])
        job = read_job(row)
        if job.deaths + died >= MOST_DEATHS:
            words = f"{MOST_DEATHS} workers were lost over it; perhaps memory is short"
            self.fail(job.id, JobError("worker_lost", words))
            return None
        return job

    def keep(self, job: str, worked: float) -> bool:
        """Hold on to a job, with the seconds worked on it since; False if it is not to be worked on
        any more, by this worker at least."""
        with self._store.transaction() as connection:
            kept = connection.execute(
                update(tables.training_jobs)
                .where(_jobs.id == job, _jobs.holder == self._holder)
                .values(until=time.time() + self._seconds, seconds=_jobs.seconds + worked)
            )
            state = select(_jobs.state).where(_jobs.id == job)
            return kept.rowcount == 1 and connection.execute(state).scalar() == JobState.RUNNING

    def let_go(self, job: str, reason: str, *, died: bool = False) -> None:
        """Stop working on a job: one that still runs goes back into the queue, for `reason`."""
        values: dict[str, Any] = {"holder": None, "until": 0.0, "deaths": _jobs.deaths + int(died)}
        mine = and_(_jobs.id == job, _jobs.holder == self._holder)
        with self._store.transaction() as connection:
            back = connection.execute(
                update(tables.training_jobs)
                .where(mine, _jobs.state == JobState.RUNNING)
                .values(**values, state=JobState.QUEUED)
            )
            if back.rowcount:
                level = Level.WARN if died else Level.INFO
                note(connection, job, [Note(f"Back in the queue: {reason}", level=level)])
            else:
                connection.execute(update(tables.training_jobs).where(mine).values(values))

    def succeed(self, job: str, version: str, reason: str, tokens: int) -> bool:
        """Settle a job whose version may be served; False if it was not this worker's any more."""
        told = Note(f"{version} may be served: {reason}", data={"version": version})
        return self._settle(
            job, told, JobState.SUCCEEDED, version=version, verdict="pass", trained_tokens=tokens
        )

    def fail(self, job: str, error: JobError, **facts: Any) -> bool:
        """Settle a job that came to nothing that may be served; `facts` are columns."""
        told = Note(error.message, level=Level.ERROR, data={"code": error.code, **facts})
        return self._settle(job, told, JobState.FAILED, error=asdict(error), **facts)

    def _settle(self, job: str, told: Note, state: JobState, **values: Any) -> bool:
        with self._store.transaction() as connection:
            done = connection.execute(
                update(tables.training_jobs)
                .where(
                    _jobs.id == job,
                    _jobs.holder == self._holder,
                    _jobs.state == JobState.RUNNING,
                )
                .values(**values, state=state, holder=None, until=0.0, finished=time.time())
            )
            if done.rowcount:
                note(connection, job, [told])
            return done.rowcount == 1
