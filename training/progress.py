"""How a long run tells what it is doing: to a terminal, or to nobody."""

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)


class Reporter(Protocol):
    """Told of each stage as it begins, and of how far it has come."""

    def stage(self, name: str) -> None:
        """A stage begins; the one before it has ended."""

    def advance(self, done: float, total: float, figures: Mapping[str, float]) -> None:
        """The stage has come so far; `figures` stand beside the bar, such as loss or rows/s."""


class Silence:
    """A reporter that reports nothing."""

    def stage(self, name: str) -> None:
        """Say nothing."""

    def advance(self, done: float, total: float, figures: Mapping[str, float]) -> None:
        """Say nothing."""


class Bar:
    """A progress bar on stderr; use as a context manager."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
        )
        self._task: int | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()
        self._progress.stop()

    def stage(self, name: str) -> None:
        """Close the line of the stage before, and begin a new one."""
        self._finish()
        self._task = self._progress.add_task(name, total=None, figures="")

    def advance(self, done: float, total: float, figures: Mapping[str, float]) -> None:
        """Redraw the current line."""
        if self._task is not None:
            shown = "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
            self._progress.update(self._task, completed=done, total=total, figures=shown)  # type: ignore[arg-type]  # rich's TaskID is an int

    def _finish(self) -> None:
        if self._task is not None:
            task = next(task for task in self._progress.tasks if task.id == self._task)
            total = task.total or 1
            self._progress.update(task.id, completed=total, total=total)
