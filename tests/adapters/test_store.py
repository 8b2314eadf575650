"""The store takes each record once, migrates by itself, and counts its changes."""

import threading
from pathlib import Path

import orjson
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from adapters import store as store_module
from adapters import tables
from adapters.delivery import Record
from adapters.errors import StoreUnavailable
from adapters.interactions import Feedback, Interaction, Outcome
from adapters.store import HEAD, Store


def interaction(receipt: str, **changes: object) -> Interaction:
    values: dict[str, object] = {
        "id": receipt,
        "created": 1.0,
        "endpoint": "chat.completions",
        "key": "key_1",
        "unit": "u1",
        "session": None,
        "requested_model": "auto",
        "target": "legal",
        "model": "legal--v1-00000000",
        "probability": 0.9,
        "reason": "classifier",
        "propensity": 1.0,
        "router_version": "v1",
        "experiment": None,
        "arm": None,
        "arm_propensity": 1.0,
        "index_version": None,
        "sources": ("a#0",),
        "request": {"messages": [{"role": "user", "content": "hello"}]},
        "response": {"text": "hi", "finish_reason": "stop"},
        "prompt_tokens": 3,
        "completion_tokens": 1,
        "outcome": Outcome.OK,
        "error": None,
        "overhead_ms": 0.5,
        "first_token_ms": None,
        "total_ms": 20.0,
        "train": True,
    }
    return Interaction(**{**values, **changes})  # type: ignore[arg-type]


def records(*items: Interaction | Feedback) -> list[Record]:
    """What the journal makes of these."""
    kinds = {Interaction: "interaction", Feedback: "feedback"}
    return [
        Record(kinds[type(item)], item.to_record(), orjson.dumps(item).decode()) for item in items
    ]


def test_records_are_taken_once_and_come_back_whole(store: Store) -> None:
    first, second = interaction("a"), interaction("b", created=2.0, arm="x", experiment="e")
    judgement = Feedback("f1", "b", 3.0, "thumb", True, demonstration="better")
    for _ in range(3):
        store.take(records(judgement, first, second))
    assert [judged.interaction for judged in store.judged("legal")] == [first, second]
    assert [judged.feedback for judged in store.judged("legal")] == [(), (judgement,)]
    assert store.count(tables.interactions) == 2
    assert store.has_interaction("a") and not store.has_interaction("c")
    assert store.answers_by_arm("e") == {"x": 1}


def test_forgetting_a_unit_takes_the_feedback_along(store: Store) -> None:
    judgement = Feedback("f1", "a", 3.0, "thumb", 1.0)
    store.take(records(interaction("a"), interaction("b", unit="u2"), judgement))
    assert store.forget(unit="u1") == 1
    assert store.count(tables.feedback) == 0
    assert store.has_interaction("b")


def test_only_changes_raise_the_revision(store: Store) -> None:
    before = store.revision()
    store.take(records(interaction("a")))
    assert store.revision() == before
    with store.change():
        pass
    assert store.revision() == before + 1


def test_the_newest_migration_is_the_one_the_store_expects() -> None:
    config = Config()
    config.set_main_option(
        "script_location", str(Path(store_module.__file__).parent / "migrations")
    )
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_processes_that_start_together_migrate_once(tmp_path: Path) -> None:
    stores: list[Store] = []
    url = f"sqlite:///{tmp_path}/new.db"
    threads = [threading.Thread(target=lambda: stores.append(Store(url))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.revision() for store in stores] == [0] * 6
    for store in stores:
        store.close()


@pytest.mark.parametrize("url", ["nonsense", "nodialect://x", "sqlite:////proc/none/x.db"])
def test_a_url_that_cannot_work_says_so(url: str) -> None:
    with pytest.raises(StoreUnavailable):
        Store(url)
