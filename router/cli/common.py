"""What all verbs of `turnout router` share."""

import json
from pathlib import Path
from typing import Any, Protocol

import click

from router.errors import ArtefactError, RouterError
from router.router import current_folder


class Workspace(Protocol):
    """What these verbs need from the command's context."""

    @property
    def artifacts(self) -> Path: ...

    @property
    def encoder(self) -> Path: ...

    def routing_examples(self) -> list[dict[str, str]]: ...

    def routing_documents(self) -> dict[str, list[str]]: ...


class UsageProblem(click.ClickException):
    """A mistake of the caller's: one line, exit code 2."""

    exit_code = 2


class RouterGroup(click.Group):
    """Turns this package's errors into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RouterError as exc:
            raise UsageProblem(str(exc)) from exc


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def serving_folder(workspace: Workspace, model: Path | None = None) -> Path:
    """`model`, or else the router that serves; raises ArtefactError where there is none."""
    folder = model or current_folder(workspace.artifacts / "router")
    if folder is None:
        raise ArtefactError("there is no router yet; make one with: turnout router fit")
    return folder


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))
