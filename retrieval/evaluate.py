"""How well documents are found: recall, nDCG and MRR over judged queries, with the serving code."""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.chunking import Chunking, passages_of
from retrieval.documents import Document
from retrieval.encoder import StaticEncoder
from retrieval.errors import DocumentError
from retrieval.index import PassageIndex, embedded_text

DEPTH = 10
PASSAGES = 50

Judgements = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """Means over queries; a document counts at the rank of its best passage. Times are ms."""

    n_queries: int
    n_documents: int
    recall: Mapping[int, float]
    ndcg10: float
    mrr10: float
    p50: float
    p99: float

    def as_json(self) -> dict[str, Any]:
        return {
            "n_queries": self.n_queries,
            "n_documents": self.n_documents,
            "recall": {str(depth): value for depth, value in self.recall.items()},
            "ndcg10": self.ndcg10,
            "mrr10": self.mrr10,
            "latency_ms": {"p50": self.p50, "p99": self.p99},
        }


def read_judgements(file: Path) -> dict[str, dict[str, float]]:
    """`{"query", "doc_id", "relevance"}` lines, by query; relevance is 1 where it is left out."""
    judged: dict[str, dict[str, float]] = {}
    try:
        lines = file.read_bytes().splitlines()
    except OSError as exc:
        raise DocumentError(f"{file} cannot be read: {exc.strerror}") from exc
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            query, document = row["query"], row["doc_id"]
            relevance = float(row.get("relevance", 1))
            if not (isinstance(query, str) and isinstance(document, str) and 0 <= relevance < 100):
                raise ValueError("wrong types")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise DocumentError(
                f'{file}:{number}: expected {{"query": str, "doc_id": str, "relevance": number}}'
            ) from exc
        if relevance > 0:
            judged.setdefault(query, {})[document] = relevance
    if not judged:
        raise DocumentError(f"{file} holds no judged query")
    return judged


def evaluate(
    documents: Sequence[Document],
    judged: Judgements,
    encoder: StaticEncoder,
    *,
    chunking: Chunking | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> RetrievalReport:
    """Index `documents` in memory, ask every judged query, and score the rankings."""
    passages = [p for document in documents for p in passages_of(document, chunking or Chunking())]
    vectors = encoder.encode([embedded_text(passage) for passage in passages])
    index = PassageIndex.build(passages, vectors)
    rankings, milliseconds = [], []
    for done, query in enumerate(judged, 1):
        start = time.perf_counter()
        found = index.search(query, encoder.encode([query])[0], PASSAGES, -1.0)
        milliseconds.append((time.perf_counter() - start) * 1e3)
        rankings.append(list(dict.fromkeys(passage.doc_id for passage in found)))
        on_progress(done, len(judged))
    return _report(rankings, list(judged.values()), len(documents), milliseconds)


def ndcg(ranking: Sequence[str], relevant: Mapping[str, float]) -> float:
    """Normalised discounted cumulative gain at DEPTH, with gain 2^relevance - 1."""
    gains = [2 ** relevant.get(document, 0.0) - 1 for document in ranking[:DEPTH]]
    ideal = sorted((2**value - 1 for value in relevant.values()), reverse=True)[:DEPTH]
    return _discounted(gains) / _discounted(ideal)


def reciprocal_rank(ranking: Sequence[str], relevant: Mapping[str, float]) -> float:
    """One over the rank of the first relevant document, 0 if none is in the first DEPTH."""
    ranks = (rank for rank, document in enumerate(ranking[:DEPTH], 1) if document in relevant)
    return 1 / next(ranks, math.inf)


def recall(ranking: Sequence[str], relevant: Mapping[str, float], depth: int) -> float:
    """Share of the relevant documents among the first `depth`."""
    return len(relevant.keys() & set(ranking[:depth])) / len(relevant)


def _discounted(gains: Iterable[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def _report(
    rankings: list[list[str]],
    relevant: list[Mapping[str, float]],
    n_documents: int,
    milliseconds: list[float],
) -> RetrievalReport:
    pairs = list(zip(rankings, relevant, strict=True))
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return RetrievalReport(
        n_queries=len(pairs),
        n_documents=n_documents,
        recall={depth: _mean(recall(*pair, depth) for pair in pairs) for depth in (1, 5, 10)},
        ndcg10=_mean(ndcg(*pair) for pair in pairs),
        mrr10=_mean(reciprocal_rank(*pair) for pair in pairs),
        p50=float(p50),
        p99=float(p99),
    )


def _mean(values: Iterable[float]) -> float:
    collected = list(values)
    return sum(collected) / len(collected)
