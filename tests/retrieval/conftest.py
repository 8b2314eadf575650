"""The real static encoder."""

from pathlib import Path

import pytest

from retrieval.encoder import StaticEncoder


@pytest.fixture(scope="session")
def encoder(encoder_folder: Path) -> StaticEncoder:
    return StaticEncoder.load(encoder_folder)
