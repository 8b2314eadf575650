"""Precision, recall and F1 of every label of a task, where answers are labels and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from sklearn.metrics import precision_recall_fscore_support


@dataclass(frozen=True, slots=True)
class LabelScore:
    """One label: `n` rows expect it. Precision is 0 where no answer named it."""

    precision: float
    recall: float
    f1: float
    n: int


@dataclass(frozen=True, slots=True)
class LabelScores:
    """All labels that rows expect; `other_answers` is the share of answers that are none."""

    labels: dict[str, LabelScore]
    other_answers: float

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the labels, each as important as any other."""
        return sum(label.f1 for label in self.labels.values()) / len(self.labels)


def label_scores(expected: Sequence[str], answers: Sequence[str | None]) -> LabelScores:
    """Compare answers with expected labels, both stripped; what is no label is a class of its own,
    so that it lowers recall and no label's precision."""
    names = sorted({text.strip() for text in expected})
    numbers = {name: number for number, name in enumerate(names)}
    other = len(names)
    truth = [numbers[text.strip()] for text in expected]
    given = [other if text is None else numbers.get(text.strip(), other) for text in answers]
    scores = precision_recall_fscore_support(
        truth, given, labels=range(len(names)), zero_division=0
    )
    labels = {
        name: LabelScore(float(p), float(r), float(f), int(n))
        for name, p, r, f, n in zip(names, *scores, strict=True)
    }
    return LabelScores(labels, given.count(other) / len(given))
