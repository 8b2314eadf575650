"""A queue in a store of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.review.book import ReviewBook
from adapters.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(f"sqlite:///{tmp_path}/turnout.db")
    yield made
    made.close()


@pytest.fixture
def book(store: Store) -> ReviewBook:
    return ReviewBook(store)
