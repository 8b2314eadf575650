"""The store takes each record once, migrates by itself, and counts its changes."""

import threading
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from msgspec.json import encode

from adapters import schema, tables
from adapters.delivery import FeedbackRow, InteractionRow, Record
from adapters.errors import StoreUnavailable
from adapters.intake import SqliteIntake
from adapters.interactions import Feedback, Interaction, Outcome
from adapters.store import OnRecord, Store


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
    rows = {Interaction: InteractionRow, Feedback: FeedbackRow}
    return [
        Record(msgspec.convert(item, rows[type(item)], from_attributes=True), encode(item).decode())
        for item in items
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
    assert store.on_record("a") == OnRecord() and store.on_record("c") is None
    assert store.on_record("b") == OnRecord("x", frozenset({"f1"}))
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


def migrate(url: str, revision: str) -> None:
    """What an earlier version of this code would have left at `url`."""
    config = Config()
    folder = Path(schema.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def indexes(connection: sa.Connection) -> set[str]:
    made = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    return set(connection.execute(sa.text(made)).scalars())


def test_a_new_database_is_like_one_that_was_migrated(tmp_path: Path) -> None:
    found = []
    for name in ("new", "old"):
        url = f"sqlite:///{tmp_path}/{name}.db"
        if name == "old":
            migrate(url, "0001")
        store = Store(url)
        with store.transaction() as connection:
            context = MigrationContext.configure(connection)
            assert compare_metadata(context, tables.metadata) == []
            found.append((context.get_current_revision(), indexes(connection), store.revision()))
        store.close()
    assert found[0] == found[1]


def test_an_upgrade_keeps_what_was_recorded(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path}/old.db", "0001")
    SqliteIntake(f"{tmp_path}/old.db").take(records(interaction("a")))
    store = Store(f"sqlite:///{tmp_path}/old.db")
    assert [judged.interaction.id for judged in store.judged()] == ["a"]
    store.close()


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
