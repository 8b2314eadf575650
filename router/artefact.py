"""Writes a fitted router as one folder that explains itself, whole or not at all.

{root}/{version}/weights.safetensors vocabulary.json manifest.json
                 second.safetensors style.json encoder.safetensors tokenizer.json encoder.json
                                                                     with a second stage
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
from router.router import FORMAT, MANIFEST, VOCABULARY, WEIGHTS, read_manifest
from router.second.encoder import WEIGHTS as ENCODER
from router.second.evidence import OPINIONS
from router.second.fit import FittedSecond
from router.second.stage import EVIDENCE, STYLE

VERSION = re.compile(r"v([0-9]{1,9})-[0-9a-f]{8}")


def publish(fitted: FittedRouter, root: Path) -> Path:
    """Write the next version under `root`, make it current, and return its folder."""
    root.mkdir(parents=True, exist_ok=True)
    names = [match for entry in root.glob("v*") if (match := VERSION.fullmatch(entry.name))]
    number = 1 + max((int(match[1]) for match in names), default=0)
    folder = root / f"v{number}-{_identity(fitted)}"
    write(fitted, folder, version=folder.name, versions=root)
    _point(root, folder.name)
    return folder


def write(
    fitted: FittedRouter, folder: Path, version: str = "", versions: Path | None = None
) -> Path:
    """Write to exactly `folder`; a router that is there is replaced, anything else refused.

    `versions` is a folder of routers with whom an encoder may be shared.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise ArtefactError(f"{folder} holds something that is not a router; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        fitted.classifier.save(staged / WEIGHTS)
        fitted.vocabulary.save(staged / VOCABULARY)
        if fitted.second is not None:
            _write_second(fitted.second, staged, versions)
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
    if fitted.second is not None:
        parts.append(fitted.second.encoder.digest())
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def _manifest(fitted: FittedRouter, version: str) -> dict[str, object]:
    return {
        "format": FORMAT,
        "version": version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "labels": list(fitted.labels),
        "temperature": fitted.temperature,
        "threshold": fitted.threshold,
        "sure": fitted.sure,
        "out_of_fold": dict(fitted.out_of_fold),
        "label_counts": dict(fitted.label_counts),
        "document_counts": dict(fitted.document_counts),
        "data_digest": fitted.data_digest,
        "encoder_digest": fitted.encoder_digest,
        "arguments": asdict(fitted.arguments),
        "libraries": dict(fitted.libraries),
        "second": _second_manifest(fitted.second) if fitted.second else None,
    }


def _second_manifest(second: FittedSecond) -> dict[str, object]:
    return {
        "blend": second.blend.as_json(),
        "opinions": list(OPINIONS),
        "threshold": second.threshold,
        "out_of_fold": dict(second.quality),
        "topic_counts": dict(second.topic_counts),
        "encoder_digest": second.encoder.digest(),
    }


def _write_second(second: FittedSecond, staged: Path, versions: Path | None) -> None:
    """The encoder is 45 MB and seldom changes: all `versions` that have the same share its file."""
    second.evidence.save(staged / EVIDENCE)
    second.style.save(staged / STYLE)
    second.encoder.save(staged, except_weights=True)
    same = _with_encoder(second.encoder.digest(), versions) if versions else None
    if same is not None:
        try:
            os.link(same, staged / ENCODER)
            return
        except OSError:  # a file system without links
            pass
    second.encoder.save_weights(staged / ENCODER)


def _with_encoder(digest: str, versions: Path) -> Path | None:
    for manifest in sorted(versions.glob(f"v*/{MANIFEST}")):
        try:
            second = read_manifest(manifest).get("second")
        except ArtefactError:  # of another format, or being removed
            continue
        file = manifest.with_name(ENCODER)
        if second and second["encoder_digest"] == digest and file.is_file():
            return file
    return None


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
