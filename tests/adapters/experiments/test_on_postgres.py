"""Experiments on a real PostgreSQL: migrated, moved and measured as on SQLite."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from adapters import tables
from adapters.artifacts import Artifacts
from adapters.experiments.book import ExperimentBook
from adapters.experiments.export import export
from adapters.experiments.metrics import measure
from adapters.experiments.report import Outcome, Report
from adapters.experiments.watch import Watch
from adapters.interactions import Feedback
from adapters.registry import Registry
from adapters.store import Store
from tests.adapters.experiments.designs import ARMS, design
from tests.adapters.test_store import interaction, migrate, records
from tests.postgres import postgres


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A database as an earlier version of this code left it, with a running experiment."""
    with postgres(tmp_path / "postgres") as url:
        migrate(url, "0002")
        engine = sa.create_engine(url)
        values = "'old', 'espresso', 's', CAST(:arms AS json), '2026-01-01T00:00:00Z'"
        begun = f"INSERT INTO experiments (name, domain, salt, arms, created) VALUES ({values})"
        arms = json.dumps([{**arm, "weight": 1.0} for arm in ARMS])
        with engine.begin() as connection:
            connection.execute(sa.text(begun), {"arms": arms})
        engine.dispose()
        yield url


def test_experiments_are_migrated_moved_and_measured(url: str, tmp_path: Path) -> None:
    store = Store(url)
    with store.transaction() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    book = ExperimentBook(store, Registry(store, Artifacts(tmp_path / "a", tmp_path / "c")))
    assert book.entry("old").shares == {"control": 50, "new": 50}
    book.begin(design(stages=[50, 100], slices=["feedback:topic"]))
    now = time.time()
    common = {"experiment": "e", "standing": "assigned", "exposed": True, "session": "s1"}
    unit = next(
        f"u{n}" for n in range(99) if book.entry("e").split.assign(f"u{n}").arm.name != "new"
    )
    store.take(
        records(
            interaction("1", created=now, arm="control", experiment_unit=unit, **common),
            Feedback("f1", "1", now, "thumb", True),
            Feedback("f2", "1", now, "topic", "water"),
        )
    )
    assert book.set_stage("e", 100.0).kept and book.settle("e") == 1
    found = measure(store, book.entry("e"))
    assert list(found.samples["thumb"]["control"].y) == [1]
    (row,) = export(store, book.entry("e").experiment, None).rows
    assert (row["id"], row["metric:thumb"]) == ("1", 1)
    assert found.slices["feedback:topic"]["water"]["control"].units == 1
    assert store.answers_by_arm("e") == {"control": 1}
    assert [move["kind"] for move in book.moves("e")] == ["create", "stage"]
    first, second = (Watch(store, book, holder=holder) for holder in ("here", "there"))
    assert {look.experiment for look in first.round()} == {"e", "old"}
    assert second.round() == []
    first.close()
    assert {look.experiment for look in second.round()} == {"e", "old"}
    look = book.last_look("e")
    assert look and Report.from_json(look["report"]).verdict("new").outcome is Outcome.UNDECIDED
    store.close()
