"""The default models, prepared once per machine. The work is done in processes of its own, so torch
never enters this one."""

import subprocess
import sys
from pathlib import Path

import click

from gateway.configuration import ConfigurationError
from gateway.settings import Settings

# Written last by both preparations, so its presence means the folder is whole.
_MARK = "config.json"


class ModelCache:
    """Finds the models that the settings name, and prepares the default ones where they are
    missing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def encoder(self) -> Path:
        """Folder of the static embedding model."""
        if self._settings.models.embeddings is not None:
            return _existing(self._settings.models.embeddings, "models.embeddings")
        folder = self._settings.model_cache / "minilm-static"
        self._prepare(
            "retrieval.distill", folder, "distilling the embedding model (about 20 s, once)"
        )
        return folder

    def base_model(self) -> Path:
        """Folder of the embedded engine's base model."""
        named = [e.path for e in self._settings.engines if e.kind == "embedded" and e.path]
        if named:
            return _existing(named[0], "engines.path")
        folder = self._settings.model_cache / "smollm2-135m"
        self._prepare(
            "adapters.engines.embedded.default_model",
            folder,
            "unpacking SmolLM2-135M (about 20 s, once)",
        )
        return folder

    def _prepare(self, module: str, folder: Path, what: str) -> None:
        if (folder / _MARK).is_file():
            return
        click.echo(f"turnout: {what}", err=True)
        done = subprocess.run(
            [sys.executable, "-m", module, str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ConfigurationError(f"{what} failed: {last}")


def _existing(folder: Path, setting: str) -> Path:
    if not (folder / _MARK).is_file():
        raise ConfigurationError(f"{setting}: {folder} holds no model ({_MARK} is missing)")
    return folder
