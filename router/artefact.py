"""Writes a fitted router as one folder that explains itself, whole or not at all.

{root}/{version}/weights.safetensors vocabulary.json manifest.json
{root}/current.json                                                  which version serves
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from router.errors import ArtefactError
from router.fit import FittedRouter
from router.router import FORMAT, MANIFEST, VOCABULARY, WEIGHTS

VERSION = re.compile(r"v([0-9]{1,9})-[0-9a-f]{8}")


def publish(fitted: FittedRouter, root: Path) -> Path:
    """Write the next version under `root`, make it current, and return its folder."""
    root.mkdir(parents=True, exist_ok=True)
    names = [match for entry in root.glob("v*") if (match := VERSION.fullmatch(entry.name))]
    number = 1 + max((int(match[1]) for match in names), default=0)
    folder = root / f"v{number}-{_identity(fitted)}"
    write(fitted, folder, version=folder.name)
    _point(root, folder.name)
    return folder


def write(fitted: FittedRouter, folder: Path, version: str = "") -> Path:
    """Write to exactly `folder`; a router that is there is replaced, anything else refused."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise ArtefactError(f"{folder} holds something that is not a router; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        fitted.classifier.save(staged / WEIGHTS)
        fitted.vocabulary.save(staged / VOCABULARY)
        manifest = _manifest(fitted, version or f"v0-{_identity(fitted)}")
        (staged / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        _made_readable(staged)
        if folder.exists():
            old = staged.with_name(f"{staged.name}-old")
            folder.rename(old)
            staged.rename(folder)
            shutil.rmtree(old)
        else:
            staged.rename(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return folder


def _identity(fitted: FittedRouter) -> str:
    """Eight digits that name what the router was made of."""
    parts = [fitted.data_digest, fitted.encoder_digest, asdict(fitted.arguments), FORMAT]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def _manifest(fitted: FittedRouter, version: str) -> dict[str, object]:
    return {
        "format": FORMAT,
        "version": version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "labels": list(fitted.labels),
        "temperature": fitted.temperature,
        "threshold": fitted.threshold,
        "out_of_fold": dict(fitted.out_of_fold),
        "label_counts": dict(fitted.label_counts),
        "document_counts": dict(fitted.document_counts),
        "data_digest": fitted.data_digest,
        "encoder_digest": fitted.encoder_digest,
        "arguments": asdict(fitted.arguments),
        "libraries": dict(fitted.libraries),
    }


def _point(root: Path, version: str) -> None:
    """Replace current.json at once; readers see the old version or the new one."""
    handle, name = tempfile.mkstemp(prefix=".current-", dir=root)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(json.dumps({"version": version}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, 0o644)
    os.replace(name, root / "current.json")


def _made_readable(folder: Path) -> None:
    """Temporary folders and safetensors files are private; a gateway may run as another user."""
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)
