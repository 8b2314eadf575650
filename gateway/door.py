"""The `turnout` command: a thin door. Each package brings its own verbs as entry points; a verb is
loaded when it is called."""

import gc
import logging
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click

from adapters.errors import AdapterError
from gateway.configuration import ConfigurationError
from gateway.errors import GatewayError
from gateway.workspace import Workspace
from retrieval.errors import RetrievalError
from router.errors import RouterError

# What a user can cause, and should see as one line rather than a traceback.
_EXPLAINED = (ConfigurationError, AdapterError, GatewayError, RetrievalError, RouterError)


class Door(click.Group):
    """Finds verbs by entry point and gives each `--config` and `--state`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_verbs())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _verbs().get(cmd_name)
        if entry is None:
            return None
        command: click.Command = entry.load()
        # What is imported stays: from now on the collector, which has been off, passes it over.
        gc.freeze()
        gc.enable()
        if not isinstance(command, click.Group):
            _add_places(command)
        else:
            for verb in command.commands.values():
                _add_places(verb)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except ModuleNotFoundError as exc:
            extra = {"torch": "embedded", "peft": "embedded", "trl": "train"}.get(exc.name or "")
            if extra is None:
                raise
            raise click.ClickException(
                f"`turnout {args[0]}` needs {exc.name}: pip install 'turnout[{extra}]'"
            ) from exc


def open_door() -> None:
    """Run a verb; a failure that is the user's to fix is one line on stderr and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        _door(prog_name="turnout")
    except _EXPLAINED as exc:
        click.echo(f"turnout: {exc}", err=True)
        sys.exit(2 if isinstance(exc, ConfigurationError) else 1)


@click.command(cls=Door, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="turnout")
@click.pass_context
def _door(ctx: click.Context) -> None:
    """OpenAI-compatible gateway: routes queries to a general model or a domain LoRA adapter, tests
    adapters on live
    traffic, and trains the next one from the log."""
    ctx.obj = Workspace()


@cache
def _verbs() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="turnout.verbs")}


def _add_places(command: click.Command) -> None:
    """Give a verb `--config` and `--state`; both reach it through the workspace."""
    if any(option.name == "config" for option in command.params):
        return
    command.params += [
        click.Option(
            ["--config"],
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            expose_value=False,
            callback=_set_place,
            help="Configuration file [default: turnout.toml, or TURNOUT_CONFIG].",
        ),
        click.Option(
            ["--state"],
            type=click.Path(file_okay=False, path_type=Path),
            expose_value=False,
            callback=_set_place,
            help="State folder [default: state].",
        ),
    ]


def _set_place(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    if value is not None:
        ctx.find_root().obj.place(option.name, value)
