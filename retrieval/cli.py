"""The verb `turnout docs`: build, search, list and step back indexes, and measure retrieval."""

import json
from pathlib import Path
from typing import Any, Protocol

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from retrieval.documents import read_documents
from retrieval.encoder import StaticEncoder
from retrieval.errors import RetrievalError
from retrieval.evaluate import RetrievalReport, evaluate, read_judgements
from retrieval.index import IndexManifest
from retrieval.ingest import ingest
from retrieval.retriever import Retriever
from retrieval.versions import Pointer, domain_folder, domains, rollback

SHOWN_CHARACTERS = 200
_UNBOUNDED = 10_000  # columns; names stay whole in a pipe


class Workspace(Protocol):
    """What these verbs need from the command's context."""

    @property
    def artifacts(self) -> Path: ...

    @property
    def encoder(self) -> Path: ...


class UsageProblem(click.ClickException):
    """A mistake of the caller's: one line, exit code 2."""

    exit_code = 2


class DocsGroup(click.Group):
    """Turns this package's errors into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RetrievalError as exc:
            raise UsageProblem(str(exc)) from exc


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group(cls=DocsGroup)
def docs() -> None:
    """Documents that ground answers: ingest, search, list, rollback, eval."""


@docs.command("ingest")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--domain", required=True, help="The domain that answers from these documents.")
@as_json_option
@click.pass_obj
def ingest_command(workspace: Workspace, path: Path, domain: str, as_json: bool) -> None:
    """Index PATH: a folder, or a .md, .txt or .jsonl file."""
    root = _indexes(workspace)
    domain_folder(root, domain)  # refuse a bad name before the work
    documents = read_documents(path)
    encoder = StaticEncoder.load(workspace.encoder)
    with _progress() as progress:
        task = progress.add_task(f"Indexing {len(documents)} documents", total=None)
        manifest = ingest(
            documents,
            domain=domain,
            root=root,
            encoder=encoder,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if as_json:
        _print_json(_manifest_row(manifest))
    else:
        click.echo(
            f"{domain} now answers from {manifest.version}: {manifest.documents} documents, "
            f"{manifest.passages} passages."
        )


@docs.command()
@click.argument("query")
@click.option("--domain", required=True)
@click.option("--top-k", default=4, show_default=True, type=click.IntRange(1, 100))
@click.option("--version", "version", help="Search this version, not the serving one.")
@as_json_option
@click.pass_obj
def search(
    workspace: Workspace, query: str, domain: str, top_k: int, version: str | None, as_json: bool
) -> None:
    """Show the passages a question would be grounded in."""
    root = _indexes(workspace)
    if Pointer.read(domain_folder(root, domain)) is None:
        known = ", ".join(domains(root)) or "none; ingest documents first"
        raise UsageProblem(f"{domain!r} has no index; known are: {known}")
    retriever = Retriever(root, workspace.encoder)
    passages = retriever.search(domain, query, top_k=top_k, min_score=-1.0, version=version)
    if as_json:
        fields = ("id", "doc_id", "title", "text", "score", "source", "url")
        _print_json([{name: getattr(passage, name) for name in fields} for passage in passages])
        return
    for number, passage in enumerate(passages, 1):
        text = " ".join(passage.text.split())
        shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
        click.echo(f"[{number}] {passage.score:.3f}  {passage.id}  {passage.title}\n    {shown}")


@docs.command("list")
@as_json_option
@click.pass_obj
def list_command(workspace: Workspace, as_json: bool) -> None:
    """List the serving index of each domain."""
    root = _indexes(workspace)
    rows = []
    for domain in domains(root):
        pointer = Pointer.read(root / domain)
        if pointer is not None:
            manifest = IndexManifest.read(root / domain / pointer.version)
            rows.append({**_manifest_row(manifest), "history": list(pointer.history)})
    if as_json:
        _print_json(rows)
        return
    titles = ("domain", "version", "documents", "passages", "created", "before it")
    table = Table(*(Column(title, overflow="fold") for title in titles))
    for row in rows:
        table.add_row(
            row["domain"],
            row["version"],
            str(row["documents"]),
            str(row["passages"]),
            row["created"],
            ", ".join(row["history"]),
        )
    console = Console(markup=False)
    if not console.is_terminal:
        console.width = _UNBOUNDED
    console.print(table)


@docs.command("rollback")
@click.argument("domain")
@as_json_option
@click.pass_obj
def rollback_command(workspace: Workspace, domain: str, as_json: bool) -> None:
    """Serve DOMAIN from the version before the current one."""
    pointer = rollback(_indexes(workspace), domain)
    if as_json:
        _print_json({"domain": domain, "version": pointer.version})
    else:
        click.echo(f"{domain} now answers from {pointer.version}.")


@docs.command("eval")
@click.option("--documents", required=True, type=click.Path(path_type=Path))
@click.option("--qrels", required=True, type=click.Path(path_type=Path))
@as_json_option
@click.pass_obj
def eval_command(workspace: Workspace, documents: Path, qrels: Path, as_json: bool) -> None:
    """Measure retrieval on a corpus and its judged queries."""
    corpus, judged = read_documents(documents), read_judgements(qrels)
    encoder = StaticEncoder.load(workspace.encoder)
    with _progress() as progress:
        task = progress.add_task(f"Asking {len(judged)} queries", total=None)
        report = evaluate(
            corpus,
            judged,
            encoder,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if as_json:
        _print_json(report.as_json())
    else:
        click.echo(_readable(report))


def _indexes(workspace: Workspace) -> Path:
    return workspace.artifacts / "indexes"


def _manifest_row(manifest: IndexManifest) -> dict[str, Any]:
    names = ("domain", "version", "created", "kind", "documents", "passages", "data_digest")
    return {name: getattr(manifest, name) for name in names}


def _readable(report: RetrievalReport) -> str:
    recalls = ", ".join(f"@{depth} {value:.3f}" for depth, value in report.recall.items())
    return (
        f"{report.n_queries} queries over {report.n_documents} documents\n"
        f"recall {recalls}\nnDCG@10 {report.ndcg10:.3f}, MRR@10 {report.mrr10:.3f}\n"
        f"latency p50 {report.p50:.2f} ms, p99 {report.p99:.2f} ms"
    )


def _progress() -> Progress:
    return Progress(console=Console(stderr=True))


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))
