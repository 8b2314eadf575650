"""A running gateway for each test; router and indexes are made once, by the command users use."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fakes.vllm import FakeVllm
from tests.gateway.harness import Running, running


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path) -> Path:
    """Router and indexes of the example packs."""
    state = tmp_path_factory.mktemp("prepared")
    for pack in ("espresso", "library"):
        turnout("docs", "ingest", f"examples/{pack}/documents", "--domain", pack, state=state)
    turnout("router", "fit", state=state)
    return state / "artifacts"


def turnout(*arguments: str, state: Path) -> str:
    """Run a verb as a user would, at the project's root; returns its stdout."""
    command = [sys.executable, "-m", "gateway", *arguments, "--state", str(state)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def engine(tmp_path: Path) -> FakeVllm:
    root = tmp_path / "base"
    root.mkdir()
    (root / "config.json").write_text(json.dumps({"model_type": "tiny"}))
    return FakeVllm(root=str(root))


@pytest.fixture
def gateway(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: FakeVllm
) -> Iterator[Running]:
    with running(tmp_path, artifacts, encoder_folder, engine) as ready:
        yield ready
