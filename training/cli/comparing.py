"""The verbs `turnout review compare` and `report`: people judge two models, blindly."""

import random
from pathlib import Path
from urllib.parse import urlsplit

import click

from adapters.cli import as_json, show_json, show_table
from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import ItemKind
from adapters.review.proposal import MOST_ANNOTATORS
from training.cli.queue import opened_book
from training.cli.workspace import Workspace
from training.errors import DataError
from training.evaluation.endpoint import Endpoint
from training.evaluation.evaluate import evaluate
from training.progress import Bar
from training.review.comparison import Answered, Findings, comparison, findings
from training.review.predictions import read_predictions
from training.rows import Row, read_chat

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.argument("model_a")
@click.argument("model_b")
@click.option("--data", type=_FILE, required=True, help="Chat JSONL to draw questions from.")
@click.option("--n", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--name", required=True, help="The comparison's name, for `label` and `report`.")
@click.option("--domain", default="general", show_default=True, help="Whose queue it goes to.")
@click.option("--annotators", type=click.IntRange(1, MOST_ANNOTATORS), default=1, show_default=True)
@click.option("--predictions", type=_FILE, help="Answers that `turnout evaluate` wrote; asks none.")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True)
@click.option("--key", help="API key [default: the one `turnout up` keeps in the state folder].")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws rows, and sides.")
@as_json
@click.pass_obj
def compare(
    workspace: Workspace,
    model_a: str,
    model_b: str,
    data: Path,
    n: int,
    name: str,
    domain: str,
    annotators: int,
    predictions: Path | None,
    url: str,
    key: str | None,
    concurrency: int,
    seed: int,
    as_json: bool,
) -> None:
    """Queue answers of MODEL_A and MODEL_B side by side, for people who are not told which is
    whose. The same name again adds what is not there yet."""
    models = (model_a, model_b)
    if key is None and urlsplit(url).hostname in _LOOPBACK:
        key = workspace.development_key
    with opened_book(workspace) as book:
        _refuse_others(book, name, models)
        rows = _drawn(read_chat(data), n, seed)
        if predictions is not None:
            answers = read_predictions(predictions, rows, models)
        else:
            answers = _asked(Endpoint(url, key=key, concurrency=concurrency), models, rows)
        items = comparison(domain, name, models, answers, wanted=annotators, seed=seed)
        added = book.add(items)
    found = {"name": name, "rows": len(rows), "compared": len(items), "queued": added}
    if as_json:
        return show_json(found)
    click.echo(
        f"{added} queued of {len(rows)} rows, on {len(items)} of which both answered, and not "
        f"alike: turnout review label {domain} --batch {name!r} --as NAME"
    )


@click.command()
@click.argument("name")
@as_json
@click.pass_obj
def report(workspace: Workspace, name: str, as_json: bool) -> None:
    """What annotators found in the comparison NAME, and whose answers these were."""
    with opened_book(workspace) as book:
        found = findings(name, book.every(Wanted(kind=ItemKind.HUMAN_EVAL, batch=name)))
    if as_json:
        return show_json(found.as_json())
    _print(found)


def _drawn(rows: list[Row], n: int, seed: int) -> list[Row]:
    """So many rows by chance."""
    return random.Random(seed).sample(rows, min(n, len(rows)))


def _asked(
    endpoint: Endpoint, models: tuple[str, str], rows: list[Row]
) -> tuple[Answered, Answered]:
    found = []
    with Bar() as bar:
        for model in models:
            bar.stage(f"ask {model}")
            answers = endpoint.answers(model)
            done = evaluate(model, rows, answers, lambda some, all: bar.advance(some, all, {}))
            found.append(done.answered)
    first, second = found
    return first, second


def _refuse_others(book: ReviewBook, name: str, models: tuple[str, str]) -> None:
    """Raises DataError if the name is taken by a comparison of other models."""
    for item in book.items(Wanted(batch=name), limit=1):
        if item.origin.get("of") != list(models):
            raise DataError(f"the name {name!r} is taken by something else; choose another")


def _print(found: Findings) -> None:
    first, second = found.models
    document = found.as_json()
    cells = []
    for task, one in (("all", document), *document["tasks"].items()):
        counts = (one["n"], one["wins"], one["ties"], one["losses"])
        rate, reach = one["win_rate"], one["ci95"]
        shown = ("", "") if rate is None else (f"{rate:.3f}", f"[{reach[0]:.3f}, {reach[1]:.3f}]")
        cells.append((task, *counts, *shown, f"{one['p']:.3g}"))
    columns = ("task", "judged", "wins", "ties", "losses", "win rate", "95 %", "p (sign test)")
    show_table(columns, cells)
    alpha = found.agreement.alpha
    agreed = (
        "nobody judged twice"
        if alpha.value is None
        else f"alpha of annotators {alpha.value:.3f} on {alpha.n}"
    )
    judged = len(found.overall.values)
    click.echo(f"wins of {first} over {second}; {judged} of {found.total} judged; {agreed}")
