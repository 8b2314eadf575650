"""The verb `turnout train`."""

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from adapters.files import is_plain
from adapters.lora import ALLOWED_RANKS
from adapters.registry import Registry
from adapters.store import Store
from retrieval.versions import domains
from training.cli.replay import replay_version
from training.cli.tables import table
from training.cli.workspace import Workspace
from training.errors import TrainingError
from training.model_card import not_as_served
from training.progress import Bar

if TYPE_CHECKING:
    from training.learning.watch import Trained
    from training.run import Job, Launch, Result

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("domain", required=False)
@click.option("--data", type=_FILE, help="OpenAI or TRL examples for the pack's train.jsonl.")
@click.option(
    "--from-log", is_flag=True, help="Add answers from the log that feedback corrected or praised."
)
@click.option(
    "--reviewed", is_flag=True, help="Add what annotators accepted; --from-log always does."
)
@click.option(
    "--general",
    type=_FILE,
    help="Chat JSONL that answers must not move away from [default: training.general].",
)
@click.option(
    "--scrub",
    type=click.Choice(["all", "users", "none"]),
    default="users",
    show_default=True,
    help="Whose personal data is replaced; `users`: all but the pack's own.",
)
@click.option(
    "--method",
    type=click.Choice(["sft", "dpo", "kto"]),
    default="sft",
    show_default=True,
    help="Learn from answers; or after these from pairs (dpo), from thumbs up and down (kto).",
)
@click.option(
    "--beta",
    type=click.FloatRange(0, 10, min_open=True),
    help="Of dpo and kto: the higher, the nearer to where it began.",
)
@click.option("--epochs", type=click.IntRange(1, 100), help="At most so many passes over the data.")
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), help="Time for the training itself."
)
@click.option(
    "--rank",
    type=click.Choice([str(rank) for rank in ALLOWED_RANKS]),
    default="16",
    show_default=True,
)
@click.option(
    "--targets", type=click.Choice(["all", "attention"]), help="Layers to adapt [default: all]."
)
@click.option(
    "--quantize", type=click.Choice(["4bit"]), help="Base model in 4 bits (QLoRA); needs CUDA."
)
@click.option("--rslora", is_flag=True, help="Scale by the square root of the rank (rsLoRA).")
@click.option(
    "--learning-rate", type=click.FloatRange(0, 1, min_open=True), help="Peak learning rate."
)
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="Processor threads [default: every processor]."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--launcher",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where learning happens: in this process, or on workers of Ray.",
)
@click.option("--workers", type=click.IntRange(1, 1024), help="Ray workers that share a batch.")
@click.option("--ray-address", help="Of a running Ray cluster [default: one is started here].")
@click.option(
    "--protect",
    type=_FILE,
    multiple=True,
    help="Chat JSONL of what must not be forgotten; repeatable [default: training.protect].",
)
@click.option(
    "--replay",
    metavar="MANIFEST",
    help="Train this version again, by name or manifest.json, and compare the weights.",
)
@click.option(
    "--resume", metavar="RUN", help="Go on with a run that was killed: a folder in state/training."
)
@click.option("--promote", is_flag=True, help="Make the version champion if the gate passes it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def train(
    workspace: Workspace,
    /,
    domain: str | None,
    data: Path | None,
    from_log: bool,
    reviewed: bool,
    general: Path | None,
    scrub: str,
    method: Literal["sft", "dpo", "kto"],
    rank: str,
    threads: int | None,
    launcher: str,
    workers: int | None,
    ray_address: str | None,
    protect: tuple[Path, ...],
    replay: str | None,
    resume: str | None,
    promote: bool,
    as_json: bool,
    **tuning: Any,
) -> None:
    """Train an adapter for DOMAIN: curate, split, train, evaluate against the base model, register.

    The version is registered whatever the gate says; it becomes challenger if the verdict is
    `pass`. Exit code 1 means that --promote was asked for and refused. With --resume, all that a
    run was told holds again; only --launcher and what belongs to it is told anew.
    """
    try:
        # PyTorch takes seconds to import and is not needed to evaluate a server.
        from training.curation.curate import Filters, Scrub
        from training.evaluation.trial import TrialSettings
        from training.learning.sft import RATES, SftSettings
        from training.run import Job
    except ModuleNotFoundError as exc:
        raise click.ClickException(
            f"`turnout train` needs {exc.name}: pip install 'turnout[train]'"
        ) from exc
    if sum(source is not None for source in (domain, replay, resume)) != 1:
        raise click.UsageError(
            "name a DOMAIN to train for, a version with --replay, or a run with --resume"
        )
    if replay is not None:
        return replay_version(workspace, replay, as_json=as_json)
    launch = _launch(launcher, workers, ray_address, threads)
    if resume is not None:
        return _carry_out(workspace, _interrupted(workspace, resume), launch, as_json=as_json)
    chosen = {name: value for name, value in tuning.items() if value is not None}
    if "learning_rate" in chosen:
        chosen[RATES[method]] = chosen.pop("learning_rate")
    indexes = workspace.artifacts / "indexes"
    job = Job(
        domain=str(domain),
        base_model=workspace.base_model,
        folder=workspace.state / "training" / _run_id(str(domain)),
        packs=workspace.packs,
        data=data,
        from_log=from_log,
        reviewed=reviewed,
        general=general or workspace.general,
        indexes=indexes,
        encoder=workspace.encoder if domains(indexes) else None,
        filters=Filters(scrub=Scrub(scrub), general_share=workspace.general_share),
        grounded_share=workspace.grounded_share,
        opted_out=workspace.opted_out,
        promote=promote,
        threads=threads,
        trial=TrialSettings.of(workspace.trial, protect or workspace.protect),
        settings=SftSettings(method=method, rank=int(rank), **chosen),
    )
    _carry_out(workspace, job, launch, as_json=as_json)


def _carry_out(workspace: Workspace, job: "Job", launch: "Launch", *, as_json: bool) -> None:
    from training.run import run  # as in `train`

    store = Store(workspace.store_url)
    try:
        with Bar() as bar:
            result = run(job, store, Registry(store, workspace.versions), bar, launch)
    except TrainingError as exc:
        raise click.ClickException(str(exc)) from exc
    finally:
        store.close()
    click.echo(json.dumps(result.as_json()) if as_json else _story(result))
    if job.promote and not result.promoted:
        raise click.exceptions.Exit(1)


def _interrupted(workspace: Workspace, name: str) -> "Job":
    from training.run import Job  # as in `train`

    runs = workspace.state / "training"
    if not is_plain(name):
        raise click.BadParameter(f"{name!r:.80} is not the name of a folder in {runs}")
    try:
        return Job.read(runs / name)
    except TrainingError as exc:
        raise click.BadParameter(str(exc)) from exc


def _launch(
    launcher: str, workers: int | None, address: str | None, threads: int | None
) -> "Launch":
    if launcher == "local":
        if workers is not None or address is not None:
            raise click.UsageError("--workers and --ray-address go with --launcher ray")
        from training.learning.learn import learn

        return learn
    try:
        # Another optional extra, and seconds to import.
        from training.launchers.ray import RayLauncher
    except ModuleNotFoundError as exc:
        raise click.ClickException(
            f"`--launcher ray` needs {exc.name}: pip install 'turnout[ray]'"
        ) from exc
    return RayLauncher(workers or 1, address, threads or 1)


def _run_id(domain: str) -> str:
    return f"{domain}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _story(result: "Result") -> str:
    trained = result.trained
    place = "champion" if result.promoted else "registered"
    lines = [
        f"{result.manifest.version} ({place})",
        f"{result.trial.judgement.verdict}: {result.trial.judgement.reason}",
        _learned(trained),
        table(result.trial.candidate, result.trial.rivals),
        not_as_served(result.trial.conditions),
    ]
    return "\n".join(line for line in lines if line is not None)


def _learned(trained: "Trained") -> str:
    words = f"{trained.steps} steps in {trained.seconds:.0f} s, {trained.rows_per_second} rows/s"
    if trained.before is None:
        return words
    return f"answers: {_learned(trained.before)}; then preferences: {words}"
