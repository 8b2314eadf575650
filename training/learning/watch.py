"""What watches over a training run: its log, its time budget, its best epoch, when to stop and when
to save."""

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from adapters.lora import WEIGHTS
from training.errors import RunFailed
from training.learning.parallel import first
from training.learning.trainer import AnswerTrainer
from training.progress import Reporter

# What validating a row costs beside training on it: no gradients, no optimiser.
_VALIDATION_COST = 0.4
# A checkpoint takes a second or two; losing more work than this is worse.
_SAVE_SECONDS = 300.0
_STATE, _BEST = "watch.json", "best.safetensors"


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run did. Speeds leave validation out; losses are per answer token, or of
    preferences per row.

    `validation_exact` is the share of validation rows that came out right: every token of the
    answer, or of preferences the one that the model leans to more than at the start. `before` is
    the training on answers that went before one on preferences.
    """

    steps: int
    epochs: float
    rows: int
    seconds: float
    rows_per_second: float
    tokens_per_second: float
    train_loss: float
    validation_loss: float | None
    validation_exact: float | None
    best_epoch: float
    stopped: str
    before: "Trained | None" = None


@dataclass
class _Progress:
    """What a run that goes on has to know of its past. The best score is the share of rows that
    are right, then minus the loss."""

    step_seconds: float = 0.0
    elapsed: float = 0.0
    rows: int = 0
    tokens: int = 0
    steps: int = 0
    epochs: float = 0.0
    losses: float = 0.0
    best_score: Sequence[float] = (-1.0, -math.inf)
    best_epoch: float = 0.0
    worse: int = 0
    stopped: str = "epochs"


class Watch(TrainerCallback):
    """Follows one trainer; hand it over with `follow` before training."""

    def __init__(self, log: Path, validation_rows: int, patience: int, reporter: Reporter) -> None:
        self._log, self._validation_rows, self._patience = log, validation_rows, patience
        self._reporter = reporter
        self._now = _Progress()
        self._best: dict[str, Tensor] | None = None
        self._step_began = 0.0
        self._saved = 0.0

    def follow(self, trainer: AnswerTrainer) -> None:
        """The trainer to watch."""
        self._trainer = trainer
        self._budget = trainer.seconds

    @property
    def is_over(self) -> bool:
        """Whether the run had been stopped when it was saved."""
        return self._now.stopped != "epochs"

    def save(self, folder: Path) -> None:
        """What `restore` needs, into a checkpoint."""
        self._now.elapsed = self._trainer.elapsed
        self._now.rows, self._now.tokens = self._trainer.rows_seen, self._trainer.tokens_seen
        (folder / _STATE).write_text(json.dumps(asdict(self._now)), encoding="utf-8")
        if self._best is not None:
            save_file(self._best, folder / _BEST)

    def restore(self, checkpoint: Path) -> None:
        """Go on as if nothing had happened since; time and log of lost steps do not count."""
        self._now = _Progress(**json.loads((checkpoint / _STATE).read_bytes()))
        self._trainer.rows_seen, self._trainer.tokens_seen = self._now.rows, self._now.tokens
        self._trainer.start_clock(self._now.elapsed)
        if (checkpoint / _BEST).exists():
            self._best = load_file(checkpoint / _BEST)
        elif self.is_over:
            self._best = load_file(checkpoint / WEIGHTS)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any
    ) -> None:
        """Start the clock, and a log of the steps that count."""
        if self._trainer.is_world_process_zero():
            _cut(self._log, state.global_step)
        self._saved = time.monotonic()
        self._trainer.start_clock(self._now.elapsed)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start timing a step."""
        self._step_began = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Count the step, stop while there is still time to validate, and save now and then."""
        now = self._now
        now.step_seconds += time.monotonic() - self._step_began
        now.steps, now.epochs = state.global_step, float(state.epoch or 0.0)
        if self._budget is not None:
            row = now.step_seconds / self._trainer.rows_seen
            self._trainer.seconds = max(
                0.0, self._budget - self._validation_rows * row * _VALIDATION_COST
            )
            after_next = self._trainer.elapsed + now.step_seconds / now.steps
            left = first(self._trainer.seconds - after_next, args.device)
            if left <= 0:
                now.stopped = "time"
                control.should_training_stop = True
        # The end of an epoch is saved anyway, when it has been validated.
        unsaved = first(time.monotonic() - self._saved, args.device)
        if unsaved > _SAVE_SECONDS and not (now.epochs.is_integer() or self.is_over):
            control.should_save = True

    def on_save(self, *_: Any, **__: Any) -> None:
        """Note when."""
        self._saved = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Log a step or a validation and show the bar. Raises RunFailed on a broken loss."""
        logs = logs or {}
        loss = logs.get("loss", logs.get("eval_loss"))
        if loss is None:
            return
        if not math.isfinite(loss):
            raise RunFailed(
                f"the loss became {loss} at step {state.global_step}; "
                "a lower learning rate may help"
            )
        if "loss" in logs:
            self._now.losses += loss
        line = {
            "step": state.global_step,
            "epoch": state.epoch,
            "validation_loss" if "eval_loss" in logs else "loss": loss,
            "tokens_per_second": self._speed(self._trainer.tokens_seen, 1),
            "rows_per_second": self._speed(self._trainer.rows_seen, 2),
            "seconds": round(self._trainer.elapsed, 2),
        }
        if "learning_rate" in logs:
            line["lr"] = logs["learning_rate"]
        if state.is_world_process_zero:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        self._show(state, loss, line)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Keep the weights of the best epoch; stop when `patience` epochs in a row were worse.

        The best has the most rows exactly right, and among equals the lowest loss: on labels, the
        loss rises with a model's confidence while its answers still get better (LOG.md).
        """
        loss = (metrics or {}).get("eval_loss", math.inf)
        score = (self._trainer.take_exact_share(), -loss)
        now = self._now
        if score > tuple(now.best_score):
            weights = get_peft_model_state_dict(self._trainer.model)
            self._best = {name: tensor.detach().clone() for name, tensor in weights.items()}
            now.best_score, now.best_epoch, now.worse = score, float(state.epoch or 0.0), 0
            return
        now.worse += 1
        if now.worse > self._patience:
            now.stopped = "validation"
            control.should_training_stop = True

    def restore_best(self) -> None:
        """Put the best epoch's weights back into the model."""
        if self._best is not None:
            set_peft_model_state_dict(self._trainer.model, self._best)

    def summary(self) -> Trained:
        """What the run did, once it is over."""
        now, validated = self._now, self._now.best_score[0] >= 0
        return Trained(
            steps=now.steps,
            epochs=round(now.epochs, 3),
            rows=self._trainer.rows_seen,
            seconds=round(self._trainer.elapsed, 1),
            rows_per_second=self._speed(self._trainer.rows_seen, 2),
            tokens_per_second=self._speed(self._trainer.tokens_seen, 1),
            train_loss=now.losses / max(now.steps, 1),
            validation_loss=-now.best_score[1] if validated else None,
            validation_exact=now.best_score[0] if validated else None,
            best_epoch=round(now.best_epoch, 3),
            stopped=now.stopped,
        )

    def _speed(self, count: int, digits: int) -> float:
        return round(count / max(self._now.step_seconds, 1e-9), digits)

    def _show(self, state: TrainerState, loss: float, line: dict[str, Any]) -> None:
        done, total = float(state.global_step), float(max(state.max_steps, 1))
        if self._budget and self._trainer.elapsed / self._budget > done / total:
            done, total = min(self._trainer.elapsed, self._budget), self._budget
        figures = {
            "loss": loss,
            "tokens/s": line["tokens_per_second"],
            "rows/s": line["rows_per_second"],
        }
        self._reporter.advance(done, total, figures)


def _cut(log: Path, step: int) -> None:
    """Take away what a log says of later steps, and a line that was not finished."""
    lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
    whole = (line for line in lines if line.endswith(b"\n"))
    aside = log.with_name(f".{log.name}")
    aside.write_bytes(b"".join(line for line in whole if json.loads(line)["step"] <= step))
    os.replace(aside, log)  # another file, so that who reads along begins anew
