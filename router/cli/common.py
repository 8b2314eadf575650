"""What all verbs of `turnout router` share."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from router.errors import ArtefactError, RouterError
from router.logged import Logged
from router.router import current_folder

Command = TypeVar("Command", bound=Callable[..., Any])


class Workspace(Protocol):
    """What these verbs need from the command's context."""

    @property
    def artifacts(self) -> Path: ...

    @property
    def encoder(self) -> Path: ...

    def routing_examples(self) -> list[dict[str, str]]: ...

    def routing_documents(self) -> dict[str, list[str]]: ...

    def logged(
        self, since: float | None = None, until: float | None = None
    ) -> Iterator[Logged]: ...


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


def _unix(_ctx: click.Context, _option: click.Parameter, at: datetime | None) -> float | None:
    return None if at is None else at.replace(tzinfo=UTC).timestamp()


since_option = click.option(
    "--since", type=click.DateTime(), callback=_unix, help="Only from this time on, UTC."
)


def plot_option(help: str) -> Callable[[Command], Command]:
    return click.option(
        "--plot",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_drawable,
        help=help,
    )


def _drawable(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in (".svg", ".png"):
        raise click.BadParameter(f"{path.name!r} does not end in .svg or .png")
    return path


def serving_folder(workspace: Workspace, model: Path | None = None) -> Path:
    """`model`, or else the router that serves; raises ArtefactError where there is none."""
    folder = model or current_folder(workspace.artifacts / "router")
    if folder is None:
        raise ArtefactError("there is no router yet; make one with: turnout router fit")
    return folder


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))
