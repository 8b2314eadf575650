"""Other ways to route, fitted on the same queries and asked one query at a time, as a gateway would
ask them. Each gives one row of scores."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.installed import NotInstalled, python_environment
from benchmarks.sources import minilm, tfidf
from router.decision import Decision
from router.examples import Example
from router.quality.evaluate import evaluate
from router.second.encoder import SentenceEncoder

ROOT = Path(__file__).parents[1]
SEMANTIC_ROUTER = "semantic-router"
# Beside the peer, what our encoder needs: it is the same code on the same weights.
REQUIREMENTS = (
    "semantic-router==1.1.1",
    *(f"{name}=={version(name)}" for name in ("msgspec", "numpy", "onnxruntime", "safetensors")),
    f"tokenizers=={version('tokenizers')}",
)

Row = dict[str, Any]
Shares = Callable[[str], npt.NDArray[np.float64]]


class PeerFailed(Exception):
    """A peer ended with an error; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Queries:
    """What all are fitted on and scored on. `remembering` has the vectors of `train` already;
    `encoder` computes anew, as it must while it is timed."""

    train: Sequence[Example]
    test: Sequence[Example]
    remembering: SentenceEncoder
    encoder: SentenceEncoder
    home: Path


class Decider(Protocol):
    """Whatever `evaluate` can ask."""

    @property
    def threshold(self) -> float: ...

    def decide(self, text: str) -> Decision: ...


@dataclass(frozen=True, slots=True)
class Linear:
    """A classifier of scikit-learn; `shares` are its probabilities of a text."""

    labels: Sequence[str]
    shares: Shares
    threshold: float = 0.0

    def decide(self, text: str) -> Decision:
        scores = self.shares(text).tolist()
        probability = max(scores)
        best = self.labels[scores.index(probability)]
        return Decision(best, probability, dict(zip(self.labels, scores, strict=True)))


@dataclass(frozen=True, slots=True)
class Told:
    """Answers given elsewhere, by text."""

    answers: Mapping[str, tuple[str, float | None]]
    threshold: float = 0.0

    def decide(self, text: str) -> Decision:
        label, probability = self.answers[text]
        return Decision(label, probability or 0.0, {label: probability or 0.0})


def row_of(report: Mapping[str, Any]) -> Row:
    """What is compared, of an evaluation's JSON."""
    names = ("accuracy", "accuracy_ci95", "macro_f1", "ece", "aurc", "surest_accuracy")
    slices = report["slices"]
    return {
        **{name: report[name] for name in names},
        **{name: slices.get(name, {}).get("accuracy") for name in ("oos", "very_short")},
        "latency_us": {"mean": report["mean_us"], **report["latency_us"]},
    }


def scored(decider: Decider, test: Sequence[Example]) -> Row:
    return row_of(evaluate(decider, test).as_json())


def tfidf_rows(queries: Queries) -> dict[str, Row]:
    texts, labels = _columns(queries.train)
    model = tfidf().fit(texts, labels)
    decider = Linear(model.classes_.tolist(), lambda text: model.predict_proba([text])[0])
    return {"TF-IDF with LR": scored(decider, queries.test)}


def minilm_rows(queries: Queries) -> dict[str, Row]:
    model = minilm(queries.remembering, queries.train)
    encode = queries.encoder.encode
    decider = Linear(model.classes_.tolist(), lambda text: model.predict_proba(encode([text]))[0])
    return {"MiniLM with LR": scored(decider, queries.test)}


def semantic_router_rows(queries: Queries) -> dict[str, Row]:
    """As it comes, and with the settings that are best on queries held out of the training;
    raises NotInstalled or PeerFailed."""
    environment = queries.home / SEMANTIC_ROUTER
    try:
        python_environment(environment, REQUIREMENTS, SEMANTIC_ROUTER)
    except NotInstalled as exc:
        raise NotInstalled(f"{exc}; it comes from PyPI, or leave it out with --peers") from exc
    with tempfile.TemporaryDirectory() as name:
        found = _asked(environment / "bin" / "python", queries, Path(name))
    return {f"{SEMANTIC_ROUTER}, {how}": _told(row, queries.test) for how, row in found.items()}


def _asked(python: Path, queries: Queries, folder: Path) -> dict[str, Row]:
    # The peer stores a text once for each route; one of two labels of one text must go.
    train = list(
        {example.text: (example.text, example.label) for example in queries.train}.values()
    )
    job = {"train": train, "test": [example.text for example in queries.test]}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    np.save(folder / "vectors.npy", queries.remembering.encode([text for text, _ in train]))
    queries.encoder.save(folder)
    command = [str(python), "-m", "benchmarks.semantic_router_peer", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines() or ["no message"]
        raise PeerFailed(f"{SEMANTIC_ROUTER} ended with {done.returncode}: {last[-1][:300]}")
    answers: dict[str, Row] = json.loads((folder / "answers.json").read_bytes())
    return answers


def _told(found: Row, test: Sequence[Example]) -> Row:
    answers = [(label, share) for label, share in found["answers"]]
    texts = [example.text for example in test]
    row = scored(Told(dict(zip(texts, answers, strict=True))), test)
    if any(share is None for _, share in answers):
        row |= dict.fromkeys(("ece", "aurc", "surest_accuracy"))
    p50, p99 = np.percentile(found["times_us"], [50, 99])
    times = {"mean": mean(found["times_us"]), "p50": float(p50), "p99": float(p99)}
    return row | {
        "latency_us": times | {"mean_in_encoder": found["encoder_us"]},
        "settings": found["settings"],
    }


def _columns(examples: Sequence[Example]) -> tuple[list[str], list[str]]:
    return [example.text for example in examples], [example.label for example in examples]


PEERS: Mapping[str, Callable[[Queries], dict[str, Row]]] = {
    "tfidf": tfidf_rows,
    "minilm": minilm_rows,
    SEMANTIC_ROUTER: semantic_router_rows,
}
