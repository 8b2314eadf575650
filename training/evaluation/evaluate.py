"""A model's answers to held-out questions, scored by task and compared with another model's.

Where the answers come from is the caller's business: a function from questions to texts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.errors import TooFewRows
from training.evaluation.metrics import (
    Metric,
    details,
    difference_interval,
    metric_of,
    score,
    standard_error,
)
from training.rows import Message, Row

# Characters a token stands for, at the least that matters: an expected answer is never cut short.
_CHARACTERS_PER_TOKEN = 2
_SPARE_TOKENS = 8
_MOST_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, and the number of tokens its answer may have."""

    messages: list[Message]
    max_tokens: int


# Texts in the order of the questions, None where no answer came. The callback hears (done, total).
Answers = Callable[[Sequence[Question], Callable[[int, int], None]], list[str | None]]


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task's scores, row by row; an error scores 0 and is counted."""

    metric: Metric
    values: tuple[float, ...]
    errored: int
    details: Mapping[str, float]

    @property
    def score(self) -> float:
        return sum(self.values) / len(self.values)

    def as_json(self) -> dict[str, Any]:
        """The task as the `evaluate` verb prints it."""
        return {
            "n": len(self.values),
            "metric": str(self.metric),
            "score": round(self.score, 4),
            "stderr": round(standard_error(self.values), 4),
            **{name: round(value, 4) for name, value in self.details.items()},
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one evaluation is than another on the same rows, with a 95 % interval."""

    score: float
    difference: float
    ci95: tuple[float, float]

    def as_json(self) -> dict[str, Any]:
        """The comparison as the `evaluate` verb prints it."""
        return {
            "score": round(self.score, 4),
            "difference": round(self.difference, 4),
            "ci95": [round(bound, 4) for bound in self.ci95],
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model on a set of rows; `score` is the mean over tasks, so that none drowns others."""

    model: str
    tasks: Mapping[str, TaskResult]

    @property
    def n(self) -> int:
        return sum(len(task.values) for task in self.tasks.values())

    @property
    def errored(self) -> int:
        return sum(task.errored for task in self.tasks.values())

    @property
    def score(self) -> float:
        return sum(task.score for task in self.tasks.values()) / len(self.tasks)

    def against(self, other: "Evaluation", task: str | None = None) -> Difference:
        """The difference to another model's evaluation, over all tasks or on one."""
        names = [task] if task is not None else list(self.tasks)
        mine = {name: self.tasks[name].values for name in names}
        theirs = {name: other.tasks[name].values for name in names}
        ours = sum(self.tasks[name].score for name in names) / len(names)
        its = sum(other.tasks[name].score for name in names) / len(names)
        return Difference(its, ours - its, difference_interval(mine, theirs))

    def as_json(self, others: Sequence["Evaluation"] = ()) -> dict[str, Any]:
        """The document of `turnout evaluate --json`."""
        return {
            "model": self.model,
            "n": self.n,
            "tasks": {name: task.as_json() for name, task in self.tasks.items()},
            "score": round(self.score, 4),
            "errored": self.errored,
            "against": {other.model: self.against(other).as_json() for other in others},
        }


def evaluate(
    model: str,
    rows: Sequence[Row],
    answers: Answers,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Ask every row's question and score the answers by task. Raises TooFewRows without rows."""
    if not rows:
        raise TooFewRows("there are no rows to evaluate on")
    given = answers(questions(rows), on_progress)
    by_task: dict[str, list[tuple[Row, str | None]]] = {}
    for row, answer in zip(rows, given, strict=True):
        by_task.setdefault(row.task, []).append((row, answer))
    return Evaluation(model, {task: _score_task(pairs) for task, pairs in sorted(by_task.items())})


def questions(rows: Sequence[Row]) -> list[Question]:
    """The rows' prompts, each with room for the longest expected answer of its task."""
    longest: dict[str, int] = {}
    for row in rows:
        longest[row.task] = max(longest.get(row.task, 0), len(row.answer))
    return [
        Question(
            row.messages,
            min(_SPARE_TOKENS + longest[row.task] // _CHARACTERS_PER_TOKEN, _MOST_TOKENS),
        )
        for row in rows
    ]


def _score_task(pairs: Sequence[tuple[Row, str | None]]) -> TaskResult:
    metric = metric_of([row for row, _ in pairs])
    values = tuple(0.0 if text is None else score(metric, row.answer, text) for row, text in pairs)
    seconds = [details(metric, row.answer, text or "") for row, text in pairs]
    means = {name: sum(item[name] for item in seconds) / len(seconds) for name in seconds[0]}
    return TaskResult(metric, values, sum(text is None for _, text in pairs), means)
