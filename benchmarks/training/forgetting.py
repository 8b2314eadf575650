"""The share phase's figures: how near LoRA comes to training all weights, what each forgets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from training.evaluation.evaluate import Evaluation
from training.evaluation.intervals import RESAMPLES, Interval
from training.evaluation.likelihood import Likelihood

MOST_WEIGHTS = 0.01
ENOUGH = 0.95  # of full fine-tuning's score
MOST_LOST = 0.01  # of what the base model could do


class Method(StrEnum):
    """Which weights learn."""

    LORA = "LoRA"
    FULL = "full fine-tuning"


@dataclass(frozen=True, slots=True)
class Kept:
    """A model on what it should not forget: scores, and losses by capability."""

    scores: Evaluation
    losses: Mapping[str, Likelihood]

    def as_json(self, before: "Kept") -> dict[str, Any]:
        """Each capability now, with the difference to before."""
        return {
            name: {
                "score": round(task.score, 4),
                **{
                    key: value
                    for key, value in self.scores.against(before.scores, name).as_json().items()
                    if key != "score"
                },
                "loss": round(self.losses[name].per_token, 4),
                "loss_before": round(before.losses[name].per_token, 4),
            }
            for name, task in self.scores.tasks.items()
        }


@dataclass(frozen=True, slots=True)
class Student:
    """One trained model: `mixed` with general rows or not; `seconds` of its training."""

    method: Method
    mixed: bool
    rate: float
    seconds: float
    task: Evaluation
    kept: Kept

    @property
    def name(self) -> str:
        return f"{self.method}, general rows mixed in" if self.mixed else str(self.method)


@dataclass(frozen=True, slots=True)
class Shared:
    """One task. `share` of the weights that LoRA trains; `searched`: by method and learning rate,
    validation rows exactly right after the search's steps."""

    task: str
    share: float
    base: Evaluation
    before: Kept
    students: tuple[Student, ...]
    searched: Mapping[Method, Mapping[str, float]]

    def student(self, method: Method, *, mixed: bool) -> Student:
        return next(one for one in self.students if (one.method, one.mixed) == (method, mixed))

    def ratio(self, *, mixed: bool) -> tuple[float, Interval] | None:
        """LoRA's score by full fine-tuning's, with an interval; None where the latter is 0."""
        lora, full = (self.student(method, mixed=mixed) for method in Method)
        return ratio(lora.task.tasks[self.task].values, full.task.tasks[self.task].values)

    @property
    def ok(self) -> bool:
        """Without general rows near full fine-tuning's score; with them, as little forgotten."""
        near = self.ratio(mixed=False)
        lost = self.before.scores.score - self.student(Method.LORA, mixed=True).kept.scores.score
        return (
            self.share < MOST_WEIGHTS
            and near is not None
            and near[0] >= ENOUGH
            and lost <= MOST_LOST
        )

    def as_json(self) -> dict[str, Any]:
        """Scores, ratios, and what was kept of each capability."""
        ratios = {
            name: None if found is None else {"ratio": round(found[0], 4), "ci95": found[1]}
            for name, found in (
                ("alone", self.ratio(mixed=False)),
                ("general rows mixed in", self.ratio(mixed=True)),
            )
        }
        return {
            "trained_share": round(self.share, 5),
            "base": round(self.base.score, 4),
            "models": {
                one.name: {
                    "learning_rate": one.rate,
                    "seconds": round(one.seconds, 1),
                    "score": round(one.task.score, 4),
                    "ci95": [round(end, 4) for end in one.task.tasks[self.task].ci95],
                    "kept": one.kept.as_json(self.before),
                    "kept_mean": round(one.kept.scores.score, 4),
                }
                for one in self.students
            },
            "kept_mean_before": round(self.before.scores.score, 4),
            "lora_by_full": ratios,
            "searched": {str(method): dict(rates) for method, rates in self.searched.items()},
            "ok": self.ok,
        }


def ratio(mine: Sequence[float], theirs: Sequence[float]) -> tuple[float, Interval] | None:
    """Ratio of two means over the same rows with a paired bootstrap's 95 % interval; None where
    the second mean is 0."""
    both = np.array([mine, theirs])
    if not both[1].any():
        return None
    chosen = np.random.default_rng(0).integers(both.shape[1], size=(RESAMPLES, both.shape[1]))
    ours, its = both[:, chosen].mean(axis=2)
    low, high = np.percentile((ours / np.maximum(its, 1e-9)), [2.5, 97.5])
    return float(both[0].mean() / both[1].mean()), (round(float(low), 4), round(float(high), 4))
