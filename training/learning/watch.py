"""What watches over a training run: its log, its time budget, its best epoch, and when to stop."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.errors import RunFailed
from training.learning.trainer import AnswerTrainer
from training.progress import Reporter

# What validating a row costs beside training on it: no gradients, no optimiser.
_VALIDATION_COST = 0.4


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run did. Speeds leave validation out; losses are per answer token."""

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


class Watch(TrainerCallback):
    """Follows one trainer; hand it over with `follow` before training."""

    def __init__(self, log: Path, validation_rows: int, patience: int, reporter: Reporter) -> None:
        self._log, self._validation_rows, self._patience = log, validation_rows, patience
        self._reporter = reporter
        self._step_seconds = 0.0
        self._step_began = 0.0
        self._best: dict[str, Tensor] | None = None
        self._best_score = (-1.0, -math.inf)  # share of exact rows, then minus the loss
        self._best_epoch = 0.0
        self._worse = 0
        self._steps, self._epochs = 0, 0.0
        self.stopped = "epochs"

    def follow(self, trainer: AnswerTrainer) -> None:
        """The trainer to watch."""
        self._trainer = trainer
        self._budget = trainer.seconds

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self._log.write_bytes(b"")
        self._trainer.start_clock()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start timing a step."""
        self._step_began = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Count the step, and stop while there is still time to validate."""
        self._step_seconds += time.monotonic() - self._step_began
        self._steps, self._epochs = state.global_step, float(state.epoch or 0.0)
        if self._budget is not None:
            row = self._step_seconds / self._trainer.rows_seen
            self._trainer.seconds = max(
                0.0, self._budget - self._validation_rows * row * _VALIDATION_COST
            )
            if self._trainer.elapsed + self._step_seconds / self._steps >= self._trainer.seconds:
                self.stopped = "time"
                control.should_training_stop = True

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
        line = {
            "step": state.global_step,
            "epoch": state.epoch,
            "validation_loss" if "eval_loss" in logs else "loss": loss,
            "tokens_per_second": round(
                self._trainer.tokens_seen / max(self._step_seconds, 1e-9), 1
            ),
            "rows_per_second": round(self._trainer.rows_seen / max(self._step_seconds, 1e-9), 2),
            "seconds": round(self._trainer.elapsed, 2),
        }
        if "learning_rate" in logs:
            line["lr"] = logs["learning_rate"]
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
        if score > self._best_score:
            weights = get_peft_model_state_dict(self._trainer.model)
            self._best = {name: tensor.detach().clone() for name, tensor in weights.items()}
            self._best_score, self._best_epoch = score, float(state.epoch or 0.0)
            self._worse = 0
            return
        self._worse += 1
        if self._worse > self._patience:
            self.stopped = "validation"
            control.should_training_stop = True

    def restore_best(self) -> None:
        """Put the best epoch's weights back into the model."""
        if self._best is not None:
            set_peft_model_state_dict(self._trainer.model, self._best)

    def summary(self, train_loss: float) -> Trained:
        """What the run did, once it is over."""
        seconds = max(self._step_seconds, 1e-9)
        return Trained(
            steps=self._steps,
            epochs=round(self._epochs, 3),
            rows=self._trainer.rows_seen,
            seconds=round(self._trainer.elapsed, 1),
            rows_per_second=round(self._trainer.rows_seen / seconds, 2),
            tokens_per_second=round(self._trainer.tokens_seen / seconds, 1),
            train_loss=train_loss,
            validation_loss=None if self._best is None else -self._best_score[1],
            validation_exact=None if self._best is None else self._best_score[0],
            best_epoch=round(self._best_epoch, 3),
            stopped=self.stopped,
        )

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
