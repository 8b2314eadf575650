"""What a linear classifier on words and characters makes of the same rows: the rival that a
fine-tuned model must be worth more than."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC

from training.evaluation.evaluate import TaskResult
from training.evaluation.metrics import Metric, fields, parse_object, score
from training.rows import Row

# A label that fewer rows have than this, on average, is no label but an answer of its own.
_ROWS_PER_LABEL = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """A task whose answers are labels, or the field of a JSON task whose values are."""

    task: str
    field: str | None = None

    @property
    def name(self) -> str:
        return self.task if self.field is None else f"{self.task}.{self.field}"

    def label(self, row: Row) -> str:
        """What is to be chosen for this row."""
        if self.field is None:
            return row.answer
        return str((parse_object(row.answer) or {})[self.field])

    def scores(self, result: TaskResult) -> list[float]:
        """Row by row, whether a model's answers hold the right label."""
        if self.field is None:
            return list(result.values)
        pairs = zip(result.rows, result.answers, strict=True)
        return [fields(row.answer, text or "")[self.field] for row, text in pairs]


def choices(rows: Sequence[Row]) -> Iterator[Choice]:
    """The label tasks among some training rows, and the label fields of their JSON tasks."""
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    for task, its in by_task.items():
        objects = [parse_object(row.answer) or {} for row in its]
        names = set(objects[0]) if all(one.keys() == objects[0].keys() for one in objects) else ()
        for choice in (Choice(task), *(Choice(task, name) for name in sorted(names))):
            if len(its) >= _ROWS_PER_LABEL * len({choice.label(row) for row in its}):
                yield choice


def classify(choice: Choice, train: Sequence[Row], test: Sequence[Row]) -> list[float]:
    """Row by row, whether TF-IDF with a linear SVM chooses right, fitted on the training rows.

    Words and pairs of words, and runs of two to five characters within words.
    """
    learned = [row for row in train if row.task == choice.task]
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    model = make_pipeline(features, LinearSVC())
    model.fit([row.question for row in learned], [choice.label(row) for row in learned])
    asked = [row for row in test if row.task == choice.task]
    chosen = model.predict([row.question for row in asked])
    return [
        score(Metric.EXACT_MATCH, choice.label(row), str(label))
        for row, label in zip(asked, chosen, strict=True)
    ]


def rivals(
    train: Sequence[Row], tasks: Mapping[str, TaskResult]
) -> Iterator[tuple[Choice, list[float], list[float]]]:
    """Of every choice among these tasks, a model's scores and the classifier's, row by row."""
    for choice in choices(train):
        result = tasks[choice.task]
        yield choice, choice.scores(result), classify(choice, train, result.rows)
