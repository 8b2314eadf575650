"""A domain's passages in FAISS and BM25, built in memory and opened from one version's folder.

index.faiss  lexical.safetensors  vocabulary.json  passages.jsonl  manifest.json
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.encoder import StaticEncoder, Vectors
from retrieval.errors import IndexingError
from retrieval.lexical import LexicalIndex
from retrieval.passages import Passage

FORMAT = 1
MANIFEST = "manifest.json"

# Measured on one core, 384 dimensions: flat 0.57 ms at 10k vectors and 11 ms at 100k; HNSW with 16
# neighbours and ef 32 0.1 ms at both, with recall 0.99.
FLAT_LIMIT = 20_000
HNSW_NEIGHBOURS = 16
HNSW_EF_BUILD = 80
HNSW_EF_SEARCH = 64

# Share of BM25 in a passage's score; the rest is the cosine. See benchmarks/RESULTS.md.
LEXICAL_SHARE = 0.7
CANDIDATES = 50


@dataclass(frozen=True, slots=True)
class IndexManifest:
    """What an index says about itself; enough to build the same one again."""

    format: int
    domain: str
    version: str
    created: str
    kind: str
    documents: int
    passages: int
    dimension: int
    encoder_digest: str
    data_digest: str
    chunking: dict[str, int]

    @classmethod
    def read(cls, folder: Path) -> "IndexManifest":
        file = folder / MANIFEST
        try:
            manifest = cls(**json.loads(file.read_bytes()))
        except FileNotFoundError as exc:
            raise IndexingError(f"{file} is missing; ingest the documents again") from exc
        except (ValueError, TypeError) as exc:
            raise IndexingError(f"{file} cannot be read: {exc}; ingest again") from exc
        if manifest.format != FORMAT:
            raise IndexingError(
                f"{file} has format {manifest.format}, this version reads {FORMAT}; ingest again"
            )
        return manifest

    def write(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


class PassageIndex:
    """Searchable passages; never changes, so threads may share it."""

    def __init__(
        self, passages: Sequence[Passage], vectors: faiss.Index, lexical: LexicalIndex
    ) -> None:
        self.passages = passages
        self._vectors = vectors
        self._lexical = lexical

    @classmethod
    def build(cls, passages: Sequence[Passage], vectors: Vectors) -> "PassageIndex":
        """An index over unit `vectors`, one per passage in the same order."""
        texts = [embedded_text(passage) for passage in passages]
        return cls(passages, _vector_index(vectors), LexicalIndex.build(texts))

    @property
    def kind(self) -> str:
        return "hnsw" if isinstance(self._vectors, faiss.IndexHNSW) else "flat"

    def search(self, query: str, vector: Vectors, top_k: int, min_score: float) -> list[Passage]:
        """The best passages, best first; `vector` is the query's unit vector [dimension].

        Candidates come from both legs and are scored by both, so it does not matter which leg
        found a passage. Scores lie in [-0.3, 1].
        """
        wanted = max(CANDIDATES, 2 * top_k)
        cosines, near = self._vectors.search(vector[None, :], min(wanted, len(self.passages)))
        lexical = self._lexical.scores(query)
        by_cosine = {int(row): float(c) for row, c in zip(near[0], cosines[0], strict=True)}
        by_cosine.pop(-1, None)  # FAISS fills up with -1 where HNSW finds too few
        for row in _largest(lexical, wanted):
            if row not in by_cosine:
                by_cosine[row] = float(self._vectors.reconstruct(row) @ vector)
        scored = [
            (LEXICAL_SHARE * float(lexical[row]) + (1 - LEXICAL_SHARE) * cosine, row)
            for row, cosine in by_cosine.items()
        ]
        scored.sort(key=lambda pair: (-pair[0], pair[1]))
        return [
            _with_score(self.passages[row], score)
            for score, row in scored[:top_k]
            if score >= min_score
        ]

    def write(self, folder: Path) -> None:
        faiss.write_index(self._vectors, str(folder / "index.faiss"))
        self._lexical.save(folder)
        with (folder / "passages.jsonl").open("w", encoding="utf-8") as lines:
            for passage in self.passages:
                lines.write(json.dumps(_row(passage), ensure_ascii=False) + "\n")

    @classmethod
    def open(cls, folder: Path, encoder: StaticEncoder) -> "PassageIndex":
        """Read one version's folder; raises IndexingError if it is broken or not `encoder`'s."""
        manifest = IndexManifest.read(folder)
        if manifest.encoder_digest != encoder.digest:
            raise IndexingError(
                f"{folder} was built with encoder {manifest.encoder_digest[:8]}, "
                f"the one in use is {encoder.digest[:8]}; ingest the documents again"
            )
        vectors, passages = _read_vectors(folder), _read_passages(folder)
        if not vectors.ntotal == len(passages) == manifest.passages:
            raise IndexingError(
                f"{folder} holds {vectors.ntotal} vectors and {len(passages)} passages, "
                f"its manifest says {manifest.passages}; ingest the documents again"
            )
        return cls(passages, vectors, LexicalIndex.load(folder))


def embedded_text(passage: Passage) -> str:
    """What is indexed: the title counts, as pieces of a document seldom repeat their subject."""
    return f"{passage.title}\n{passage.text}"


def _vector_index(vectors: Vectors) -> faiss.Index:
    size, dimension = vectors.shape
    if size <= FLAT_LIMIT:
        flat = faiss.IndexFlatIP(dimension)
        flat.add(np.ascontiguousarray(vectors))
        return flat
    graph = faiss.IndexHNSWFlat(dimension, HNSW_NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = HNSW_EF_BUILD
    graph.hnsw.efSearch = HNSW_EF_SEARCH
    graph.add(np.ascontiguousarray(vectors))
    return graph


def _largest(scores: npt.NDArray[np.float32], count: int) -> list[int]:
    """Rows of the largest positive scores, in no particular order."""
    rows = np.flatnonzero(scores)
    if len(rows) > count:
        rows = rows[np.argpartition(-scores[rows], count)[:count]]
    return [int(row) for row in rows]


def _with_score(passage: Passage, score: float) -> Passage:
    return Passage(
        passage.id,
        passage.doc_id,
        passage.title,
        passage.text,
        score,
        passage.source,
        passage.url,
    )


def _row(passage: Passage) -> dict[str, Any]:
    row = asdict(passage)
    del row["score"]
    return row


def _read_vectors(folder: Path) -> faiss.Index:
    try:
        return faiss.read_index(str(folder / "index.faiss"))
    except RuntimeError as exc:  # all that FAISS raises
        raise IndexingError(f"{folder}/index.faiss cannot be read; ingest again") from exc


def _read_passages(folder: Path) -> list[Passage]:
    try:
        with (folder / "passages.jsonl").open("rb") as lines:
            return [Passage(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as exc:
        raise IndexingError(f"{folder}/passages.jsonl cannot be read: {exc}; ingest again") from exc
