"""`turnout bench retrieval`: retrieval quality and time on real documents and judged queries, and
what each part adds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any, Protocol

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress

from adapters.cli import as_json, show_json, show_table
from benchmarks import options
from retrieval.documents import Document, read_documents
from retrieval.encoder import StaticEncoder, normalised
from retrieval.evaluate import Judgements, evaluate, read_judgements
from retrieval.index import PassageIndex
from retrieval.passages import Passage

SIZES = (1_000, 10_000, 50_000)

Say = Callable[[str], None]


class Workspace(Protocol):
    """What this verb needs of the command's workspace."""

    @property
    def encoder(self) -> Path: ...
    @property
    def packs(self) -> tuple[Path, ...]: ...


@click.command()
@options.data("a folder for each domain, with documents.jsonl and qrels.jsonl")
@click.option(
    "--packs", is_flag=True, help="The configured packs that have questions.jsonl as well."
)
@as_json
@click.pass_obj
def retrieval(workspace: Workspace, data: Path, packs: bool, as_json: bool) -> None:
    """nDCG, recall and time of a search, with titles and without, and by number of passages."""
    encoder = StaticEncoder.load(workspace.encoder)
    corpora = [_Corpus.of_domain(file) for file in sorted(data.glob("*/qrels.jsonl"))]
    if packs:
        judged = [pack for pack in workspace.packs if (pack / "questions.jsonl").exists()]
        corpora += [_Corpus.of_pack(pack) for pack in judged]
    if not corpora:
        raise click.UsageError(f"{data} holds no DOMAIN/qrels.jsonl, and --packs was not given")
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(corpora) + len(SIZES))

        def say(what: str) -> None:
            progress.update(task, description=what, advance=1)

        found = _measured(corpora, encoder, say)
    if as_json:
        show_json(found)
    else:
        _show(found)


@dataclass(frozen=True, slots=True)
class _Corpus:
    """Documents, and which of them answer which query."""

    name: str
    documents: list[Document]
    judged: Judgements

    @classmethod
    def of_domain(cls, qrels: Path) -> "_Corpus":
        home = qrels.parent
        return cls(home.name, read_documents(home / "documents.jsonl"), read_judgements(qrels))

    @classmethod
    def of_pack(cls, pack: Path) -> "_Corpus":
        judged = read_judgements(pack / "questions.jsonl")
        return cls(pack.name, read_documents(pack / "documents"), judged)


def _measured(corpora: Sequence[_Corpus], encoder: StaticEncoder, say: Say) -> dict[str, Any]:
    rows = {}
    for corpus in corpora:
        say(corpus.name)
        rows[corpus.name] = _scores(corpus, encoder)
    times = {}
    for size in SIZES:
        say(f"{size:,} passages")
        times[str(size)] = _search_time(encoder, size)
    return {
        "domains": rows,
        "mean_ndcg10": mean(row["ndcg10"] for row in rows.values()),
        "mean_ndcg10_without_titles": mean(row["ndcg10_without_titles"] for row in rows.values()),
        "search_ms_by_passages": times,
    }


def _scores(corpus: _Corpus, encoder: StaticEncoder) -> dict[str, float]:
    report = evaluate(corpus.documents, corpus.judged, encoder)
    untitled = [Document(d.id, "", d.text) for d in corpus.documents]
    return {
        "ndcg10": report.ndcg10,
        "recall10": report.recall[10],
        "mrr10": report.mrr10,
        "p50_ms": report.p50,
        "ndcg10_without_titles": evaluate(untitled, corpus.judged, encoder).ndcg10,
    }


def _search_time(encoder: StaticEncoder, size: int) -> float:
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


def _show(found: dict[str, Any]) -> None:
    parts = ("ndcg10", "recall10", "mrr10", "p50_ms", "ndcg10_without_titles")
    rows = [
        (name, *(f"{row[part]:.3f}" for part in parts)) for name, row in found["domains"].items()
    ]
    means = {part: found.get(f"mean_{part}") for part in parts}
    rows.append(("mean", *("" if m is None else f"{m:.3f}" for m in means.values())))
    show_table(("corpus", "nDCG@10", "recall@10", "MRR@10", "p50 ms", "nDCG@10 untitled"), rows)
    times = found["search_ms_by_passages"]
    show_table(("passages", "ms"), [(f"{int(n):,}", f"{ms:.2f}") for n, ms in times.items()])
