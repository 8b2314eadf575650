"""Figures of routers and tiers: made where matplotlib is installed, and written whole."""

from pathlib import Path
from typing import TYPE_CHECKING

from router.errors import PictureError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(width: float, height: float) -> "Figure":
    """An empty one, in inches; raises PictureError without matplotlib."""
    try:
        from matplotlib.figure import Figure  # an extra, of 100 MB with what it needs
    except ModuleNotFoundError as exc:
        raise PictureError("pictures need matplotlib: pip install 'turnout[plots]'") from exc
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def save(drawn: "Figure", file: Path) -> None:
    """In the form of the file's suffix; it appears whole or not at all."""
    aside = file.with_name(f".{file.name}.part")
    try:
        with aside.open("wb") as stream:
            drawn.savefig(stream, format=file.suffix.lower().removeprefix("."))
        aside.replace(file)
    except OSError as exc:
        raise PictureError(f"{file} could not be written: {exc.strerror or exc}") from exc
    finally:
        aside.unlink(missing_ok=True)
