"""Routing quality and time on real queries, beside TF-IDF with logistic regression.

    python -m benchmarks.router [--data ../shared/data] [--documents] [--sources]

`--documents` fits with the domains' documents too; `--sources` adds accuracy on each source that
was left out of the fit (minutes). Prints one JSON document.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline

from router import Router
from router.artefact import write
from router.embeddings import PieceEmbeddings
from router.evaluate import evaluate
from router.examples import Example, read_documents, read_examples
from router.fit import FitArguments, fit

MODEL = Path.home() / ".cache" / "turnout" / "models" / "minilm-static"
LEAST_SOURCE = 60
MERGED_SOURCES = ("CLINC150", "LegalBench")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--documents", action="store_true")
    parser.add_argument("--sources", action="store_true")
    options = parser.parse_args()

    train = read_examples(options.data / "routing" / "train.jsonl")
    test = read_examples(options.data / "routing" / "eval.jsonl")
    documents = read_documents(options.data) if options.documents else {}
    embeddings = PieceEmbeddings.load(options.model)

    start = time.perf_counter()
    router = fitted_router(train, embeddings, documents, FitArguments())
    seconds = time.perf_counter() - start
    report = evaluate(router, test).as_json()
    words = " ".join(example.text for example in test[::37]).split()
    result = {
        "fit_seconds": seconds,
        "router": {name: report[name] for name in ("accuracy", "macro_f1", "ece", "aurc")},
        "slices": report["slices"],
        "tfidf": baseline_accuracy(train, test),
        "decide_us": {
            count: decision_time(router, " ".join(words[:count])) for count in (15, 150, 1_500)
        },
    }
    if options.sources:
        file = options.data / "routing" / "train.jsonl"
        result["sources"] = unseen_sources(train, sources_of(file), embeddings, documents)
    print(json.dumps(result, indent=2))


def fitted_router(
    train: Sequence[Example],
    embeddings: PieceEmbeddings,
    documents: dict[str, list[str]],
    arguments: FitArguments,
) -> Router:
    fitted = fit(train, embeddings, documents=documents, arguments=arguments)
    with tempfile.TemporaryDirectory() as folder:
        return Router.load(write(fitted, Path(folder) / "router"))


def decision_time(router: Router, text: str) -> dict[str, float]:
    """Microseconds; the least is what the code costs when nothing else runs."""
    times = []
    for _ in range(2_000):
        start = time.perf_counter_ns()
        router.decide(text)
        times.append((time.perf_counter_ns() - start) / 1e3)
    return {"least": min(times), "p50": median(times)}


def baseline_accuracy(train: Sequence[Example], test: Sequence[Example]) -> float:
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    letters = TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 5), min_df=2)
    model = make_pipeline(
        FeatureUnion([("words", words), ("letters", letters)]),
        LogisticRegression(C=10.0, max_iter=1_000),
    )
    model.fit([e.text for e in train], [e.label for e in train])
    return float(model.score([e.text for e in test], [e.label for e in test]))


def sources_of(file: Path) -> list[str]:
    """Each line's source; the many small ones of one collection count as one."""
    sources = [json.loads(line)["source"] for line in file.read_text().splitlines()]
    return [s.split("/")[0] if s.startswith(MERGED_SOURCES) else s for s in sources]


def unseen_sources(
    train: Sequence[Example],
    sources: Sequence[str],
    embeddings: PieceEmbeddings,
    documents: dict[str, list[str]],
) -> dict[str, object]:
    """Accuracy on each source with LEAST_SOURCE or more queries, by a fit without it."""
    arguments = replace(FitArguments(), folds=2)
    accuracies = {}
    for source in sorted(set(sources)):
        inside = [e for e, s in zip(train, sources, strict=True) if s != source]
        outside = [e for e, s in zip(train, sources, strict=True) if s == source]
        if len(outside) >= LEAST_SOURCE:
            router = fitted_router(inside, embeddings, documents, arguments)
            accuracies[source] = evaluate(router, outside).accuracy
    return {"mean": mean(accuracies.values()), "accuracy": accuracies}


if __name__ == "__main__":
    main()
