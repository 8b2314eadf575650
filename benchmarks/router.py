"""`turnout bench router`: routing quality and time on real queries, beside TF-IDF with logistic
regression."""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any, Protocol

import click
from rich.console import Console
from rich.progress import Progress
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline

from adapters.cli import as_json, show_json, show_table
from router import Router
from router.artefact import write
from router.embeddings import PieceEmbeddings
from router.evaluate import evaluate
from router.examples import Example, read_documents, read_examples
from router.fit import FitArguments, fit

LEAST_SOURCE = 60
MERGED_SOURCES = ("CLINC150", "LegalBench")
# Microseconds that the median decision on so many words may take; None is only reported.
BUDGETS = {15: 60, 150: None, 1_500: 250}
_DECISIONS = 2_000
_PARTS = ("least", "p50", "p99", "same_text")

Say = Callable[[str], None]


class Workspace(Protocol):
    """What this verb needs of the command's workspace."""

    @property
    def encoder(self) -> Path: ...


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="TURNOUT_DATA",
    default="../shared/data",
    show_default="TURNOUT_DATA, or ../shared/data",
    help="Holds routing/train.jsonl, routing/eval.jsonl and LABEL/documents.jsonl.",
)
@click.option("--documents", is_flag=True, help="Fit with the domains' documents too.")
@click.option(
    "--sources",
    is_flag=True,
    help="Also accuracy on each source, by a fit without it; takes minutes.",
)
@as_json
@click.pass_obj
def router(workspace: Workspace, data: Path, documents: bool, sources: bool, as_json: bool) -> None:
    """Fit on real queries; accuracy, calibration and the time of a decision against its budget.

    Run it on a quiet machine. Exit code 1 if the median decision is over its budget.
    """
    corpus = _Corpus.read(data, workspace.encoder, documents=documents)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=corpus.steps(sources=sources))

        def say(what: str) -> None:
            progress.update(task, description=what, advance=1)

        found = _measured(corpus, say)
        if sources:
            found["sources"] = _unseen_sources(corpus, say)
        say("done")
    if as_json:
        show_json(found)
    else:
        _show(found)
    raise SystemExit(0 if all(row["kept"] for row in found["decide_us"].values()) else 1)


@dataclass(frozen=True, slots=True)
class _Corpus:
    """Queries to fit on and to score on; `sources` says where each of the first came from."""

    train: Sequence[Example]
    test: Sequence[Example]
    sources: Sequence[str]
    documents: dict[str, list[str]]
    embeddings: PieceEmbeddings

    @classmethod
    def read(cls, data: Path, encoder: Path, *, documents: bool) -> "_Corpus":
        file = data / "routing" / "train.jsonl"
        return cls(
            read_examples(file),
            read_examples(data / "routing" / "eval.jsonl"),
            _sources_of(file),
            read_documents(data) if documents else {},
            PieceEmbeddings.load(encoder),
        )

    def steps(self, *, sources: bool) -> int:
        return 4 + (len(self.large_sources()) if sources else 0)

    def large_sources(self) -> list[str]:
        names = sorted(set(self.sources))
        return [name for name in names if self.sources.count(name) >= LEAST_SOURCE]

    def without(self, source: str) -> tuple[list[Example], list[Example]]:
        """The other sources' queries, and this one's."""
        pairs = list(zip(self.train, self.sources, strict=True))
        return [e for e, s in pairs if s != source], [e for e, s in pairs if s == source]


def _measured(corpus: _Corpus, say: Say) -> dict[str, Any]:
    say("fitting")
    start = time.perf_counter()
    fitted = _fitted(corpus, corpus.train, FitArguments())
    seconds = time.perf_counter() - start
    say("evaluating")
    report = evaluate(fitted, corpus.test).as_json()
    say("timing decisions")
    words = " ".join(example.text for example in corpus.test).split()
    times = {
        str(count): _decision_time(fitted, words, count, budget)
        for count, budget in BUDGETS.items()
    }
    say("fitting TF-IDF")
    return {
        "fit_seconds": seconds,
        "router": {name: report[name] for name in ("accuracy", "macro_f1", "ece", "aurc")},
        "slices": report["slices"],
        "tfidf": _baseline_accuracy(corpus.train, corpus.test),
        "decide_us": times,
    }


def _fitted(corpus: _Corpus, train: Sequence[Example], arguments: FitArguments) -> Router:
    fitted = fit(train, corpus.embeddings, documents=corpus.documents, arguments=arguments)
    with tempfile.TemporaryDirectory() as folder:
        return Router.load(write(fitted, Path(folder) / "router"))


def _decision_time(
    fitted: Router, words: Sequence[str], count: int, budget: int | None
) -> dict[str, Any]:
    """Microseconds, each time for another text. `least` is what the code costs when nothing else
    runs, `same_text` what it costs while the processor's caches hold all that is needed."""
    places = max(1, len(words) - count)
    starts = [number * 97 % places for number in range(_DECISIONS)]
    texts = [" ".join(words[start : start + count]) for start in starts]
    cuts = quantiles(times := _times(fitted, texts), n=100)
    p50, p99 = cuts[49], cuts[98]
    return {
        "least": min(times),
        "p50": p50,
        "p99": p99,
        "same_text": median(_times(fitted, texts[:1] * _DECISIONS)),
        "budget": budget,
        "kept": budget is None or p50 <= budget,
    }


def _times(fitted: Router, texts: Sequence[str]) -> list[float]:
    times = []
    for text in texts:
        start = time.perf_counter_ns()
        fitted.decide(text)
        times.append((time.perf_counter_ns() - start) / 1e3)
    return times


def _baseline_accuracy(train: Sequence[Example], test: Sequence[Example]) -> float:
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    letters = TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 5), min_df=2)
    model = make_pipeline(
        FeatureUnion([("words", words), ("letters", letters)]),
        LogisticRegression(C=10.0, max_iter=1_000),
    )
    model.fit([e.text for e in train], [e.label for e in train])
    return float(model.score([e.text for e in test], [e.label for e in test]))


def _sources_of(file: Path) -> list[str]:
    """Each line's source; the many small ones of one collection count as one."""
    sources = [json.loads(line)["source"] for line in file.read_text().splitlines()]
    return [s.split("/")[0] if s.startswith(MERGED_SOURCES) else s for s in sources]


def _unseen_sources(corpus: _Corpus, say: Say) -> dict[str, Any]:
    """Accuracy on each source with LEAST_SOURCE or more queries, by a fit without it."""
    arguments = replace(FitArguments(), folds=2)
    accuracies = {}
    for source in corpus.large_sources():
        say(f"without {source}")
        inside, outside = corpus.without(source)
        accuracies[source] = evaluate(_fitted(corpus, inside, arguments), outside).accuracy
    return {"mean": mean(accuracies.values()), "accuracy": accuracies}


def _show(found: dict[str, Any]) -> None:
    scores = {**found["router"], "accuracy of TF-IDF": found["tfidf"]}
    scores |= {f"accuracy, {name}": row["accuracy"] for name, row in found["slices"].items()}
    if "sources" in found:
        scores["accuracy, sources left out"] = found["sources"]["mean"]
    show_table(("score", "value"), [(name, f"{value:.3f}") for name, value in scores.items()])
    rows = [
        (words, *(f"{row[part]:.1f}" for part in _PARTS), row["budget"])
        for words, row in found["decide_us"].items()
    ]
    show_table(("words", "least µs", "p50", "p99", "p50, one text", "budget (p50)"), rows)
