"""`--plot FILE`: an experiment's picture beside its report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapters.cli.exports import whole
from adapters.errors import ExportFailed
from adapters.experiments.design import Experiment

if TYPE_CHECKING:
    from adapters.experiments.report import Report

_FORMS = ("svg", "png")


def _drawable(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower().removeprefix(".") not in _FORMS:
        raise click.BadParameter(f"{path.name!r} does not end in .svg or .png")
    return path


plot_option = click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_drawable,
    help="Also draw the effect as units came, with its band, to this .svg or .png.",
)


def save_picture(
    path: Path, report: "Report", design: Experiment, moves: Sequence[Mapping[str, Any]]
) -> None:
    """Draw to a file that appears whole or not at all.

    Raises ExportFailed: without matplotlib, without anything to draw, or by reason of the disk.
    """
    # Here, as it brings numpy: a moment that the other verbs need not wait.
    from adapters.experiments.picture import draw

    try:
        with whole(path) as file:
            draw(report, design, moves, file, path.suffix.lower().removeprefix("."))
    except OSError as exc:
        raise ExportFailed(f"{path} could not be written: {exc.strerror or exc}") from exc
