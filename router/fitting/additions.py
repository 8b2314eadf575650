"""A label added to the folder of a router: the next version, in which all else is as it was."""

import json
import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from router.classifier import LinearClassifier
from router.errors import ArtefactError, FitError
from router.examples import MAX_LABEL, Example, read_examples, write_examples
from router.features import Vocabulary
from router.fitting.embeddings import PieceEmbeddings
from router.fitting.newcomer import extended_evidence, extended_first
from router.router import EXAMPLES, MANIFEST, VOCABULARY, WEIGHTS, read_manifest, reference_in
from router.second.encoder import SentenceEncoder
from router.second.evidence import Evidence
from router.second.stage import EVIDENCE, STYLE
from router.second.style import Style
from router.versions import next_version, share_rest, staged

MIN_TEXTS = 3
WRITTEN = frozenset({WEIGHTS, VOCABULARY, EXAMPLES, EVIDENCE, MANIFEST})
_BETWEEN = re.compile(r"[.;:,\n]+| and | or ")


def phrases(description: str) -> list[str]:
    """A description whole and in parts: each is a text that the label could be asked by."""
    parts = [part.strip() for part in _BETWEEN.split(description)]
    return list(dict.fromkeys([description.strip(), *(part for part in parts if part)]))


def add_label(
    folder: Path,
    label: str,
    texts: Sequence[str],
    embeddings: PieceEmbeddings,
    root: Path | None = None,
    out: Path | None = None,
) -> Path:
    """Write the router of `folder` with one label more to `out`, or else as the next version under
    `root`, without making it current.

    Raises:
        FitError: the label is there already, or there are fewer than MIN_TEXTS distinct texts.
        ArtefactError: the folder cannot be extended.
    """
    manifest, known = read_manifest(folder / MANIFEST), read_examples(folder / EXAMPLES)
    new = sorted({text.strip() for text in texts if text.strip()})
    _check(manifest, label, new, embeddings, folder)
    vocabulary, classifier = extended_first(
        Vocabulary.load(folder / VOCABULARY),
        LinearClassifier.load(folder / WEIGHTS),
        embeddings,
        [example.text for example in known],
        new,
    )
    manifest = _widened(manifest, label, len(new))
    identity = sha256(json.dumps([manifest["version"], label, new]).encode()).hexdigest()[:8]
    place = out or next_version(root or folder.parent, identity)
    with staged(place, MANIFEST) as aside:
        share_rest(folder, aside, WRITTEN)
        classifier.save(aside / WEIGHTS)
        vocabulary.save(aside / VOCABULARY)
        write_examples([*known, *(Example(text, label) for text in new)], aside / EXAMPLES)
        if manifest["second"] is not None:
            _extend_second(folder, aside, [example.text for example in known], new)
        manifest["version"] = place.name
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return place


def _check(
    manifest: dict[str, Any],
    label: str,
    new: Sequence[str],
    embeddings: PieceEmbeddings,
    folder: Path,
) -> None:
    if label in manifest["labels"]:
        raise FitError(f"{folder} has {label!r} already; refit to teach it more")
    if not label.strip() or not label.isprintable() or len(label) > MAX_LABEL:
        raise FitError(f"a label is 1 to {MAX_LABEL} printable characters, not {label!r:.80}")
    if len(new) < MIN_TEXTS:
        raise FitError(f"{label!r} has {len(new)} distinct texts, {MIN_TEXTS} are needed")
    if manifest["encoder_digest"] != embeddings.digest:
        raise ArtefactError(f"{folder} was fitted with other embeddings; fit the router again")


def _widened(manifest: dict[str, Any], label: str, texts: int) -> dict[str, Any]:
    """The new label is held back as much as the most held back one, and was never seen before."""
    wider = manifest | {
        "labels": [*manifest["labels"], label],
        "label_counts": manifest["label_counts"] | {label: texts},
        "added": manifest.get("added", {}) | {label: texts},
    }
    if (thresholds := manifest.get("thresholds")) is not None:
        wider["thresholds"] = thresholds | {label: max(thresholds.values())}
    if (reference := reference_in(manifest)) is not None:
        wider["reference"] = to_builtins(reference.with_label(label))
    return wider


def _extend_second(folder: Path, aside: Path, known: Sequence[str], new: Sequence[str]) -> None:
    style = Style.load(folder / STYLE)
    extended_evidence(
        Evidence.load(folder / EVIDENCE),
        style.matrix(known),
        SentenceEncoder.load(folder).encode(new),
        style.matrix(new),
    ).save(aside / EVIDENCE)
