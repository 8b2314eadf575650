"""The verb `turnout evaluate`."""

import json
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import click

from training.cli.tables import table
from training.errors import TrainingError
from training.evaluation.endpoint import Endpoint
from training.evaluation.evaluate import Evaluation
from training.evaluation.evaluate import evaluate as evaluate_rows
from training.progress import Bar
from training.rows import Row, read_chat

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Workspace(Protocol):
    """What this verb needs of the command's workspace."""

    @property
    def development_key(self) -> str | None:
        """Key of the system that runs on this state folder, if `turnout up` made one."""


@click.command()
@click.argument("model")
@click.option(
    "--data",
    type=_FILE,
    required=True,
    help="Chat JSONL whose last message is the expected answer.",
)
@click.option(
    "--against", multiple=True, help="Another model to compare with, on the same rows; repeatable."
)
@click.option("--task", "tasks", multiple=True, help="Only rows of this task; repeatable.")
@click.option(
    "--url", default="http://127.0.0.1:8080", show_default=True, help="Gateway or engine."
)
@click.option("--key", help="API key [default: the one `turnout up` keeps in the state folder].")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True)
@click.option("--retrieval", is_flag=True, help="Let a gateway add passages to the questions.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def evaluate(
    workspace: Workspace,
    model: str,
    data: Path,
    against: tuple[str, ...],
    tasks: tuple[str, ...],
    url: str,
    key: str | None,
    concurrency: int,
    retrieval: bool,
    as_json: bool,
) -> None:
    """Score MODEL (an engine's model, an adapter version, a domain, or `auto`) on chat lines.

    Exit code 1 means that not one row was answered.
    """
    if key is None and urlsplit(url).hostname in _LOOPBACK:
        key = workspace.development_key
    endpoint = Endpoint(url, key=key, concurrency=concurrency, retrieval=retrieval)
    try:
        rows = [row for row in read_chat(data) if not tasks or row.task in tasks]
        with Bar() as bar:
            results = [_evaluate(name, rows, endpoint, bar) for name in (model, *against)]
    except TrainingError as exc:
        raise click.ClickException(str(exc)) from exc
    mine, others = results[0], results[1:]
    click.echo(json.dumps(mine.as_json(others)) if as_json else table(mine, others))
    if mine.errored == mine.n:
        raise click.exceptions.Exit(1)


def _evaluate(name: str, rows: list[Row], endpoint: Endpoint, bar: Bar) -> Evaluation:
    bar.stage(f"ask {name}")
    return evaluate_rows(
        name, rows, endpoint.answers(name), lambda done, total: bar.advance(done, total, {})
    )
