"""A model's answers to held-out questions, scored by task and compared with another model's.

Where the answers come from is the caller's business: a function from questions to texts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.errors import TooFewRows
from training.evaluation.intervals import (
    FEW,
    Interval,
    difference_interval,
    mean_interval,
    standard_error,
)
from training.evaluation.labels import LabelScores, label_scores
from training.evaluation.metrics import Metric, details, fields, metric_of, score
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
    """One task's scores, row by row, and what they were given for; an error scores 0 and is
    counted. `details` are means of the secondary scores."""

    metric: Metric
    values: tuple[float, ...]
    errored: int
    details: Mapping[str, float]
    rows: tuple[Row, ...] = ()
    answers: tuple[str | None, ...] = ()

    @classmethod
    def of(
        cls, pairs: Sequence[tuple[Row, str | None]], metric: Metric | None = None
    ) -> "TaskResult":
        """Score one task's answers by its metric, or by the one that is given."""
        chosen = metric or metric_of([row for row, _ in pairs])
        return cls(
            chosen,
            tuple(0.0 if text is None else score(chosen, row.answer, text) for row, text in pairs),
            sum(text is None for _, text in pairs),
            _means([details(chosen, row.answer, text or "") for row, text in pairs]),
            tuple(row for row, _ in pairs),
            tuple(text for _, text in pairs),
        )

    @property
    def score(self) -> float:
        return sum(self.values) / len(self.values)

    @property
    def ci95(self) -> Interval:
        return mean_interval(self.values)

    @property
    def fields(self) -> dict[str, float]:
        """Of JSON, how often each field is right among the rows that expect it."""
        if self.metric is not Metric.JSON_MATCH:
            return {}
        pairs = zip(self.rows, self.answers, strict=True)
        return _means([fields(row.answer, text or "") for row, text in pairs])

    @property
    def labels(self) -> LabelScores | None:
        """Label by label, where every answer is a label."""
        sorts = self.rows and all(row.label is not None for row in self.rows)
        if self.metric is not Metric.EXACT_MATCH or not sorts:
            return None
        return label_scores([row.answer for row in self.rows], self.answers)

    def as_json(self) -> dict[str, Any]:
        """The task as the `evaluate` verb prints it."""
        document: dict[str, Any] = {
            "n": len(self.values),
            "metric": str(self.metric),
            "score": self.score,
            "stderr": standard_error(self.values),
            "ci95": self.ci95,
            "few": len(self.values) < FEW,
            **self.details,
        }
        if self.rows:
            lengths = {"expected": [row.answer for row in self.rows], "answer": self.answers}
            document["characters"] = {
                name: sum(len(text or "") for text in texts) / len(texts)
                for name, texts in lengths.items()
            }
        if self.fields:
            document["fields"] = self.fields
        if (found := self.labels) is not None:
            document |= asdict(found) | {"macro_f1": found.macro_f1}
        return rounded(document)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one evaluation is than another on the same rows, with a 95 % interval."""

    score: float
    difference: float
    ci95: Interval

    def as_json(self) -> dict[str, Any]:
        """The comparison as the `evaluate` verb prints it."""
        return rounded(asdict(self))


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

    @property
    def answered(self) -> list[tuple[Row, str | None]]:
        """Every row with its answer, task by task."""
        return [
            pair
            for task in self.tasks.values()
            for pair in zip(task.rows, task.answers, strict=True)
        ]

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


def evaluate(
    model: str,
    rows: Sequence[Row],
    answers: Answers,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    ask: Callable[[Sequence[Row]], list[Question]] = questions,
) -> Evaluation:
    """Ask every row's question and score the answers by task. Raises TooFewRows without rows.

    `ask` makes the questions, one per row in the same order.
    """
    if not rows:
        raise TooFewRows("there are no rows to evaluate on")
    return scored(model, rows, answers(ask(rows), on_progress))


def ask_again(
    original: Evaluation,
    variants: Sequence[Row],
    answers: Answers,
    on_progress: Callable[[int, int], None],
) -> list[str | None]:
    """Answers to variants of evaluated rows, with the room that these had."""
    rows = [row for row, _ in original.answered]
    return answers(questions([*rows, *variants])[len(rows) :], on_progress)


def scored(
    model: str,
    rows: Sequence[Row],
    answers: Sequence[str | None],
    metrics: Mapping[str, Metric] | None = None,
) -> Evaluation:
    """Score answers that are there already, by the tasks' own metrics or by the given ones."""
    by_task: dict[str, list[tuple[Row, str | None]]] = {}
    for row, answer in zip(rows, answers, strict=True):
        by_task.setdefault(row.task, []).append((row, answer))
    tasks = {
        name: TaskResult.of(pairs, (metrics or {}).get(name))
        for name, pairs in sorted(by_task.items())
    }
    return Evaluation(model, tasks)


def rounded(document: dict[str, Any]) -> dict[str, Any]:
    """A JSON document with its fractions to four places."""
    return {key: _rounded(value) for key, value in document.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return rounded(value)
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def _means(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every name, over those that have it."""
    collected: dict[str, list[float]] = {}
    for item in found:
        for name, value in item.items():
            collected.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in collected.items()}
