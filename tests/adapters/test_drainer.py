"""The draining process: it delivers, says what is wrong, and is replaced when it dies."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.drainer import Drainer
from adapters.errors import StoreUnavailable
from adapters.journal import Journal
from adapters.store import Store
from tests.adapters.test_store import interaction
from tests.serving import wait_for


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal")
    yield opened
    opened.close()


def children() -> set[int]:
    """Processes that this one has started."""
    lists = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    return {int(pid) for text in lists for pid in text.split()}


def stored(store: Store) -> list[str]:
    return [judged.interaction.id for judged in store.judged()]


def test_what_was_appended_reaches_the_store(
    tmp_path: Path, store: Store, journal: Journal
) -> None:
    drainer = Drainer(f"sqlite:///{tmp_path}/turnout.db")
    before = children()
    for number in range(1200):
        journal.append("interaction", interaction(str(number), created=float(number)))
    assert journal.drain(drainer.deliver) == 1200
    assert journal.pending == 0 and journal.drain(drainer.deliver) == 0
    assert stored(store) == [str(number) for number in range(1200)]
    drainer.close()
    drainer.close()
    after = children()
    assert after == before, "the process is gone"


def test_a_killed_process_is_replaced_and_nothing_is_lost(
    tmp_path: Path, store: Store, journal: Journal
) -> None:
    drainer = Drainer(f"sqlite:///{tmp_path}/turnout.db")
    before = children()
    journal.append("interaction", interaction("a"))
    journal.drain(drainer.deliver)
    (child,) = children() - before
    os.kill(child, signal.SIGKILL)
    journal.append("interaction", interaction("b", created=2.0))

    def drained() -> bool:
        try:
            return journal.drain(drainer.deliver) == 1
        except StoreUnavailable:
            return False  # it may be found dead only by asking

    wait_for(drained, "a new process to deliver")
    assert stored(store) == ["a", "b"]
    drainer.close()


def test_a_store_that_cannot_be_opened_is_said_and_everything_waits(
    tmp_path: Path, journal: Journal
) -> None:
    drainer = Drainer(f"sqlite:///{tmp_path}/journal")  # a folder is no database
    journal.append("interaction", interaction("a"))
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="unable to open database file"):
            journal.drain(drainer.deliver)
    assert journal.pending == 1
    drainer.close()
