"""What `turnout train --replay` does: find the manifest, train again, compare."""

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adapters.manifest import MANIFEST, Manifest
from adapters.registry import Registry
from adapters.store import Store
from training.cli.workspace import Workspace
from training.errors import TrainingError
from training.progress import Bar

if TYPE_CHECKING:
    from training.replay import Replay


def replay_version(workspace: Workspace, source: str, *, as_json: bool) -> None:
    """Train a version again; `source` is its name or its manifest.json. Exit code 1: the weights
    are not the same, or cannot be made."""
    # PyTorch takes seconds to import.
    from training.replay import replay

    manifest = _manifest(workspace, source)
    runs = workspace.state / "training"
    folder = runs / f"replay-{manifest.version}-{secrets.token_hex(2)}"
    try:
        with Bar() as bar:
            result = replay(manifest, workspace.base_model, runs, folder, bar)
    except TrainingError as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo(json.dumps(result.as_json()) if as_json else _story(result))
    if not result.same:
        raise click.exceptions.Exit(1)


def _manifest(workspace: Workspace, source: str) -> Manifest:
    """Of a file, its folder, or a registered version; raises CorruptAdapter, UnknownVersion."""
    path = Path(source)
    if path.name == MANIFEST:
        path = path.parent
    if path.is_dir():
        return Manifest.read(path)
    store = Store(workspace.store_url)
    try:
        return Registry(store, workspace.versions).version(source).manifest
    finally:
        store.close()


def _story(result: "Replay") -> str:
    """One line for the weights, and one for each thing that is not as it was."""
    weights = (
        f"{result.version}: same weights, {result.found}"
        if result.same
        else f"{result.version}: other weights\n  then {result.expected}\n  now  {result.found}"
    )
    unexplained = [] if result.same or result.differences else ["nothing on record differs"]
    return "\n".join([weights, *(f"  {one}" for one in (*result.differences, *unexplained))])
