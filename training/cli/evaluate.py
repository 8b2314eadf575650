"""The verb `turnout evaluate`."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
from pydantic import ValidationError

from adapters.errors import AdapterError
from adapters.experiments.design import Judge
from adapters.packs import Pack
from adapters.probes import Probe
from adapters.registry import Aliases, Registry
from adapters.store import Store
from training.cli.tables import report
from training.cli.workspace import Workspace
from training.errors import DataError, TooFewRows, TrainingError
from training.evaluation.endpoint import Endpoint
from training.evaluation.examination import Likeness, Models, Wanted, examine
from training.evaluation.predictions import write_predictions
from training.evaluation.sampling import sample
from training.progress import Bar
from training.rows import read_chat

if TYPE_CHECKING:
    from training.evaluation.inprocess import InProcess

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_JUDGE_KEY = "JUDGE_API_KEY"


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
    "--rows", "most", type=click.IntRange(1), help="At most so many rows of each task, by chance."
)
@click.option(
    "--url", default="http://127.0.0.1:8080", show_default=True, help="Gateway or engine."
)
@click.option("--key", help="API key [default: the one `turnout up` keeps in the state folder].")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True)
@click.option("--retrieval", is_flag=True, help="Let a gateway add passages to the questions.")
@click.option(
    "--in-process",
    is_flag=True,
    help="Ask no server: models are `base`, adapter versions, and domains (their champions).",
)
@click.option("--slices", is_flag=True, help="Scores by meta.slice, label and length.")
@click.option("--robust", is_flag=True, help="Ask again with typing errors, injections and so on.")
@click.option("--probes", type=_FOLDER, help="Pack whose [[probes]] are asked: does it matter who?")
@click.option(
    "--perplexity",
    is_flag=True,
    help="How likely the expected answers are to it: in process, or a vLLM that nobody else uses.",
)
@click.option("--bertscore", type=_FOLDER, metavar="MODEL_DIR", help="Encoder for BERTScore.")
@click.option(
    "--judge",
    metavar="URL",
    help=f"OpenAI-compatible judge of pairs, as http://host/v1; its key is in {_JUDGE_KEY}.",
)
@click.option("--judge-model", default="", help="The judge's model.")
@click.option("--seed", type=int, default=0, show_default=True, help="Chooses rows, variants.")
@click.option(
    "--predictions",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write every answer with its score, as JSONL.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def evaluate(
    workspace: Workspace,
    model: str,
    data: Path,
    against: tuple[str, ...],
    tasks: tuple[str, ...],
    most: int | None,
    url: str,
    key: str | None,
    concurrency: int,
    retrieval: bool,
    in_process: bool,
    slices: bool,
    robust: bool,
    probes: Path | None,
    perplexity: bool,
    bertscore: Path | None,
    judge: str | None,
    judge_model: str,
    seed: int,
    predictions: Path | None,
    as_json: bool,
) -> None:
    """Score MODEL (an engine's model, an adapter version, a domain, or `auto`) on chat lines.

    Exit code 1 means that not one row was answered, 2 that the lines cannot be used.
    """
    names = (model, *against)
    wanted = Wanted(
        slices=slices,
        perplexity=perplexity,
        robust=robust,
        probes=_probes(probes),
        likeness=_likeness(bertscore),
        judge=_judge(judge, judge_model, against),
        key=os.environ.get(_JUDGE_KEY),
        seed=seed,
    )
    try:
        rows = [row for row in read_chat(data) if not tasks or row.task in tasks]
        rows = rows if most is None else [*sample(rows, most, seed)]
        if key is None and urlsplit(url).hostname in _LOOPBACK:
            key = workspace.development_key
        models: Models = (
            _in_process(workspace, names)
            if in_process
            else Endpoint(url, key=key, concurrency=concurrency, retrieval=retrieval)
        )
        with Bar() as bar:
            found = examine(names, rows, models, wanted, bar)
        if predictions is not None:
            write_predictions(predictions, [found.mine, *found.others])
    except (DataError, TooFewRows) as exc:
        raise click.UsageError(str(exc)) from exc
    except (TrainingError, AdapterError) as exc:
        raise click.ClickException(str(exc)) from exc
    except OSError as exc:
        raise click.ClickException(f"{predictions} cannot be written: {exc}") from exc
    click.echo(json.dumps(found.as_json()) if as_json else report(found))
    if found.mine.errored == found.mine.n:
        raise click.exceptions.Exit(1)


def _in_process(workspace: Workspace, names: Sequence[str]) -> "InProcess":
    """The base model with every version that is named, itself or by the domain it serves."""
    try:
        # PyTorch takes seconds to import and is not needed to evaluate a server.
        from training.evaluation.inprocess import BASE, InProcess
    except ModuleNotFoundError as exc:
        raise _missing("--in-process", exc) from exc
    models = InProcess(workspace.base_model)
    store = Store(workspace.store_url)
    try:
        registry = Registry(store, workspace.versions)
        aliases = registry.aliases()
        for name in names:
            if name != BASE:
                version = registry.version(aliases.get(name, Aliases()).champion or name)
                registry.obtain(version)
                models.load(name, version.folder)
    finally:
        store.close()
    return models


def _probes(pack: Path | None) -> tuple[Probe, ...]:
    if pack is None:
        return ()
    try:
        probes = Pack.load(pack).probes
    except AdapterError as exc:
        raise click.UsageError(str(exc)) from exc
    if not probes:
        raise click.UsageError(f"{pack / 'pack.toml'} has no [[probes]]; add one, or use another")
    return probes


def _likeness(encoder: Path | None) -> Likeness | None:
    if encoder is None:
        return None
    try:
        from training.evaluation.bertscore import BertScore  # it needs PyTorch as well
    except ModuleNotFoundError as exc:
        raise _missing("--bertscore", exc) from exc
    try:
        return BertScore(encoder)
    except TrainingError as exc:
        raise click.UsageError(str(exc)) from exc


def _judge(url: str | None, model: str, against: Sequence[str]) -> Judge | None:
    if url is None:
        return None
    if not model or not against:
        raise click.UsageError("--judge needs --judge-model, and --against to compare with")
    try:
        return Judge(name="judge", url=url, model=model)
    except ValidationError as exc:
        problem = exc.errors()[0]
        raise click.UsageError(f"--judge: {problem['loc'][-1]}: {problem['msg']}") from exc


def _missing(option: str, exc: ModuleNotFoundError) -> click.ClickException:
    return click.ClickException(f"{option} needs {exc.name}: pip install 'turnout[embedded]'")
