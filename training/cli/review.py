"""The verbs `turnout review …`: the queue of what people look at before anything is learned."""

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from adapters.cli import as_json, show_json, show_table
from adapters.packs import Pack
from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import ItemKind, ItemState
from adapters.review.proposal import MOST_ANNOTATORS
from adapters.review.views import seen_by, shown
from adapters.review.wording import checked_name
from training.cli.agreement import show_agreement, stats
from training.cli.comparing import compare, report
from training.cli.queue import as_annotator, of_batch, of_kind, opened_book, opened_store
from training.cli.workspace import Workspace
from training.curation.context import Context
from training.progress import Bar
from training.review.collecting import collect as collect_disputed
from training.review.files import read_decisions, write_items
from training.review.terminal import Session
from training.rows import read_chat

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def review() -> None:
    """What people look at before it is learned: synthetic examples, disputed answers, comparisons.

    Accepted and corrected items are trained on by `turnout train --reviewed` or `--from-log`.
    """


for _verb in (compare, report, show_agreement, stats):
    review.add_command(_verb)


@review.command("list")
@click.argument("domain", required=False)
@click.option("--state", "states", type=click.Choice(list(map(str, ItemState))), multiple=True)
@of_kind
@of_batch
@click.option("--after", metavar="ID", help="The next page: from behind this item.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@as_json
@click.pass_obj
def list_items(
    workspace: Workspace,
    domain: str | None,
    states: tuple[str, ...],
    kind: ItemKind | None,
    batch: str | None,
    after: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Items, oldest first. Which model gave which answer of a comparison is in its report."""
    with opened_book(workspace) as book:
        wanted = Wanted(domain, tuple(map(ItemState, states)), kind, batch)
        items = book.items(wanted, after=after, limit=limit)
    if as_json:
        return show_json([shown(item) for item in items])
    columns = ("id", "domain", "kind", "state", "said", "question")
    cells = [
        (
            item.id,
            item.domain,
            item.kind,
            item.state,
            f"{len(item.annotations)} of {item.wanted}",
            _short(item.example.prompt[-1][1]),
        )
        for item in items
    ]
    show_table(columns, cells)


@review.command("next")
@click.argument("domain")
@as_annotator
@of_kind
@of_batch
@click.pass_obj
def next_item(
    workspace: Workspace, domain: str, annotator: str, kind: ItemKind | None, batch: str | None
) -> None:
    """The next item for an annotator as one JSON document, as that annotator is to see it; `null`
    if none is left."""
    with opened_book(workspace) as book:
        item = book.next(Wanted(domain, kind=kind, batch=batch), annotator)
    show_json(None if item is None else seen_by(item, annotator))


@review.command()
@click.argument("domain")
@as_annotator
@of_kind
@of_batch
@click.option("--settle", is_flag=True, help="Disputed items: what you say ends the dispute.")
@click.pass_obj
def label(
    workspace: Workspace,
    domain: str,
    annotator: str,
    kind: ItemKind | None,
    batch: str | None,
    settle: bool,
) -> None:
    """Review in this terminal, one item after the other."""
    with opened_book(workspace) as book:
        session = Session(
            book,
            Wanted(domain, kind=kind, batch=batch),
            checked_name(annotator),
            Console(file=sys.stdout),
            lambda question: str(click.prompt(question, default="", show_default=False)),
            settle=settle,
        )
        count = session.run()
    click.echo(f"{count} reviewed")


@review.command()
@click.argument("domain")
@click.option("--annotators", type=click.IntRange(1, MOST_ANNOTATORS), default=1, show_default=True)
@as_json
@click.pass_obj
def collect(workspace: Workspace, domain: str, annotators: int, as_json: bool) -> None:
    """Queue what the log leaves open: disliked answers that nobody corrected, feedback that
    contradicts itself, and decisions that contradict each other."""
    known = {pack.name: pack for pack in map(Pack.load, workspace.packs)}
    pack = known.get(domain)
    with opened_store(workspace) as store, Bar() as bar:
        bar.stage("read the log")
        items = collect_disputed(
            domain,
            store,
            context=Context(
                workspace.artifacts / "indexes",
                {name: each.system_prompt for name, each in known.items()},
            ),
            own=read_chat(pack.train) if pack and pack.train else (),
            opted_out=workspace.opted_out,
            wanted=annotators,
        )
        added = ReviewBook(store).add(items)
    found = {"found": len(items), "queued": added}
    click.echo(json.dumps(found) if as_json else f"{added} queued, of {len(items)} found")


@review.command("export")
@click.argument("domain")
@as_annotator
@click.option("--out", type=_FILE, required=True, help="FILE.jsonl, or FILE.csv for spreadsheets.")
@click.option(
    "--state",
    "states",
    type=click.Choice(list(map(str, ItemState))),
    multiple=True,
    default=("open",),
    show_default=True,
)
@of_kind
@of_batch
@click.pass_obj
def export_items(
    workspace: Workspace,
    domain: str,
    annotator: str,
    out: Path,
    states: tuple[str, ...],
    kind: ItemKind | None,
    batch: str | None,
) -> None:
    """Write items to be judged elsewhere: fill in `verdict`, for corrections `correction`, and
    `comment` if you like; then import."""
    wanted = Wanted(domain, tuple(map(ItemState, states)), kind, batch)
    with opened_book(workspace) as book:
        try:
            count = write_items(out, book.every(wanted), checked_name(annotator))
        except OSError as exc:
            raise click.ClickException(f"{out} cannot be written: {exc.strerror}") from exc
    click.echo(f"{count} items in {out}")


@review.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_annotator
@click.option("--overwrite", is_flag=True, help="Also where you judged anew since the export.")
@as_json
@click.pass_obj
def import_items(
    workspace: Workspace, file: Path, annotator: str, overwrite: bool, as_json: bool
) -> None:
    """Take down what FILE says, all of it or, if a line is wrong, nothing."""
    with opened_book(workspace) as book:
        decisions = read_decisions(file, book, checked_name(annotator), overwrite=overwrite)
        book.decide(decisions, annotator)
    count = len(decisions)
    click.echo(json.dumps({"verdicts": count}) if as_json else f"{count} verdicts of {annotator}")


def _short(text: str) -> str:
    line = "".join(letter if letter.isprintable() else " " for letter in text[:200])
    return line if len(line) <= 60 else f"{line[:59]}…"
