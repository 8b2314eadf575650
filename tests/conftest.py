"""Parts that many tests need: prepared models, published adapters, a gateway with an engine behind
it."""

import os
from pathlib import Path

import pytest

from gateway.model_cache import ModelCache
from gateway.settings import Settings

ROOT = Path(__file__).parent.parent


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


@pytest.fixture(scope="session")
def data() -> Path:
    """The real domain data (marker `data`)."""
    folder = Path(os.environ.get("TURNOUT_DATA", ROOT.parent / "shared" / "data"))
    assert folder.is_dir(), f"{folder} does not exist; set TURNOUT_DATA"
    return folder
