"""Documents to a new index version, whole or not at all."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from retrieval.chunking import Chunking, passages_of
from retrieval.documents import Document
from retrieval.encoder import StaticEncoder, Vectors
from retrieval.errors import IndexingError
from retrieval.index import FORMAT, MANIFEST, IndexManifest, PassageIndex, embedded_text
from retrieval.passages import Passage
from retrieval.versions import Pointer, domain_folder, next_version

BATCH = 512

Progress = Callable[[int, int], None]


def ingest(
    documents: Iterable[Document],
    *,
    domain: str,
    root: Path,
    encoder: StaticEncoder,
    chunking: Chunking | None = None,
    on_progress: Progress = lambda done, total: None,
) -> IndexManifest:
    """Index `documents` under `root` and make that version the serving one.

    The same documents, encoder and chunking as the serving version change nothing: its manifest
    is returned. `on_progress` is called with passages done and passages in all.
    """
    chunking = chunking or Chunking()
    folder = domain_folder(root, domain)
    passages, count = [], 0
    for document in documents:
        passages += passages_of(document, chunking)
        count += 1
    if not passages:
        raise IndexingError(f"there is nothing to index for {domain!r}: no document has text")
    digest = data_digest(passages)
    pointer = Pointer.read(folder)
    if pointer is not None:
        serving = _unchanged(folder / pointer.version, digest, encoder, chunking)
        if serving is not None:
            return serving
    index = PassageIndex.build(passages, _encoded(passages, encoder, on_progress))
    manifest = IndexManifest(
        format=FORMAT,
        domain=domain,
        version=next_version(folder, digest),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        kind=index.kind,
        documents=count,
        passages=len(passages),
        dimension=encoder.dimension,
        encoder_digest=encoder.digest,
        data_digest=digest,
        chunking=asdict(chunking),
    )
    _publish(index, manifest, folder)
    (pointer.moved_to(manifest.version) if pointer else Pointer(manifest.version)).write(folder)
    return manifest


def data_digest(passages: Iterable[Passage]) -> str:
    """Names the indexed content: equal for equal passages in equal order."""
    digest = hashlib.sha256()
    for passage in passages:
        digest.update(json.dumps(asdict(passage), sort_keys=True).encode())
    return digest.hexdigest()


def _unchanged(
    folder: Path, digest: str, encoder: StaticEncoder, chunking: Chunking
) -> IndexManifest | None:
    if not (folder / MANIFEST).is_file():
        return None
    manifest = IndexManifest.read(folder)
    asked = (digest, encoder.digest, asdict(chunking))
    same = asked == (manifest.data_digest, manifest.encoder_digest, manifest.chunking)
    return manifest if same else None


def _encoded(passages: list[Passage], encoder: StaticEncoder, on_progress: Progress) -> Vectors:
    vectors = np.empty((len(passages), encoder.dimension), dtype=np.float32)
    for start in range(0, len(passages), BATCH):
        batch = passages[start : start + BATCH]
        texts = [embedded_text(passage) for passage in batch]
        vectors[start : start + len(batch)] = encoder.encode(texts)
        on_progress(start + len(batch), len(passages))
    return vectors


def _publish(index: PassageIndex, manifest: IndexManifest, folder: Path) -> None:
    """Write the version beside its place, the manifest last, and rename it there."""
    folder.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{manifest.version}-", dir=folder))
    try:
        index.write(staged)
        manifest.write(staged)
        _made_readable(staged)
        staged.rename(folder / manifest.version)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _made_readable(folder: Path) -> None:
    """Temporary folders and safetensors files are private; a gateway may run as another user."""
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)
