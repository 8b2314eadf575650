"""A store and a registry in a temporary folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.artifacts import Artifacts
from adapters.registry import Registry
from adapters.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path}/turnout.db")
    yield opened
    opened.close()


@pytest.fixture
def registry(store: Store, tmp_path: Path) -> Registry:
    return Registry(store, Artifacts(tmp_path / "artifacts", tmp_path / "cache"))
