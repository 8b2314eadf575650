"""The same run in one process, on one Ray worker, on two, and on two of which one is killed.

    python -m benchmarks.ray_training

The batch, the order of the rows and the seed are the same, so the figures have to agree but for
rounding.
"""

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import click
import psutil
import torch

from adapters.cli import as_json, show_json, show_table
from benchmarks import options
from gateway.workspace import Workspace
from training.curation.split import Split
from training.launchers.ray import RayLauncher
from training.learning.learn import learn
from training.learning.sft import SftSettings
from training.progress import Silence
from training.rows import read_chat
from training.run import Launch

TASK = "banking_intent"
INTENTS = 10
VALIDATION = 60
WORKER = "RayTrainWorker"  # how Ray calls its workers' processes


class LoseOne(Silence):
    """Kills a worker once the first checkpoint is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.killed = False

    def advance(self, done: float, total: float, figures: Mapping[str, float]) -> None:
        """Look for a checkpoint, then for a victim."""
        if not self.killed and any(self._folder.glob("checkpoint-*/trainer_state.json")):
            workers = [
                process.pid
                for process in psutil.Process().children(recursive=True)
                if WORKER in " ".join(process.cmdline())
            ]
            os.kill(max(workers), signal.SIGKILL)
            self.killed = True


@dataclass(frozen=True, slots=True)
class Measured:
    """One run; `seconds` with all starts and restarts, `learning` as the last process counts it."""

    run: str
    steps: int
    train_loss: float
    validation_loss: float
    exact: float
    learning: float
    seconds: float


def measured(
    name: str, launch: Launch, base: Path, parts: Split, settings: SftSettings
) -> Measured:
    """Train once and throw the adapter away."""
    with tempfile.TemporaryDirectory(prefix="turnout-") as folder:
        reporter = LoseOne(Path(folder)) if "killed" in name else Silence()
        began = time.perf_counter()
        trained = launch(base, parts, settings, Path(folder), reporter)
        seconds = time.perf_counter() - began
        if isinstance(reporter, LoseOne) and not reporter.killed:
            raise click.ClickException("the run ended before a worker could be killed")
    return Measured(
        run=name,
        steps=trained.steps,
        train_loss=trained.train_loss,
        validation_loss=trained.validation_loss or 0.0,
        exact=trained.validation_exact or 0.0,
        learning=trained.seconds,
        seconds=seconds,
    )


def chosen(path: Path, seed: int = 0) -> Split:
    """Rows of the most frequent intents: 60 to be validated on, the others to learn from."""
    rows = [row for row in read_chat(path) if row.task == TASK]
    frequent = {label for label, _ in Counter(row.label for row in rows).most_common(INTENTS)}
    some = [row for row in rows if row.label in frequent]
    mixed = Random(seed).sample(some, len(some))
    return Split(
        train=tuple(mixed[VALIDATION:]),
        validation=tuple(mixed[:VALIDATION]),
        test=(),
        contaminated=(),
        grouped_by="row",
    )


@click.command()
@options.data("finance/train.jsonl")
@click.option("--epochs", type=click.IntRange(2), default=2, show_default=True)
@as_json
def main(data: Path, epochs: int, as_json: bool) -> None:
    """Measure what spreading a run over workers changes."""
    base, settings = Workspace().base_model, SftSettings(epochs=epochs, patience=epochs)
    parts = chosen(data / "finance" / "train.jsonl")
    torch.set_num_threads(1)
    runs: dict[str, Launch] = {
        "one process": learn,
        "one Ray worker": RayLauncher(1),
        "two Ray workers": RayLauncher(2),
        "two, one killed": RayLauncher(2),
    }
    with options.steps() as progress:
        found = [
            measured(name, launch, base, parts, settings)
            for name, launch in progress.track(runs.items(), description="runs")
        ]
    if as_json:
        show_json({"rows": len(parts.train), "runs": found})
        return
    show_table(
        ("run", "steps", "training loss", "validation loss", "exact", "learning s", "in all s"),
        [
            (
                one.run,
                one.steps,
                f"{one.train_loss:.4f}",
                f"{one.validation_loss:.4f}",
                f"{one.exact:.3f}",
                f"{one.learning:.0f}",
                f"{one.seconds:.0f}",
            )
            for one in found
        ],
    )


if __name__ == "__main__":
    main()
