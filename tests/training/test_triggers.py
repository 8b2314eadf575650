"""What starts a run without anybody asking, and what holds one back."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.interactions import Feedback
from adapters.job import TRIGGER, JobError, TrainingRequest
from adapters.jobs import JobBook
from adapters.store import Store
from tests.adapters.test_store import interaction, records
from training.service.queue import Queue
from training.service.triggers import Rules, Triggers, usable_answers

NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/turnout.db")
    yield store
    store.close()


class Clock:
    """A time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def judge(store: Store, number: int, **changes: Any) -> None:
    """An answer with feedback of now."""
    said = {"metric": "thumb", **changes.pop("said", {})}
    moment = NOW.timestamp() + number
    told = Feedback(f"f{number}", f"a{number}", moment, value=True, **said)
    store.take(records(interaction(f"a{number}", **changes), told))


def failed(store: Store, domain: str) -> None:
    """A triggered run that came to nothing just now."""
    JobBook(store).add(TrainingRequest(domain, domain, from_log=True), TRIGGER)
    queue = Queue(store, "test", 60)
    job = queue.claim()
    assert job is not None
    queue.keep(job.id, 120.0)
    queue.fail(job.id, JobError("gate_fail", "worse"))


def test_only_what_people_judged_and_allowed_counts(store: Store) -> None:
    judge(store, 1)
    judge(store, 2, train=False)
    judge(store, 3, said={"metric": "judge:tone"})
    judge(store, 4, shadow_of="a1")
    judge(store, 5, target="pumps")
    assert usable_answers(store, "legal", 0.0) == 1
    assert usable_answers(store, "legal", NOW.timestamp() + 1) == 0
    assert usable_answers(store, "pumps", 0.0) == 1


def test_enough_feedback_makes_one_job_with_its_reason(store: Store) -> None:
    triggers = Triggers(store, Rules(feedback=2, minutes=6.0), ["legal", "pumps"], now=Clock())
    judge(store, 1)
    assert triggers.look() == []
    judge(store, 2)
    (job,) = triggers.look()
    assert job.request == TrainingRequest("legal", "legal", from_log=True, minutes=6.0)
    assert job.owner == TRIGGER
    (event,) = JobBook(store).events(job.id, ["message"])
    assert event.message == "2 usable judged answers are new; 2 are enough"
    assert triggers.look() == [], "one waits already"


def test_a_domain_cools_down_after_a_run_that_came_to_nothing(store: Store) -> None:
    clock = Clock()
    triggers = Triggers(store, Rules(feedback=1, cooldown_hours=6), ["legal"], now=clock)
    failed(store, "legal")
    judge(store, 1)
    store.take(records(Feedback("later", "a1", datetime.now(UTC).timestamp() + 60, "thumb", True)))
    clock.now = datetime.now(UTC) + timedelta(hours=5)
    assert triggers.look() == []
    clock.now = datetime.now(UTC) + timedelta(hours=7)
    assert len(triggers.look()) == 1


def test_a_schedule_is_kept_once(store: Store) -> None:
    clock = Clock()
    present = datetime.now(UTC)  # jobs are created by the host's clock
    due = present - timedelta(hours=1)
    clock.now = due - timedelta(hours=1)
    rules = Rules(schedule=f"{due.minute} {due.hour} * * *", cooldown_hours=0)
    triggers = Triggers(store, rules, ["legal"], now=clock)
    clock.now = due - timedelta(minutes=1)
    assert triggers.look() == []
    clock.now = present
    (job,) = triggers.look()
    JobBook(store).cancel(job.id, actor="test")
    assert triggers.look() == []
    clock.now = present + timedelta(days=1)
    assert len(triggers.look()) == 1


def test_drift_starts_a_run_where_it_is_high(store: Store) -> None:
    drift = {"legal": 0.3, "pumps": 0.1}
    rules = Rules(drift=0.25)
    triggers = Triggers(store, rules, ["legal", "pumps", "telecom"], drift=drift.get, now=Clock())
    assert [job.request.domain for job in triggers.look()] == ["legal"]


@pytest.mark.parametrize(
    ("rules", "hour", "minutes"),
    [
        ({}, 12, float("inf")),
        ({"only_between": "22:00-06:00"}, 12, 0.0),
        ({"only_between": "22:00-06:00"}, 23, 420.0),
        ({"only_between": "22:00-06:00"}, 5, 60.0),
        ({"never_between": "08:00-18:00"}, 12, 0.0),
        ({"never_between": "08:00-18:00"}, 6, 120.0),
        ({"only_between": "22:00-06:00", "never_between": "02:00-04:00"}, 1, 60.0),
        ({"minutes_per_day": 30}, 12, 30.0),
        ({"minutes_per_day": 0.5}, 12, 0.0),
    ],
)
def test_hours_and_budget_say_how_long_a_run_may_take(
    store: Store, rules: dict[str, Any], hour: int, minutes: float
) -> None:
    clock = Clock()
    clock.now = NOW.replace(hour=hour)
    assert Triggers(store, Rules(**rules), ["legal"], now=clock).minutes() == minutes


def test_what_runs_took_today_leaves_the_budget(store: Store) -> None:
    clock = Clock()
    clock.now = datetime.now(UTC)
    failed(store, "legal")
    triggers = Triggers(store, Rules(minutes_per_day=10), ["legal"], now=clock)
    assert triggers.minutes() == 8.0
    clock.now += timedelta(days=1)
    assert triggers.minutes() == 10.0
