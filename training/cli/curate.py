"""The verb `turnout curate`."""

import json
from pathlib import Path
from typing import Any

import click

from adapters.store import Store
from training.cli.workspace import Workspace
from training.errors import TrainingError
from training.progress import Bar

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("domain")
@click.option(
    "--data",
    type=_FILE,
    multiple=True,
    help="OpenAI or TRL examples in place of the pack's train.jsonl; repeatable.",
)
@click.option("--from-log", is_flag=True, help="Add what feedback in the log teaches.")
@click.option(
    "--reviewed", is_flag=True, help="Add what annotators accepted; --from-log always does."
)
@click.option(
    "--general", type=_FILE, help="Chat JSONL to mix in: what answers must not move away from."
)
@click.option(
    "--general-share",
    type=click.FloatRange(0, 0.9),
    default=0.1,
    show_default=True,
    help="Share of general answers among all.",
)
@click.option(
    "--eval",
    "evaluations",
    type=_FILE,
    multiple=True,
    help="Another evaluation set that nothing may be a near-copy of; repeatable.",
)
@click.option("--language", "languages", multiple=True, help="Allowed (en, de …); repeatable.")
@click.option("--opt-out", multiple=True, help="Key id whose answers stay out; repeatable.")
@click.option(
    "--scrub",
    type=click.Choice(["all", "users", "none"]),
    default="users",
    show_default=True,
    help="Whose personal data is replaced; `users`: all but the pack's own.",
)
@click.option(
    "--unit-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.05,
    show_default=True,
    help="Most of the rows that one user may give (20 always).",
)
@click.option("--allow-toxic", is_flag=True, help="Keep insulting answers.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the split.")
@click.option("--out", type=_FOLDER, help="Folder to make [default: one in the state folder].")
@click.option("--json", "as_json", is_flag=True, help="Print the card as one JSON document.")
@click.pass_obj
def curate(
    workspace: Workspace,
    /,
    domain: str,
    data: tuple[Path, ...],
    from_log: bool,
    reviewed: bool,
    general: Path | None,
    evaluations: tuple[Path, ...],
    scrub: str,
    opt_out: tuple[str, ...],
    seed: int,
    out: Path | None,
    as_json: bool,
    languages: tuple[str, ...],
    allow_toxic: bool,
    **limits: Any,
) -> None:
    """Make a dataset for DOMAIN: filter, scrub, split, and say what was left out and why."""
    try:
        # Presidio takes seconds to import.
        from training.curation.card import card, folder_name, markdown, write_dataset
        from training.curation.curate import Filters, Scrub
        from training.curation.prepare import prepare
        from training.curation.sources import gather
    except ModuleNotFoundError as exc:
        raise click.ClickException(
            f"`turnout curate` needs {exc.name}: pip install 'turnout[train]'"
        ) from exc
    store = Store(workspace.store_url) if from_log or reviewed else None
    filters = Filters(
        languages=frozenset(languages),
        toxicity=not allow_toxic,
        scrub=Scrub(scrub),
        **limits,
    )
    try:
        with Bar() as bar:
            bar.stage("read")
            found = gather(
                domain,
                workspace.packs,
                data,
                store if from_log else None,
                reviews=store,
                general=general,
                evaluations=evaluations,
                indexes=workspace.artifacts / "indexes",
                opted_out=(*workspace.opted_out, *opt_out),
            )
            bar.stage("curate")
            prepared = prepare(
                domain,
                found,
                filters,
                seed=seed,
                progress=lambda done, total: bar.advance(done, total, {}),
            )
        folder = out or workspace.state / "datasets" / folder_name(card(prepared))
        facts = write_dataset(prepared, folder)
    except TrainingError as exc:
        raise click.ClickException(str(exc)) from exc
    finally:
        if store is not None:
            store.close()
    document = json.dumps({"folder": str(folder), **facts})
    click.echo(document if as_json else f"{markdown(facts)}\n{folder}")
