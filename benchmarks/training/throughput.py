"""How many rows a second our training path learns, beside plain TRL on the same rows.

Contenders take turns, each from the same start with the same rows, steps, batch, LoRA and number
types; speed is measured from the end of the first step to the end of the last.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import geometric_mean, mean, stdev
from typing import Any

import torch

from benchmarks.training.trl_side import train_with_trl
from training.errors import TooFewRows
from training.evaluation.inprocess import InProcess
from training.evaluation.likelihood import Likelihood
from training.learning.encoding import encode_all
from training.learning.sft import ADAPTER, SftSettings, load_tokenizer, train
from training.progress import Reporter
from training.rows import Row

OURS, TRL, TRL_TUNED = "turnout", "TRL", "TRL, no gradient checkpointing"
AT_LEAST = 3.0
_SPREAD = 3  # standard errors


class Clock:
    """Told of every step; a Reporter for our side."""

    def __init__(self) -> None:
        self._ticks: list[tuple[float, float]] = []

    def tick(self) -> None:
        """A step has ended."""
        self._ticks.append((time.monotonic(), time.process_time()))

    def stage(self, name: str) -> None:
        """Nothing to time."""

    def advance(self, done: float, total: float, figures: Mapping[str, float]) -> None:
        """Our trainer reports after every step."""
        self.tick()

    @property
    def spent(self) -> tuple[float, float]:
        """Seconds and processor seconds after the first step."""
        (began, cpu_began), (ended, cpu_ended) = self._ticks[0], self._ticks[-1]
        return ended - began, cpu_ended - cpu_began


Contender = Callable[[Path, Sequence[Row], SftSettings, Path, Clock], Path]


def _ours(
    base: Path, rows: Sequence[Row], settings: SftSettings, folder: Path, clock: Clock
) -> Path:
    encoded, _ = encode_all(rows, load_tokenizer(base), settings.max_length)
    train(base, encoded, [], settings, folder, clock)
    return folder / ADAPTER


def _trl(
    base: Path,
    rows: Sequence[Row],
    settings: SftSettings,
    folder: Path,
    clock: Clock,
    *,
    checkpointing: bool,
) -> Path:
    return train_with_trl(base, rows, settings, folder, clock.tick, checkpointing=checkpointing)


CONTENDERS: dict[str, Contender] = {
    OURS: _ours,
    TRL: partial(_trl, checkpointing=True),
    TRL_TUNED: partial(_trl, checkpointing=False),
}


@dataclass(frozen=True, slots=True)
class Round:
    """One training: speeds, the loss of validation answers' tokens, peak memory of an accelerator
    in GB."""

    rows_per_second: float
    tokens_per_second: float
    cpu_seconds_per_row: float
    loss: float
    memory: float | None


@dataclass(frozen=True, slots=True)
class Workload:
    """Rows to learn from, and rows whose loss shows that all have learned as much."""

    name: str
    train: tuple[Row, ...]
    validation: tuple[Row, ...]

    def with_labels(self) -> "Workload":
        """The same rows under longer instructions, which name all labels."""
        labels = ", ".join(sorted({row.answer for row in self.train}))
        named = partial(_instructed, more=f" The labels are: {labels}.")
        return Workload(
            f"{self.name}, labels in the instructions",
            tuple(map(named, self.train)),
            tuple(map(named, self.validation)),
        )


@dataclass(frozen=True, slots=True)
class Throughput:
    """The rounds of every contender on one workload, in the same order for all."""

    workload: str
    tokens_per_row: float
    rounds: Mapping[str, tuple[Round, ...]]

    def mean(self, contender: str, figure: str) -> float:
        """A speed as geometric mean over rounds, anything else as plain mean."""
        average = mean if figure == "loss" else geometric_mean
        return float(average(getattr(one, figure) for one in self.rounds[contender]))

    def ratios(self, rival: str) -> tuple[float, ...]:
        """Our processor seconds a row against a rival's, round by round; above 1 we are quicker."""
        pairs = zip(self.rounds[rival], self.rounds[OURS], strict=True)
        return tuple(its.cpu_seconds_per_row / our.cpu_seconds_per_row for its, our in pairs)

    def loss_gap(self, rival: str) -> tuple[float, float]:
        """Mean of our loss minus a rival's over the rounds, and the standard error of that."""
        pairs = zip(self.rounds[OURS], self.rounds[rival], strict=True)
        gaps = [our.loss - its.loss for our, its in pairs]
        return mean(gaps), stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else 0.0

    @property
    def ok(self) -> bool:
        """At least so many times as quick as TRL as it comes, and our loss not the higher one."""
        gap, error = self.loss_gap(TRL)
        quick = self.mean(OURS, "rows_per_second") / self.mean(TRL, "rows_per_second")
        return quick >= AT_LEAST and gap <= _SPREAD * error

    def as_json(self) -> dict[str, Any]:
        """Figures of every contender, and ratios to every rival."""
        return {
            "tokens_per_row": round(self.tokens_per_row, 1),
            "contenders": {name: self._figures(name) for name in self.rounds},
            "against": {
                rival: {
                    "rows_per_second": round(
                        self.mean(OURS, "rows_per_second") / self.mean(rival, "rows_per_second"), 2
                    ),
                    "cpu_seconds_per_row": [round(one, 2) for one in self.ratios(rival)],
                    "loss_gap": [round(one, 4) for one in self.loss_gap(rival)],
                }
                for rival in self.rounds
                if rival != OURS
            },
            "ok": self.ok,
        }

    def _figures(self, name: str) -> dict[str, Any]:
        figures: dict[str, Any] = {
            figure: round(self.mean(name, figure), 4)
            for figure in ("rows_per_second", "tokens_per_second", "cpu_seconds_per_row", "loss")
        }
        peaks = [one.memory for one in self.rounds[name] if one.memory is not None]
        return figures | {
            "losses": [round(one.loss, 4) for one in self.rounds[name]],
            "peak_gb": round(max(peaks), 2) if peaks else None,
        }


def measure(
    base: Path,
    workload: Workload,
    settings: SftSettings,
    rounds: int,
    folder: Path,
    reporter: Reporter,
) -> Throughput:
    """Let all contenders train in turn, the order reversed after each round; seeds are the rounds'
    numbers."""
    encoded, _ = encode_all(workload.train, load_tokenizer(base), settings.max_length)
    steps, rest = divmod(len(encoded), settings.batch_size)
    if rest or steps < 2 or len(encoded) < len(workload.train):
        raise TooFewRows(
            f"{workload.name}: {len(encoded)} of {len(workload.train)} rows fit the model; "
            f"two or more full batches of {settings.batch_size} are needed"
        )
    tokens = sum(len(row.input_ids) for row in encoded)
    found: dict[str, list[Round]] = {name: [] for name in CONTENDERS}
    reporter.stage(f"train: {workload.name}")
    for number in range(rounds):
        for name in list(CONTENDERS)[:: -1 if number % 2 else 1]:
            done = sum(map(len, found.values()))
            reporter.advance(done, rounds * len(CONTENDERS), {})
            one = partial(CONTENDERS[name], base, workload.train)
            measured = _round(
                one,
                base,
                workload.validation,
                replace(settings, seed=number),
                steps,
                tokens,
                folder,
            )
            found[name].append(measured)
    kept = {name: tuple(some) for name, some in found.items()}
    return Throughput(workload.name, tokens / len(encoded), kept)


def _round(
    contender: Callable[[SftSettings, Path, Clock], Path],
    base: Path,
    validation: Sequence[Row],
    settings: SftSettings,
    steps: int,
    tokens: int,
    folder: Path,
) -> Round:
    """Train once and take the adapter's loss; the folder is empty before and gone afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    clock = Clock()
    adapter = contender(settings, folder, clock)
    memory = torch.cuda.max_memory_allocated() / 1e9 if on_gpu else None
    models = InProcess(base)
    models.load("trained", adapter)
    loss = Likelihood(tuple(models.losses("trained", validation))).per_token
    shutil.rmtree(folder)
    seconds, cpu_seconds = clock.spent
    timed = settings.epochs - 1 / steps  # passes over the rows
    rows = steps * settings.batch_size * timed
    return Round(rows / seconds, tokens * timed / seconds, cpu_seconds / rows, loss, memory)


def _instructed(row: Row, more: str) -> Row:
    (role, text), *rest = row.prompt
    return replace(row, prompt=((role, text + more), *rest))
