"""PyPI `semantic-router` on queries and vectors it is handed; runs in the peer's own environment:
`python -m benchmarks.semantic_router_peer FOLDER` reads FOLDER/job.json and writes answers.json."""

import json
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from semantic_router import IndexedRouter, Route
from semantic_router.encoders import DenseEncoder

from router.decision import GENERAL
from router.second.encoder import SentenceEncoder

# Neighbours and what becomes of their similarities; the first is the package's own choice.
SETTINGS = ((5, "mean"), (5, "sum"), (20, "sum"), (1, "max"))
HELD_OUT = 400

Pairs = Sequence[tuple[str, str]]


class SameEncoder(DenseEncoder):
    """The encoder of our second stage; `known` are vectors of the utterances."""

    encoder: SentenceEncoder
    known: dict[str, Any]
    nanoseconds: int = 0

    def __call__(self, docs: list[str]) -> list[Any]:
        start = time.perf_counter_ns()
        found = [
            self.known[doc] if doc in self.known else self.encoder.encode([doc])[0] for doc in docs
        ]
        self.nanoseconds += time.perf_counter_ns() - start
        return found


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_bytes())
    train: Pairs = [(text, label) for text, label in job["train"]]
    known = dict(zip((text for text, _ in train), np.load(folder / "vectors.npy"), strict=True))
    encoder = SameEncoder(name="same", encoder=SentenceEncoder.load(folder), known=known)
    usual = IndexedRouter(encoder=encoder, routes=_routes(train))
    chosen, settings = _chosen(encoder, train)
    # From here on a text costs its encoding, whether it was seen or not.
    encoder.known = {}
    found = {
        "as it comes": {"settings": {"general": "a route"}, **_answers(usual, job["test"])},
        "tuned": {"settings": settings, **_answers(chosen, job["test"])},
    }
    (folder / "answers.json").write_text(json.dumps(found))


def _chosen(encoder: SameEncoder, train: Pairs) -> tuple[IndexedRouter, dict[str, Any]]:
    """The best of SETTINGS, with `general` as a route and as no route, on queries held out; its
    calibration is fitted on these too, as the package's guide asks, and all queries are stored."""
    order = np.random.default_rng(0).permutation(len(train))
    most = min(HELD_OUT, len(train) // 5)
    held, kept = ([train[row] for row in rows] for rows in (order[:most], order[most:]))
    found = []
    for general, (top_k, aggregation) in product((True, False), SETTINGS):
        arguments = {"encoder": encoder, "top_k": top_k, "aggregation": aggregation}
        tried = IndexedRouter(routes=_routes(kept, general=general), **arguments)
        labels = [label if general or label != GENERAL else None for _, label in held]
        tried.fit([text for text, _ in held], labels)
        threshold, right = _threshold(tried, held, general=general)
        found.append((right, general, threshold, arguments, tried.calibrator))
    right, general, threshold, arguments, calibrator = max(found, key=lambda each: each[0])
    chosen = IndexedRouter(
        routes=_routes(train, general=general),
        calibrator=calibrator,
        confidence_threshold=threshold,
        **arguments,
    )
    return chosen, {
        "general": "a route" if general else "no route",
        "top_k": arguments["top_k"],
        "aggregation": arguments["aggregation"],
        "threshold": threshold,
        "held_out_accuracy": right,
    }


def _threshold(tried: IndexedRouter, held: Pairs, *, general: bool) -> tuple[float | None, float]:
    """The confidence below which no route is taken, and the accuracy it has on `held`."""
    choices = [tried(text) for text, _ in held]
    confidence = np.array([choice.confidence for choice in choices])
    best = np.array([choice.name for choice in choices])
    truth = np.array([label for _, label in held])
    if general:
        return None, float((best == truth).mean())
    candidates = np.unique(confidence).tolist()
    accuracies = [
        float((np.where(confidence < candidate, GENERAL, best) == truth).mean())
        for candidate in candidates
    ]
    place = int(np.argmax(accuracies))
    return candidates[place], accuracies[place]


def _routes(pairs: Pairs, *, general: bool = True) -> list[Route]:
    labels = sorted({label for _, label in pairs} - (set() if general else {GENERAL}))
    return [
        Route(name=name, utterances=[t for t, label in pairs if label == name]) for name in labels
    ]


def _answers(router: IndexedRouter, texts: Sequence[str]) -> dict[str, Any]:
    """Label and probability (None where it gives none) of each text; microseconds of each, and on
    average inside the encoder."""
    rows, times = [], []
    router.encoder.nanoseconds = 0
    for text in texts:
        start = time.perf_counter_ns()
        choice = router(text)
        times.append((time.perf_counter_ns() - start) / 1e3)
        known = choice.name is not None and choice.calibrated
        rows.append((choice.name or GENERAL, float(choice.confidence) if known else None))
    encoding = router.encoder.nanoseconds / 1e3 / len(texts)
    return {"answers": rows, "times_us": times, "encoder_us": encoding}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
