"""Folders of versions: each appears whole or not at all, and a pointer says which one serves. Knows
nothing of what a version holds."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from router.errors import ArtefactError

VERSION = re.compile(r"v([0-9]{1,9})-[0-9a-f]{8}")


def next_version(root: Path, identity: str) -> Path:
    """The folder of the version after all under `root`; `identity` are eight hex digits."""
    root.mkdir(parents=True, exist_ok=True)
    names = [match for entry in root.glob("v*") if (match := VERSION.fullmatch(entry.name))]
    number = 1 + max((int(match[1]) for match in names), default=0)
    return root / f"v{number}-{identity}"


@contextmanager
def staged(folder: Path, manifest: str) -> Iterator[Path]:
    """A folder to write in, which then takes the place of `folder`.

    Raises ArtefactError where that holds something without a `manifest`.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / manifest).is_file():
        raise ArtefactError(f"{folder} holds something that is not a router; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield aside
        _make_readable(aside)
        if folder.exists():
            old = aside.with_name(f"{aside.name}-old")
            folder.rename(old)
            aside.rename(folder)
            shutil.rmtree(old)
        else:
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def point(root: Path, version: str) -> None:
    """Replace current.json at once; readers see the old version or the new one."""
    handle, name = tempfile.mkstemp(prefix=".current-", dir=root)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(json.dumps({"version": version}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, 0o644)
    os.replace(name, root / "current.json")


def share(file: Path, place: Path) -> None:
    """One file under two names, or a copy on a file system without links."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)


def share_rest(before: Path, aside: Path, anew: Collection[str]) -> None:
    """All files of a version but those that are written anew: writing to a shared one would change
    both."""
    for file in before.iterdir():
        if file.name not in anew:
            share(file, aside / file.name)


def _make_readable(folder: Path) -> None:
    """Temporary folders and safetensors files are private; a gateway may run as another user."""
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)
