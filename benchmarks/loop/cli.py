"""`turnout bench loop`: options in, what happened out."""

import asyncio
import tempfile
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import click
from rich.console import Console

from adapters.cli import as_json, show_json, show_table
from benchmarks import options
from benchmarks.loop.play import Play, Story
from benchmarks.loop.questions import NoQuestions, read_questions, write_pack
from benchmarks.loop.system import Terms, running
from benchmarks.swap.prepare import NotPrepared
from benchmarks.swap.servers import NotStarted
from benchmarks.swap.system import NotSeen
from training.evaluation.intervals import mean_interval

PHASES = ("learn", "twin", "canary")


class Workspace(Protocol):
    """What this verb needs of the command's workspace."""

    @property
    def base_model(self) -> Path: ...


@click.command()
@click.option("--engine", type=click.Choice(["embedded", "vllm"]), default="embedded")
@click.option(
    "--phases",
    default=",".join(PHASES),
    show_default=True,
    callback=options.names(*PHASES),
    help="What to play, in order.",
)
@click.option(
    "--feedback",
    type=click.IntRange(50),
    default=Terms().feedback,
    show_default=True,
    help="Judged answers that trigger a run.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0.1),
    default=Terms().minutes,
    show_default=True,
    help="Training time of a run.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@options.data("finance/train.jsonl and eval.jsonl")
@options.vllm()
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for state and logs, empty or new [default: one that is removed].",
)
@as_json
@click.pass_obj
def loop(
    workspace: Workspace,
    /,
    engine: str,
    phases: tuple[str, ...],
    feedback: int,
    minutes: float,
    seed: int,
    data: Path,
    python: Path,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Have users who know the truth make an adapter, and others try to spoil the next one.

    `learn`: corrections trigger a run, its version passes the gate, wins its rollout and serves.
    `twin`: four in ten users lie and some leak the evaluation set. `canary`: a damaged version is
    put past the gate. Exit code 1 if a request failed or something bad serves in the end.
    """
    options.stop_servers_when_told()
    terms = Terms(feedback=feedback, minutes=minutes)

    def say(what: str) -> None:
        click.echo(f"{datetime.now():%H:%M:%S}  {what}", err=True)

    with tempfile.TemporaryDirectory() as scratch:
        folder = (keep or Path(scratch)).resolve()
        try:
            questions = read_questions(data, seed)
            pack = write_pack(folder / "pack", questions)
            with running(
                folder,
                pack,
                workspace.base_model,
                engine=engine,
                python=python,
                terms=terms,
            ) as system:
                story = asyncio.run(Play(system, questions, terms, say).run(phases))
        except (NoQuestions, NotPrepared, NotStarted, NotSeen) as exc:
            raise click.ClickException(str(exc)) from exc
    document = _document(story) | {"engine": engine, "phases": phases, "seed": seed}
    if as_json:
        show_json(document)
    else:
        _show(story, document)
    raise SystemExit(0 if document["ok"] else 1)


def _document(story: Story) -> dict[str, Any]:
    exams = {
        name: {"n": len(right), "score": sum(right) / len(right), "ci95": mean_interval(right)}
        for name, right in story.exams.items()
    }
    made = story.candidates.get("learn")
    serves_the_good_one = made is None or set(story.champions) == {made.version}
    return {
        "marks": [asdict(mark) for mark in story.marks],
        "exams": exams,
        "candidates": {name: asdict(one) for name, one in story.candidates.items()},
        "champions": story.champions,
        "requests": story.seen.requests,
        "failures": story.seen.failures,
        "answered_by": dict(story.seen.models),
        "ok": serves_the_good_one and not story.seen.failures,
    }


def _show(story: Story, document: dict[str, Any]) -> None:
    show_table(("s", "what"), [(mark.at, mark.what) for mark in story.marks])
    show_table(
        ("exam", "right", "95 %"),
        [
            (name, f"{one['score']:.3f}", "[{:.3f}, {:.3f}]".format(*one["ci95"]))
            for name, one in document["exams"].items()
        ],
    )
    show_table(
        ("candidate", "verdict", "rollout", "taught by", "removed"),
        [
            (name, one.verdict, one.rollout, one.taught, one.removed)
            for name, one in story.candidates.items()
        ],
    )
    failed = len(story.seen.failures)
    Console().print(f"{story.seen.requests} requests, {failed} failed; served: {story.champions}")
