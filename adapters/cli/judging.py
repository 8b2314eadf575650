"""`turnout experiments judge`: have an experiment's judges read its answers."""

from dataclasses import asdict
from functools import partial

import click
from rich.console import Console
from rich.progress import Progress, TaskID

from adapters.cli import Workspace, as_json, show_json, show_table
from adapters.cli.books import open_book
from adapters.experiments.design import Experiment, Judge
from adapters.experiments.judging import Graded, judge_answers
from adapters.store import Store

_COLUMNS = ("judge", "asked", "graded", "unreadable", "failed", "first place", "seconds", "tokens")


@click.command()
@click.argument("name")
@click.option("--judge", "wanted", metavar="JUDGE", help="One of the judges; default: all.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=200,
    show_default=True,
    help="Answers or pairs for each judge; a pair takes two questions.",
)
@as_json
@click.pass_obj
def judge(workspace: Workspace, name: str, wanted: str | None, limit: int, as_json: bool) -> None:
    """Have the judges of experiment NAME judge answers they have not, the oldest first.

    A judge is sent what users wrote and what they were answered: to the `url` in the experiment's
    design, under the key in its `key_env`. It is not told which arm answered. Exit code 1 if a
    judge did not answer.
    """
    store, experiment = Store(workspace.store_url), open_book(workspace).entry(name).experiment
    told = []
    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as bar:
        for one in _chosen(experiment, wanted):
            progress = partial(_advance, bar, bar.add_task(one.name))
            told.append(judge_answers(store, experiment, one, most=limit, progress=progress))
    if as_json:
        show_json([asdict(graded) for graded in told])
    else:
        _show(told)
    raise SystemExit(1 if any(graded.problem for graded in told) else 0)


def _chosen(experiment: Experiment, wanted: str | None) -> list[Judge]:
    names = [judge.name for judge in experiment.judges]
    if not names:
        raise click.UsageError(f"{experiment.name} has no judges; they are part of its design")
    if wanted is not None and wanted not in names:
        raise click.BadParameter(f"{wanted!r} is none of {names}", param_hint="--judge")
    return [judge for judge in experiment.judges if wanted in (None, judge.name)]


def _advance(bar: Progress, task: TaskID, done: int, total: int) -> None:
    bar.update(task, completed=done, total=total)


def _show(told: list[Graded]) -> None:
    rows = []
    for one in told:
        bias = None if one.first_place_bias is None else f"{one.first_place_bias:+.2f}"
        tokens = one.prompt_tokens + one.completion_tokens
        counts = (one.judge, one.asked, one.graded, one.unreadable, one.failed)
        rows.append((*counts, bias, f"{one.seconds:.1f}", tokens or None))
    show_table(_COLUMNS, rows)
    for one in told:
        if one.problem:
            click.echo(f"{one.judge}: {one.problem}", err=True)
