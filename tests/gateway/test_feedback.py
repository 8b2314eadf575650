"""Feedback as the contract has it: once, late, out of order, while the store is down; and its
limits."""

import contextlib
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from adapters.interactions import Feedback
from adapters.store import Store
from gateway.errors import RateLimited
from gateway.limits import FeedbackLimits
from tests.adapters.test_store import interaction, records
from tests.fakes.vllm import FakeVllm
from tests.gateway.harness import Running, assert_error, running
from tests.gateway.test_experiments import BASE, ask, begin
from tests.serving import wait_for


def give(gateway: Running, receipt: str, value: Any = True, **body: Any) -> httpx2.Response:
    said = {"id": receipt, "metric": "thumb", "value": value, **body}
    return gateway.http.post("/v1/feedback", json=said)


def stored(store: Store, count: int) -> list[Feedback]:
    """All feedback on all answers, once the journal has drained and there are so many."""

    def found() -> list[Feedback]:
        return [feedback for judged in store.judged() for feedback in judged.feedback]

    wait_for(lambda: len(found()) >= count, f"{count} pieces of feedback")
    return found()


@contextlib.contextmanager
def down(store: Store) -> Iterator[None]:
    """A database in which nothing is found and nothing can be put."""
    for begin_with, end_with in (("", "_away"), ("_away", "")):
        with store.transaction() as connection:
            for table in ("interactions", "feedback"):
                change = f"ALTER TABLE {table}{begin_with} RENAME TO {table}{end_with}"
                connection.execute(text(change))
        if end_with:
            yield


def test_a_repeat_is_accepted_and_counts_nothing(gateway: Running) -> None:
    receipt = gateway.chat("hi", model="general").json()["id"]
    gateway.stored()
    for _ in range(3):
        assert give(gateway, receipt, True, idempotency_key="a").status_code == 202
    # The key's word is final: what else the delivery says is not looked at.
    assert give(gateway, receipt, False, idempotency_key="a").status_code == 202
    assert give(gateway, receipt, False, idempotency_key="b").status_code == 202
    assert [feedback.value for feedback in stored(gateway.store, 2)] == [True, False]
    # Also long after: the store knows it, whatever the process remembers.
    assert give(gateway, receipt, True, idempotency_key="a").json() == {
        "id": receipt,
        "accepted": True,
    }
    assert 'turnout_feedback_total{arm="",metric="thumb"} 2.0' in gateway.metrics()


def test_late_feedback_and_feedback_that_comes_first(gateway: Running) -> None:
    gateway.store.take(records(interaction("old", created=1.0)))
    assert give(gateway, "old").status_code == 202
    receipt = gateway.chat("hi", model="general").json()["id"]
    assert give(gateway, receipt, "down", comment="cold").status_code == 202
    last, first = stored(gateway.store, 2)[::-1]
    assert (first.interaction_id, first.value) == ("old", True)
    assert (last.interaction_id, last.value, last.comment) == (receipt, "down", "cold")
    # Another gateway's journal may bring the answer later than the feedback on it.
    gateway.store.take(records(Feedback("f", "to come", 5.0, "thumb", True)))
    assert len(stored(gateway.store, 2)) == 2
    gateway.store.take(records(interaction("to come", created=2.0)))
    assert [f.interaction_id for f in stored(gateway.store, 3)] == ["old", "to come", receipt]


def test_unknown_receipts_are_told(gateway: Running) -> None:
    assert_error(give(gateway, "chatcmpl-none"), 404, "unknown_receipt")
    receipt = gateway.chat("hi", model="general").json()["id"]
    refused = give(gateway, receipt, preferred_over="chatcmpl-none")
    assert_error(refused, 404, "unknown_receipt")
    assert refused.json()["error"]["param"] == "preferred_over"
    unlogged = gateway.chat("hi", model="general", turnout={"log": False}).json()["id"]
    assert_error(give(gateway, unlogged), 404, "unknown_receipt")


def test_a_store_that_is_down_loses_no_feedback(gateway: Running) -> None:
    before = gateway.chat("hi", model="general").json()["id"]
    gateway.stored()
    with down(gateway.store):
        during = gateway.chat("hi", model="general").json()["id"]
        for receipt in (before, during):
            for _ in range(2):
                assert give(gateway, receipt).status_code == 202
    kept = stored(gateway.store, 2)
    assert {feedback.interaction_id for feedback in kept} == {before, during} and len(kept) == 2
    assert_error(give(gateway, "chatcmpl-none"), 404, "unknown_receipt")


@pytest.mark.parametrize("metric", ["judge:helpful", "check:cites", "feedback:thumb"])
def test_what_the_system_writes_itself_is_reserved(gateway: Running, metric: str) -> None:
    receipt = gateway.chat("hi", model="general").json()["id"]
    refused = give(gateway, receipt, metric=metric)
    assert "reserved" in assert_error(refused, 400)
    assert refused.json()["error"]["param"] == "metric"
    assert give(gateway, receipt, metric="judged:by_hand").status_code == 202


@pytest.mark.parametrize("change", [{"id": "a\0b"}, {"value": 10**400}, {"id": "a\nb"}])
def test_what_no_store_can_hold_is_refused(gateway: Running, change: dict[str, Any]) -> None:
    assert_error(give(gateway, **{"receipt": "x", **change}), 400)
    raw = json.dumps({"id": "x", "metric": "thumb", "value": True, "comment": "\ud800"})
    assert_error(gateway.http.post("/v1/feedback", content=raw), 400)


def test_an_answer_takes_so_many_pieces_and_repeats_of_them(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: FakeVllm
) -> None:
    limits = {"per_answer": 3}
    with running(tmp_path, artifacts, encoder_folder, engine, feedback=limits) as gateway:
        receipt, other = (gateway.chat("hi", model="general").json()["id"] for _ in range(2))
        for number in range(3):
            assert give(gateway, receipt, number).status_code == 202
        refused = give(gateway, receipt, 3)
        assert "feedback.per_answer" in assert_error(refused, 400, "too_much_feedback")
        assert give(gateway, receipt, 2).status_code == 202, "a repeat"
        assert give(gateway, other, 3).status_code == 202
        judge = Feedback("a judge's", other, 1.0, "judge:j", 1.0, key="judge")
        gateway.store.take(records(judge))
        assert len(stored(gateway.store, 5)) == 5
    with running(tmp_path, artifacts, encoder_folder, engine, feedback=limits) as again:
        assert_error(give(again, receipt, 3), 400, "too_much_feedback")
        assert give(again, receipt, 0).status_code == 202, "a repeat, from before the restart"
        for number in (4, 5):
            assert give(again, other, number).status_code == 202, "judges' grades take no place"
        assert_error(give(again, other, 6), 400, "too_much_feedback")


def test_a_key_that_gives_too_much_at_once_is_told_when_to_go_on(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: FakeVllm
) -> None:
    limits = {"per_minute": 2}
    with running(tmp_path, artifacts, encoder_folder, engine, feedback=limits) as gateway:
        key = gateway.admin("POST", "/keys", json={"name": "n", "role": "user"}).json()["secret"]
        receipt = gateway.chat("hi", model="general").json()["id"]
        assert [give(gateway, receipt).status_code for _ in range(2)] == [202, 202]
        refused = give(gateway, receipt)
        assert "2 times a minute" in assert_error(refused, 429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert gateway.chat("hi", model="general").status_code == 200
        wait_for(lambda: _as(gateway, key, receipt).status_code == 202, "the other key to be known")


def _as(gateway: Running, key: str, receipt: str) -> httpx2.Response:
    body = {"id": receipt, "metric": "thumb", "value": True}
    headers = {"Authorization": f"Bearer {key}"}
    return gateway.http.post("/v1/feedback", json=body, headers=headers)


def test_a_bucket_holds_a_minutes_worth_and_fills_evenly() -> None:
    limits = FeedbackLimits(per_minute=600, per_answer=1)
    for _ in range(600):
        limits.spend("ann", 1000.0)
    with pytest.raises(RateLimited) as told:
        limits.spend("ann", 1000.05)
    assert told.value.problem.headers() == {"retry-after": "1"}
    limits.spend("bob", 1000.05)
    limits.spend("ann", 1000.1)
    with pytest.raises(RateLimited):
        limits.spend("ann", 1000.1)
    for _ in range(300):
        limits.spend("ann", 1030.1)
    with pytest.raises(RateLimited):
        limits.spend("ann", 1030.1)
    for _ in range(600):
        limits.spend("ann", 9000.0)


def test_no_number_of_answers_fills_the_memory() -> None:
    limits = FeedbackLimits(per_minute=1, per_answer=1)
    for number in range(5_000):
        limits.note(f"r{number}", "f")
        limits.spend(f"key{number}", 0.0)
    assert limits.is_new("r4999", "f", frozenset()) is False
    assert limits.is_new("r0", "f", frozenset()) is True, "forgotten, the store has it"
    assert limits.is_new("r0", "f", frozenset({"f"})) is False


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_experiment_is_exported_to_admins(gateway: Running, form: str) -> None:
    begin(gateway, {**BASE, "weight": 0}, {**BASE, "name": "new"})
    answers = [ask(gateway, f"s{number}").json()["id"] for number in range(3)]
    give(gateway, answers[0], False)
    stored(gateway.store, 1)
    gateway.stored(3)
    path = f"/experiments/e/export?format={form}"
    response = gateway.admin("GET", path)
    assert response.status_code == 200
    header, *rows = response.text.splitlines()
    if form == "csv":
        assert header.startswith("id,created,experiment_unit,session,arm,arm_propensity,")
        assert [row.split(",")[0] for row in rows] == answers
    else:
        read = [json.loads(row) for row in (header, *rows)]
        assert [(row["id"], row["arm"], row["metric:thumb"]) for row in read] == [
            (answer, "new", None if number else 0.0) for number, answer in enumerate(answers)
        ]
    assert_error(gateway.admin("GET", "/experiments/absent/export"), 404)
    assert_error(gateway.admin("GET", "/experiments/e/export?format=parquet"), 400)
    assert_error(gateway.admin("GET", path, headers={"Authorization": "Bearer no"}), 401)
    with down(gateway.store):
        assert_error(gateway.admin("GET", path), 503, "store_unavailable")


def test_whoever_leaves_an_export_ends_it(gateway: Running) -> None:
    begin(gateway, BASE, {**BASE, "name": "new"})
    long = {"experiment": "e", "session": "s" * 10_000}  # 40 MB in all: no buffer holds that
    many = (interaction(f"r{n}", created=float(n), **long) for n in range(4_000))
    gateway.store.take(records(*many))
    url = f"{gateway.admin_url}/admin/v1/experiments/e/export"
    with gateway.http.stream("GET", url) as response:
        lines = response.iter_lines()  # kept: one that is thrown away ends the response
        assert next(lines).startswith('{"id":"r0"')
        assert exporting() == 1
    wait_for(lambda: exporting() == 0, "the process to be gone")


def exporting() -> int:
    """How many processes of this one write an export."""
    ours = chain(*(p.read_text().split() for p in Path("/proc/self/task").glob("*/children")))
    lines = [Path(f"/proc/{pid}/cmdline") for pid in ours]
    return sum(b"adapters.experiments.export" in p.read_bytes() for p in lines if p.exists())
