"""Who may take a job, who loses it, and that whoever lost it changes nothing."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.errors import RefusedChange, UnknownJob
from adapters.interactions import Feedback
from adapters.job import TRIGGER, EventKind, JobError, JobState, Note, TrainingRequest
from adapters.jobs import JobBook
from adapters.store import Store
from tests.adapters.test_store import interaction, records
from tests.postgres import postgres
from training.service.queue import MOST_DEATHS, Queue
from training.service.triggers import Rules, Triggers, usable_answers

REQUEST = TrainingRequest("boiler", "boiler", metadata={"team": "a"}, seed=7)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/turnout.db")
    yield store
    store.close()


@pytest.fixture
def book(store: Store) -> JobBook:
    return JobBook(store)


def said(book: JobBook, job: str) -> list[str]:
    return [event.message for event in book.events(job, [EventKind.MESSAGE])][::-1]


def test_each_job_is_taken_once_oldest_first(store: Store, book: JobBook) -> None:
    first, second = book.add(REQUEST, "key_1"), book.add(REQUEST, "key_2")
    a, b = Queue(store, "a", 60), Queue(store, "b", 60)
    taken = [queue.claim() for queue in (a, b, a)]
    assert [job and job.id for job in taken] == [first.id, second.id, None]
    assert book.job(first.id).state is JobState.RUNNING
    assert book.job(first.id).request == REQUEST
    assert said(book, first.id) == ["Created by key_1, and waiting.", "Taken up by a."]


def test_a_lost_worker_is_replaced_and_changes_nothing_any_more(
    store: Store, book: JobBook
) -> None:
    job = book.add(REQUEST, "key_1").id
    lost, other = Queue(store, "lost", 0.0), Queue(store, "other", 60)
    assert lost.claim() is not None
    time.sleep(0.01)
    assert other.claim() is not None
    assert book.job(job).deaths == 1
    assert not lost.keep(job, 5.0)
    assert not lost.succeed(job, "boiler--v1-00000000", "better", 10)
    lost.let_go(job, "its worker was stopped")
    assert not lost.fail(job, JobError("x", "y"))
    assert other.keep(job, 2.0)
    assert other.succeed(job, "boiler--v1-00000000", "better", 10)
    done = book.job(job)
    assert (done.state, done.seconds, done.trained_tokens) == (JobState.SUCCEEDED, 2.0, 10)
    assert (done.version, done.verdict) == ("boiler--v1-00000000", "pass")


def test_a_job_that_takes_its_workers_along_is_given_up(store: Store, book: JobBook) -> None:
    job = book.add(REQUEST, "key_1").id
    queue = Queue(store, "a", 60)
    for _ in range(MOST_DEATHS):
        assert queue.claim() is not None
        queue.let_go(job, "its process was ended by signal 9", died=True)
    assert queue.claim() is None
    error = JobError("worker_lost", "3 workers were lost over it; perhaps memory is short")
    assert (book.job(job).state, book.job(job).error) == (JobState.FAILED, error)


def test_what_is_paused_or_cancelled_is_let_go_and_not_taken(store: Store, book: JobBook) -> None:
    job = book.add(REQUEST, "key_1").id
    a, b = Queue(store, "a", 60), Queue(store, "b", 60)
    assert a.claim() is not None
    book.pause(job, actor="key_1")
    assert not a.keep(job, 0.0)
    assert book.resume(job, actor="key_1").state is JobState.QUEUED
    assert b.claim() is None, "the first worker is still at it"
    a.let_go(job, "it was paused")
    assert b.claim() is not None
    book.cancel(job, actor="key_1")
    b.let_go(job, "it was cancelled")
    assert a.claim() is None
    for change in (book.cancel, book.pause, book.resume):
        with pytest.raises(RefusedChange, match=f"job {job} is cancelled; this takes one that is"):
            change(job, actor="key_1")


def test_a_stopped_worker_gives_its_job_back(store: Store, book: JobBook) -> None:
    job = book.add(REQUEST, "key_1").id
    queue = Queue(store, "a", 60)
    assert queue.claim() is not None
    queue.let_go(job, "its worker was stopped")
    assert (book.job(job).state, book.job(job).deaths) == (JobState.QUEUED, 0)
    assert said(book, job)[-1] == "Back in the queue: its worker was stopped"


def test_triggered_jobs_wait_where_they_may_not_run(store: Store, book: JobBook) -> None:
    book.add(REQUEST, TRIGGER)
    asked = book.add(REQUEST, "key_1")
    queue = Queue(store, "a", 60)
    taken = queue.claim(triggered=False)
    assert taken is not None and taken.id == asked.id
    assert queue.claim(triggered=False) is None
    assert queue.claim() is not None


def test_owners_see_their_own_page_by_page(book: JobBook) -> None:
    mine = [book.add(REQUEST, "key_1").id for _ in range(3)]
    other = book.add(TrainingRequest("pumps", "pumps"), "key_2").id
    assert [job.id for job in book.jobs("key_1", limit=2)] == mine[:0:-1]
    assert [job.id for job in book.jobs("key_1", after=mine[1])] == mine[:1]
    assert [job.id for job in book.jobs()] == [other, *mine[::-1]]
    assert [job.id for job in book.jobs(domain="pumps")] == [other]
    assert len(book.jobs(metadata={"team": "a"})) == 3 and book.jobs(metadata={"team": "b"}) == []
    with pytest.raises(UnknownJob, match="no training job"):
        book.job(other, "key_1")
    with pytest.raises(UnknownJob):
        book.cancel(other, "key_1", actor="key_1")
    book.note(mine[0], [Note(f"{n}", EventKind.METRICS, data={"step": n}) for n in range(5)])
    first = book.events(mine[0], [EventKind.METRICS], limit=2)
    assert [event.data["step"] for event in first] == [4, 3]
    rest = book.events(mine[0], [EventKind.METRICS], after=first[-1].id)
    assert [event.data["step"] for event in rest] == [2, 1, 0]


def test_postgresql_agrees(tmp_path: Path) -> None:
    with postgres(tmp_path) as url:
        store = Store(url)
        book, queue = JobBook(store), Queue(store, "a", 60)
        first = book.add(TrainingRequest("boiler", "boiler", "file-1", "file-2"), TRIGGER).id
        second = book.add(REQUEST, "key_1").id
        assert [job.id for job in book.jobs(limit=1)] == [second]
        assert [job.id for job in book.jobs(after=second)] == [first]
        assert [job.id for job in book.jobs(metadata={"team": "a"})] == [second]
        assert book.waiting_on("file-2") == first and book.waiting_on("file-3") is None
        assert book.waiting_for("boiler") == first and book.open_jobs("key_1") == 1
        job = queue.claim()
        assert job is not None and job.id == first
        assert queue.keep(first, 90.0)
        queue.let_go(first, "no store", died=True)
        assert (book.job(first).deaths, book.job(first).seconds) == (1, 90.0)
        assert Triggers(store, Rules(minutes_per_day=10), []).minutes() == 8.5
        store.take(records(interaction("a"), Feedback("f1", "a", 2.0, "thumb", True)))
        assert usable_answers(store, "legal", 1.0) == 1
        with pytest.raises(UnknownJob):
            book.job("\0")
        store.close()
