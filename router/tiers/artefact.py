"""Writes a fitted tier model as one folder that explains itself, whole or not at all.

{root}/{version}/weights.safetensors vocabulary.json tiers.json
{root}/current.json                                  which version serves
"""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from router.tiers.fit import FittedTiers
from router.tiers.model import FORMAT, MANIFEST, VOCABULARY, WEIGHTS, Manifest
from router.versions import next_version, point, staged


def publish(fitted: FittedTiers, root: Path) -> Path:
    """Write the next version under `root`, make it current, and return its folder."""
    folder = next_version(root, fitted.data_digest[:8])
    write(fitted, folder, version=folder.name)
    point(root, folder.name)
    return folder


def write(fitted: FittedTiers, folder: Path, version: str = "") -> Path:
    """Write to exactly `folder`; a tier model that is there is replaced, anything else refused."""
    with staged(folder, MANIFEST) as aside:
        fitted.classifier.save(aside / WEIGHTS)
        fitted.vocabulary.save(aside / VOCABULARY)
        manifest = _manifest(fitted, version or f"v0-{fitted.data_digest[:8]}")
        encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        (aside / MANIFEST).write_bytes(encoded + b"\n")
    return folder


def _manifest(fitted: FittedTiers, version: str) -> Manifest:
    return Manifest(
        format=FORMAT,
        version=version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        n=fitted.left_out.n,
        gains=fitted.gains.tolist(),
        shape=fitted.shape,
        penalty=fitted.penalty,
        left_out=fitted.quality,
        data_digest=fitted.data_digest,
        encoder_digest=fitted.encoder_digest,
        libraries=fitted.libraries,
    )
