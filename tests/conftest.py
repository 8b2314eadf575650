"""Parts that many tests need: prepared models, published adapters, a gateway with an engine behind
it."""

import os
from pathlib import Path

import pytest

from gateway.model_cache import ModelCache
from gateway.settings import Settings

ROOT = Path(__file__).parent.parent
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `gateway.__main__`, before torch


@pytest.fixture(scope="session")
def models() -> ModelCache:
    """The default models, prepared on first use in the user's cache."""
    return ModelCache(Settings())


@pytest.fixture(scope="session")
def encoder_folder(models: ModelCache) -> Path:
    return models.encoder()


@pytest.fixture(scope="session")
def base_model(models: ModelCache) -> Path:
    return models.base_model()


DATA = Path(os.environ.get("TURNOUT_DATA", ROOT.parent / "shared" / "data"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests on the real data where it is not; it belongs to the build machines."""
    if not DATA.is_dir():
        absent = [item for item in items if item.get_closest_marker("data")]
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if item not in absent]


@pytest.fixture(scope="session")
def data() -> Path:
    """The real domain data (marker `data`)."""
    return DATA
