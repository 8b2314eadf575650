"""What a run tells of itself, written into the store as events of its job, in batches.

A reporter: it also is what stops a run that nobody wants any more.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from adapters.errors import AdapterError
from adapters.job import EventKind, Note
from adapters.jobs import JobBook

logger = logging.getLogger(__name__)

_BATCH_SECONDS = 2.0
_STEP = "log.jsonl"  # a line a step, in the run's folder
# What OpenAI calls the figures of a step, by our own names.
_FIGURES = {"loss": "train_loss", "validation_loss": "valid_loss", "lr": "learning_rate"}


class Stopped(Exception):
    """The run is not wanted any more: cancelled, paused, or its worker is gone."""


class Diary:
    """Follows one run.

    Args:
        folder: the run's, with its log and its checkpoints.
        unwanted: whether the run should end; asked at every step.
    """

    def __init__(
        self, book: JobBook, job: str, folder: Path, unwanted: Callable[[], bool] = lambda: False
    ) -> None:
        self._book = book
        self._job = job
        self._folder = folder
        self._unwanted = unwanted
        self._notes: list[Note] = []
        self._log, self._read = 0, 0
        known = book.events(job, [EventKind.CHECKPOINT], limit=10_000)
        self._known = {int(event.data["step"]) for event in known}
        told = book.events(job, [EventKind.METRICS], limit=100_000)
        self._told = {(int(event.data["step"]), "valid_loss" in event.data) for event in told}
        self._figures: dict[str, Any] = {}
        self._due = 0.0

    def stage(self, name: str) -> None:
        """Note that a stage begins. Raises Stopped."""
        self._look()
        self._notes.append(Note(f"The run is to {name}.", data={"stage": name}))
        self.write()
        if self._unwanted():
            raise Stopped

    def advance(self, done: float, total: float, figures: Mapping[str, float]) -> None:
        """Take up what the run has logged; written down every few seconds. Raises Stopped."""
        unwanted = self._unwanted()
        if unwanted or time.monotonic() >= self._due:
            self.write()
        if unwanted:
            raise Stopped

    def write(self) -> None:
        """Look once more, and write everything down; while the store is down it is kept."""
        self._look()
        self._due = time.monotonic() + _BATCH_SECONDS
        try:
            self._book.note(self._job, self._notes)
            self._notes = []
        except AdapterError as exc:
            logger.warning("events of %s wait for the store: %s", self._job, exc)

    def _look(self) -> None:
        self._notes += self._steps()
        self._notes += self._checkpoints()

    def _steps(self) -> Iterator[Note]:
        """Whole lines that are new in the run's log."""
        try:
            with (self._folder / _STEP).open("rb") as log:
                if (file := os.fstat(log.fileno()).st_ino) != self._log:  # a run began, or went on
                    self._log, self._read = file, 0
                log.seek(self._read)
                lines = log.read().splitlines(keepends=True)
        except FileNotFoundError:
            return
        for line in lines:
            if not line.endswith(b"\n"):
                return
            self._read += len(line)
            figures = {_FIGURES.get(name, name): value for name, value in json.loads(line).items()}
            step = int(figures["step"]), "valid_loss" in figures
            if step in self._told:  # done once more, after an interruption
                continue
            self._told.add(step)
            self._figures = self._figures | figures
            said = "validation" if "valid_loss" in figures else "training"
            loss = figures.get("valid_loss", figures.get("train_loss"))
            words = f"Step {figures['step']}: {said} loss={loss:.4f}"
            yield Note(words, EventKind.METRICS, data=figures, created=time.time())

    def _checkpoints(self) -> Iterator[Note]:
        """Folders `checkpoint-STEP`, as transformers leaves them, once they are whole."""
        for state in self._folder.glob("checkpoint-*/trainer_state.json"):
            number = state.parent.name.removeprefix("checkpoint-")
            if not number.isdigit() or int(number) in self._known:
                continue
            self._known.add(int(number))
            figures = {**self._figures, "step": int(number)}
            yield Note(f"Checkpoint at step {number}.", EventKind.CHECKPOINT, data=figures)
