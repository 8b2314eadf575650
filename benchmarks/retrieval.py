"""Retrieval quality and time on real documents and judged queries, and what each part adds.

    python -m benchmarks.retrieval [--data ../shared/data] [--packs examples/espresso ...]

A domain needs documents.jsonl and qrels.jsonl, a pack documents/ and questions.jsonl. Prints one
JSON document.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import mean, median

import numpy as np

from retrieval.documents import Document, read_documents
from retrieval.encoder import StaticEncoder, normalised
from retrieval.evaluate import Judgements, evaluate, read_judgements
from retrieval.index import PassageIndex
from retrieval.passages import Passage

MODEL = Path.home() / ".cache" / "turnout" / "models" / "minilm-static"
SIZES = (1_000, 10_000, 50_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--packs", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    encoder = StaticEncoder.load(options.model)

    corpora = {
        file.parent.name: (read_documents(file.parent / "documents.jsonl"), read_judgements(file))
        for file in sorted(options.data.glob("*/qrels.jsonl"))
    }
    for pack in options.packs:
        questions = read_judgements(pack / "questions.jsonl")
        corpora[pack.name] = (read_documents(pack / "documents"), questions)
    rows = {name: measured(*corpus, encoder) for name, corpus in corpora.items()}
    result = {
        "domains": rows,
        "mean_ndcg10": mean(row["ndcg10"] for row in rows.values()),
        "mean_ndcg10_without_titles": mean(row["ndcg10_without_titles"] for row in rows.values()),
        "search_ms_by_passages": {size: search_time(encoder, size) for size in SIZES},
    }
    print(json.dumps(result, indent=2))


def measured(
    documents: list[Document], judged: Judgements, encoder: StaticEncoder
) -> dict[str, float]:
    report = evaluate(documents, judged, encoder)
    untitled = [Document(d.id, "", d.text) for d in documents]
    return {
        "ndcg10": report.ndcg10,
        "recall10": report.recall[10],
        "mrr10": report.mrr10,
        "p50_ms": report.p50,
        "ndcg10_without_titles": evaluate(untitled, judged, encoder).ndcg10,
    }


def search_time(encoder: StaticEncoder, size: int) -> float:
    """Median milliseconds of one search, query encoding included, over made-up passages."""
    random = np.random.default_rng(0)
    vectors = normalised(random.standard_normal((size, encoder.dimension)).astype(np.float32))
    words = [f"word{n}" for n in range(5_000)]
    passages = [
        Passage(f"d{n}#0", f"d{n}", "", " ".join(random.choice(words, 40))) for n in range(size)
    ]
    index = PassageIndex.build(passages, vectors)
    times = []
    for number in range(100):
        query = f"what is word{number} and why does word{number + 7} need word{number + 30}?"
        start = time.perf_counter()
        index.search(query, encoder.encode([query])[0], 4, 0.0)
        times.append((time.perf_counter() - start) * 1e3)
    return median(times)


if __name__ == "__main__":
    main()
