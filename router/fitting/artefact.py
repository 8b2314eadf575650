"""Writes a fitted router as one folder that explains itself, whole or not at all.

{root}/{version}/weights.safetensors vocabulary.json examples.jsonl manifest.json
                 second.safetensors style.json encoder.onnx tokenizer.json
                                                                     with a second stage
{root}/current.json                                                  which version serves
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import to_builtins
from msgspec.json import encode, format

from router.errors import ArtefactError
from router.examples import write_examples
from router.fitting.fit import FittedRouter
from router.router import EXAMPLES, FORMAT, MANIFEST, VOCABULARY, WEIGHTS, read_manifest
from router.second.encoder import MODEL, TOKENIZER
from router.second.evidence import OPINIONS
from router.second.fit import FittedSecond
from router.second.stage import EVIDENCE, STYLE
from router.versions import next_version, point, share, share_rest, staged


def publish(fitted: FittedRouter, root: Path, *, current: bool = True) -> Path:
    """Write the next version under `root`, make it `current`, and return its folder."""
    folder = next_version(root, _identity(fitted))
    write(fitted, folder, version=folder.name, versions=root)
    if current:
        point(root, folder.name)
    return folder


def write(
    fitted: FittedRouter, folder: Path, version: str = "", versions: Path | None = None
) -> Path:
    """Write to exactly `folder`; a router that is there is replaced, anything else refused.

    `versions` is a folder of routers with whom an encoder may be shared.
    """
    with staged(folder, MANIFEST) as aside:
        fitted.classifier.save(aside / WEIGHTS)
        fitted.vocabulary.save(aside / VOCABULARY)
        write_examples(fitted.examples, aside / EXAMPLES)
        if fitted.second is not None:
            _write_second(fitted.second, aside, versions)
        manifest = _manifest(fitted, version or f"v0-{_identity(fitted)}")
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return folder


def republish(
    before: Path, changes: Mapping[str, Any], root: Path, out: Path | None = None
) -> Path:
    """The router in `before` with other lines in its manifest, as the next version under `root`,
    which becomes current, or else as exactly `out`. Its files are shared."""
    manifest = {**read_manifest(before / MANIFEST), **changes}
    digest = hashlib.sha256(encode([manifest["version"], changes])).hexdigest()[:8]
    folder = out or next_version(root, digest)
    manifest |= {
        "version": f"v0-{digest}" if out else folder.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "calibrated_from": manifest["version"],
    }
    with staged(folder, MANIFEST) as aside:
        share_rest(before, aside, {MANIFEST})
        (aside / MANIFEST).write_bytes(format(encode(manifest), indent=2) + b"\n")
    if out is None:
        point(root, folder.name)
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
        "reference": to_builtins(fitted.reference),
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


def _write_second(second: FittedSecond, aside: Path, versions: Path | None) -> None:
    """The encoder is 23 MB and seldom changes: all `versions` that have the same share its file."""
    second.evidence.save(aside / EVIDENCE)
    second.style.save(aside / STYLE)
    second.encoder.save_tokenizer(aside / TOKENIZER)
    same = _with_encoder(second.encoder.digest(), versions) if versions else None
    if same is not None:
        share(same, aside / MODEL)
    else:
        second.encoder.save_model(aside / MODEL)


def _with_encoder(digest: str, versions: Path) -> Path | None:
    for manifest in sorted(versions.glob(f"v*/{MANIFEST}")):
        try:
            second = read_manifest(manifest).get("second")
        except ArtefactError:  # of another format, or being removed
            continue
        file = manifest.with_name(MODEL)
        if second and second["encoder_digest"] == digest and file.is_file():
            return file
    return None
