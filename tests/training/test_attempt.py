"""How a try at a job is settled, without training: what an earlier try left says it all."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.job import EventKind, JobError, JobState, TrainingRequest
from adapters.jobs import JobBook
from adapters.store import Store
from training.service.attempt import Order, Places, attempt
from training.service.queue import Queue

VERSION = "boiler--v1-00000000"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/turnout.db")
    yield store
    store.close()


def settled(store: Store, folder: Path, verdict: str) -> str:
    """A job whose first try was cut off when all that was left to do was to say so."""
    job = JobBook(store).add(TrainingRequest("boiler", "boiler"), "key_1").id
    assert Queue(store, "worker", 60).claim() is not None
    speeds = {"rows": 100, "rows_per_second": 20.0, "tokens_per_second": 300.0}
    document = {"version": VERSION, "verdict": verdict, "reason": "why", "training": speeds}
    (folder / job).mkdir()
    (folder / job / "result.json").write_text(json.dumps(document))
    order = Order(job, "worker", 60.0, Places("", "", "", "", str(folder), "", ()))
    attempt(order, store, lambda: False)
    return job


def test_a_version_that_passed_is_the_jobs_model(store: Store, tmp_path: Path) -> None:
    job = JobBook(store).job(settled(store, tmp_path, "pass"))
    assert (job.state, job.version, job.verdict) == (JobState.SUCCEEDED, VERSION, "pass")
    assert (job.trained_tokens, job.error) == (1500, None)


def test_a_version_that_did_not_pass_fails_its_job_and_is_named(
    store: Store, tmp_path: Path
) -> None:
    job = JobBook(store).job(settled(store, tmp_path, "inconclusive"))
    words = f"{VERSION} is registered but may not be served: the gate says inconclusive, why"
    assert (job.state, job.error) == (JobState.FAILED, JobError("gate_inconclusive", words))
    assert (job.version, job.verdict) == (VERSION, "inconclusive")
    last, *_ = JobBook(store).events(job.id, [EventKind.MESSAGE])
    assert (last.level, last.message) == ("error", words)
    assert last.data["code"] == "gate_inconclusive"
