"""`artifacts.root`: a folder or a URL, and what cannot be opened stops the start."""

import sys
from pathlib import Path

import pytest

from adapters.artifacts import Artifacts
from gateway.configuration import ConfigurationError, load
from gateway.settings import Settings


def configured(tmp_path: Path, root: str) -> Settings:
    config = tmp_path / "turnout.toml"
    config.write_text(f'state = "{tmp_path}/state"\n[artifacts]\nroot = "{root}"\n')
    return load(config)


def test_a_folder_holds_everything(tmp_path: Path) -> None:
    settings = configured(tmp_path, f"{tmp_path}/root")
    assert settings.artifact_root == tmp_path / "root"
    assert isinstance(settings.versions, Artifacts)


@pytest.mark.parametrize("root", ["memory://root", "file:///mnt/root"])
def test_with_a_url_indexes_and_routers_stay_local(tmp_path: Path, root: str) -> None:
    assert configured(tmp_path, root).artifact_root == tmp_path / "state" / "artifacts"


@pytest.mark.parametrize(
    ("root", "said"),
    [("", "at least 1 character"), ("s4://bucket", "artifacts.root: .* no filesystem 's4'")],
)
def test_what_cannot_be_opened_stops_the_start(tmp_path: Path, root: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        configured(tmp_path, root)


def test_a_missing_package_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigurationError, match="needs the package s3fs"):
        configured(tmp_path, "s3://bucket/turnout")
