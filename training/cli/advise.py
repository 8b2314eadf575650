"""The verb `turnout advise`."""

import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from adapters.errors import AdapterError, PackError, UnknownVersion
from adapters.registry import Registry
from adapters.store import Store
from retrieval.errors import RetrievalError
from retrieval.versions import domains
from router.errors import PictureError
from training.cli.workspace import Workspace
from training.errors import DataError, TooFewRows, TrainingError
from training.evaluation.endpoint import Endpoint
from training.progress import Bar, Reporter

if TYPE_CHECKING:
    from training.curation.split import Split
    from training.prompting.advise import Advice
    from training.prompting.contenders import Contenders

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _drawable(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in (".svg", ".png"):
        raise click.BadParameter(f"{path.name!r} does not end in .svg or .png")
    return path


@click.command()
@click.argument("domain")
@click.option("--data", type=_FILE, help="OpenAI or TRL examples for the pack's train.jsonl.")
@click.option("--adapter", metavar="VERSION", help="[default: the domain's champion]")
@click.option("--train", is_flag=True, help="Train an adapter, to measure only, if there is none.")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=15,
    show_default=True,
    help="Time for that training.",
)
@click.option("--url", help="Gateway or engine to ask [default: models in this process].")
@click.option("--base", metavar="MODEL", help="The base model's name there.")
@click.option("--key", help="API key [default: the one `turnout up` keeps in the state folder].")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Most rows of each task to ask, drawn by --seed.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 100),
    default=2,
    show_default=True,
    help="Points below the best that are still enough.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_drawable,
    help="Also draw scores and costs to this .svg or .png.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def advise(
    workspace: Workspace,
    /,
    domain: str,
    data: Path | None,
    rows: int,
    margin: float,
    seed: int,
    plot: Path | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Measure what is enough for DOMAIN: a prompt, examples, passages, an adapter, or several.

    Prompts are chosen by validation rows; scores are those of the evaluation set, or of the test
    part where the pack has none. Exit code 1 means that not one row was answered.
    """
    if asked["url"] and (asked["train"] or not asked["base"]):
        raise click.UsageError("--url needs --base, the base model's name there, and no --train")
    try:
        # PyTorch, and what rows are curated with, take seconds to import.
        from training.evaluation.sampling import sample
        from training.prompting.advise import advise as measure
        from training.prompting.passages import Passages
        from training.prompting.picture import draw
    except ModuleNotFoundError as exc:
        raise click.ClickException(
            f"`turnout advise` needs {exc.name}: pip install 'turnout[train]'"
        ) from exc
    try:
        with Bar() as bar:
            bar.stage("curate")
            parts, notes = _parts(workspace, domain, data, seed)
            indexes = workspace.artifacts / "indexes"
            passages = None
            if domain in domains(indexes):
                passages = Passages.open(indexes, workspace.encoder, domain, workspace.packs)
            else:
                notes.append(f"no index to search; `turnout docs ingest PATH --domain {domain}`")
            models = _contenders(workspace, domain, parts, bar, seed=seed, **asked)
            advice = measure(
                models.base,
                models.adapter,
                replace(parts, test=sample(parts.test, rows, seed)),
                passages,
                bar,
                margin=margin / 100,
            )
        if plot is not None:
            draw(advice, domain, plot)
    except (DataError, TooFewRows, PackError, UnknownVersion) as exc:
        raise click.UsageError(str(exc)) from exc
    except (TrainingError, AdapterError, RetrievalError, PictureError) as exc:
        raise click.ClickException(str(exc)) from exc
    notes.append(models.note)
    document = {"domain": domain, **advice.as_json(), "notes": notes}
    click.echo(json.dumps(document) if as_json else _table(advice, notes))
    if all(one.evaluation.errored == one.evaluation.n for one in advice.approaches):
        raise click.exceptions.Exit(1)


def _contenders(
    workspace: Workspace,
    domain: str,
    parts: "Split",
    reporter: Reporter,
    *,
    seed: int,
    adapter: str | None,
    train: bool,
    minutes: float,
    url: str | None,
    base: str,
    key: str | None,
    concurrency: int,
) -> "Contenders":
    from training.learning.sft import SftSettings
    from training.prompting.contenders import champion, on_server, registered, trained

    store = Store(workspace.store_url)
    try:
        registry = Registry(store, workspace.versions)
        version = adapter or champion(registry, domain)
        if url is not None:
            if key is None and urlsplit(url).hostname in _LOOPBACK:
                key = workspace.development_key
            return on_server(Endpoint(url, key=key, concurrency=concurrency), base, version)
        if version is not None or not train:
            return registered(workspace.base_model, registry, version)
    finally:
        store.close()
    run = f"{domain}-advise-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    settings = SftSettings(minutes=minutes, seed=seed)
    folder = workspace.state / "training" / run
    return trained(workspace.base_model, parts, settings, folder, reporter)


def _parts(
    workspace: Workspace, domain: str, data: Path | None, seed: int
) -> tuple["Split", list[str]]:
    """The rows as `turnout train` would divide them, and what to know of them."""
    from training.curation.prepare import prepare
    from training.curation.sources import gather
    from training.rows import Kind

    found = gather(domain, workspace.packs, data, None)
    parts = prepare(domain, found, seed=seed).parts.of(Kind.SFT)
    if not parts.train or not parts.test:
        raise TooFewRows(f"{domain} has no answers to take examples from, or none to be tested on")
    if found.held_out is not None:
        return parts, []
    return parts, ["the pack has no eval.jsonl: an adapter may have seen rows that it is tested on"]


def _table(advice: "Advice", notes: list[str]) -> str:
    """The advice, approaches with their costs, and notes."""
    together = f"{100 * advice.level:.1f} %"
    lines = [
        advice.sentence,
        "",
        f"{'approach':24} {'score':>6}  {f'below the best ({together})':26} "
        f"{'tokens':>6} {'seconds':>7}  prompt",
    ]
    for one in advice.approaches:
        low, high = advice.behind(one)
        interval = "best" if one is advice.best else f"[{100 * low:+.1f}, {100 * high:+.1f}]"
        tokens = "?" if one.tokens is None else f"{one.tokens:.0f}"
        lines.append(
            f"{one.name:24} {100 * one.score:5.1f}%  {interval:26} "
            f"{tokens:>6} {one.seconds:7.2f}  {one.prompt}"
        )
    return "\n".join([*lines, "", *notes])
