"""Accuracy on each source by fits that have not seen it: the router and simpler classifiers."""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from adapters.cli import show_table
from router.calibration import expected_calibration_error, reliability
from router.examples import Example
from router.second.encoder import Progress, SentenceEncoder
from router.second.stage import Cascade

LEAST = 60
MERGED = ("CLINC150", "LegalBench")
DRAWS = 1_000
NAMES = ("first stage", "cascade", "TF-IDF", "MiniLM")

Vectors = npt.NDArray[np.float32]
Say = Callable[[str], None]
Fit = Callable[[Sequence[Example]], Cascade]


class RememberingEncoder(SentenceEncoder):
    """Encodes a text once, however many fits there are."""

    _seen: dict[str, Vectors]

    def encode(
        self, texts: Sequence[str], on_progress: Progress = lambda done, total: None
    ) -> Vectors:
        if not hasattr(self, "_seen"):
            self._seen = {}
        new = list(dict.fromkeys(text for text in texts if text not in self._seen))
        self._seen |= dict(zip(new, super().encode(new, on_progress), strict=True)) if new else {}
        return np.stack([self._seen[text] for text in texts])


def large(examples: Sequence[Example]) -> list[str]:
    """Sources of at least LEAST examples; the many small ones of a collection are one."""
    names = [source_of(example) for example in examples]
    return [name for name in sorted(set(names)) if names.count(name) >= LEAST]


def source_of(example: Example) -> str:
    return example.source.split("/")[0] if example.source.startswith(MERGED) else example.source


def left_out(
    examples: Sequence[Example], encoder: SentenceEncoder, fit: Fit, say: Say
) -> dict[str, Any]:
    """Each large source judged by `fit` on all others, and by the baselines on the same."""
    rows: dict[str, dict[str, float]] = {}
    confidences: list[float] = []
    hits: list[bool] = []
    for source in large(examples):
        say(f"without {source}")
        inside = [example for example in examples if source_of(example) != source]
        outside = [example for example in examples if source_of(example) == source]
        cascade = fit(inside)
        decisions = [cascade.decide(example.text) for example in outside]
        right = [d.target == e.label for d, e in zip(decisions, outside, strict=True)]
        confidences += [decision.probability for decision in decisions]
        hits += right
        first = [cascade.first.decide(e.text).target == e.label for e in outside]
        rows[source] = {
            "n": len(outside),
            "first stage": mean(first),
            "cascade": mean(right),
            "TF-IDF": _tfidf_accuracy(inside, outside),
            "MiniLM": _minilm_accuracy(encoder, inside, outside),
            "second_share": mean(decision.stage == 2 for decision in decisions),
        }
    return {
        "mean": {name: mean(row[name] for row in rows.values()) for name in NAMES},
        "ahead_ci95": {
            name: _interval([row["cascade"] - row[name] for row in rows.values()])
            for name in ("TF-IDF", "MiniLM")
        },
        "ece": expected_calibration_error(reliability(np.array(confidences), np.array(hits))),
        "second_share": mean(row["second_share"] for row in rows.values()),
        "sources": rows,
    }


def tfidf() -> Pipeline:
    """Words, pairs and letters with logistic regression, as people build it."""
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    letters = TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 5), min_df=2)
    return make_pipeline(
        FeatureUnion([("words", words), ("letters", letters)]),
        LogisticRegression(C=10.0, max_iter=1_000, tol=1e-3),
    )


def _tfidf_accuracy(inside: Sequence[Example], outside: Sequence[Example]) -> float:
    model = tfidf().fit([e.text for e in inside], [e.label for e in inside])
    return float(model.score([e.text for e in outside], [e.label for e in outside]))


def minilm(encoder: SentenceEncoder, inside: Sequence[Example]) -> LogisticRegression:
    """Logistic regression on the vectors of the second stage's encoder."""
    model = LogisticRegression(C=10.0, max_iter=1_000)
    return model.fit(encoder.encode([e.text for e in inside]), [e.label for e in inside])


def _minilm_accuracy(
    encoder: SentenceEncoder, inside: Sequence[Example], outside: Sequence[Example]
) -> float:
    model = minilm(encoder, inside)
    return float(model.score(encoder.encode([e.text for e in outside]), [e.label for e in outside]))


def _interval(differences: Sequence[float]) -> list[float]:
    """Of their mean at 95 %, sources drawn anew."""
    random = np.random.default_rng(0)
    drawn = random.choice(np.array(differences), (DRAWS, len(differences))).mean(axis=1)
    return [float(value) for value in np.percentile(drawn, [2.5, 97.5])]


def show(found: Mapping[str, Any]) -> None:
    rows = [
        (source, row["n"], *(f"{row[name]:.2f}" for name in NAMES))
        for source, row in found["sources"].items()
    ]
    means = tuple(f"{found['mean'][name]:.3f}" for name in NAMES)
    show_table(("left out", "n", *NAMES), [*rows, ("mean", "", *means)])
