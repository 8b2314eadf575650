"""The verb `turnout train`."""

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import click

from adapters.artifacts import Artifacts
from adapters.lora import ALLOWED_RANKS
from adapters.registry import Registry
from adapters.store import Store
from training.cli.tables import table
from training.errors import TrainingError
from training.progress import Bar

if TYPE_CHECKING:
    from training.run import Result

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Workspace(Protocol):
    """What these verbs need of the command's workspace."""

    @property
    def state(self) -> Path:
        """State directory."""

    @property
    def versions(self) -> Artifacts:
        """Where adapter versions lie."""

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store."""

    @property
    def artifacts(self) -> Path:
        """Where indexes lie, in a folder of that name."""

    @property
    def base_model(self) -> Path:
        """Folder of the base model."""

    @property
    def packs(self) -> tuple[Path, ...]:
        """Folders of the configured packs."""


@click.command()
@click.argument("domain")
@click.option("--data", type=_FILE, help="OpenAI or TRL examples for the pack's train.jsonl.")
@click.option(
    "--from-log", is_flag=True, help="Add answers from the log that feedback corrected or praised."
)
@click.option("--general", type=_FILE, help="Chat JSONL to mix in against forgetting.")
@click.option(
    "--scrub",
    type=click.Choice(["all", "users", "none"]),
    default="users",
    show_default=True,
    help="Whose personal data is replaced; `users`: all but the pack's own.",
)
@click.option("--method", type=click.Choice(["sft"]), default="sft", show_default=True)
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
@click.option("--rslora", is_flag=True, help="Scale by the square root of the rank (rsLoRA).")
@click.option(
    "--learning-rate", type=click.FloatRange(0, 1, min_open=True), help="Peak learning rate."
)
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="Processor threads [default: every processor]."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--promote", is_flag=True, help="Make the version champion if the gate passes it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def train(
    workspace: Workspace,
    /,
    domain: str,
    data: Path | None,
    from_log: bool,
    general: Path | None,
    scrub: str,
    method: Literal["sft"],
    rank: str,
    threads: int | None,
    promote: bool,
    as_json: bool,
    **tuning: Any,
) -> None:
    """Train an adapter for DOMAIN: curate, split, train, evaluate against the base model, register.

    The version is registered whatever the gate says; it becomes challenger if the verdict is
    `pass`. Exit code 1 means that --promote was asked for and refused.
    """
    try:
        # PyTorch takes seconds to import and is not needed to evaluate a server.
        from training.curation.curate import Filters, Scrub
        from training.learning.sft import SftSettings
        from training.run import Job, run
    except ModuleNotFoundError as exc:
        raise click.ClickException(
            f"`turnout train` needs {exc.name}: pip install 'turnout[train]'"
        ) from exc
    chosen = {name: value for name, value in tuning.items() if value is not None}
    job = Job(
        domain=domain,
        base_model=workspace.base_model,
        folder=workspace.state / "training" / _run_id(domain),
        packs=workspace.packs,
        data=data,
        from_log=from_log,
        general=general,
        indexes=workspace.artifacts / "indexes",
        filters=Filters(scrub=Scrub(scrub)),
        promote=promote,
        threads=threads,
        settings=SftSettings(method=method, rank=int(rank), **chosen),
    )
    store = Store(workspace.store_url)
    try:
        with Bar() as bar:
            result = run(job, store, Registry(store, workspace.versions), bar)
    except TrainingError as exc:
        raise click.ClickException(str(exc)) from exc
    finally:
        store.close()
    click.echo(json.dumps(result.as_json()) if as_json else _story(result))
    if promote and not result.promoted:
        raise click.exceptions.Exit(1)


def _run_id(domain: str) -> str:
    return f"{domain}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _story(result: "Result") -> str:
    trained = result.trained
    place = "champion" if result.promoted else "registered"
    return (
        f"{result.manifest.version} ({place})\n"
        f"{result.trial.judgement.verdict}: {result.trial.judgement.reason}\n"
        f"{trained.steps} steps in {trained.seconds:.0f} s, {trained.rows_per_second} rows/s\n"
        f"{table(result.trial.candidate, result.trial.rivals)}"
    )
