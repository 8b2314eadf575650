"""What training rows offer to a prompt: the names of a task's labels, and worked examples.

Examples are taken from rows of the question's own task, whose instructions they share.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion, make_union

from training.evaluation.metrics import Metric, metric_of
from training.evaluation.sampling import sample
from training.prompting.prompt import Choose, tokens
from training.rows import Row

# A label that fewer rows have than this, on average, is no label but an answer of its own.
_ROWS_PER_LABEL = 3
_MOST_SEARCHED = 5_000  # rows of a task; a thousand take about 8 MB


def label_lists(train: Sequence[Row], room: int) -> dict[str, str]:
    """By task of labels, the sentence that names them, the commonest first, in `room` tokens."""
    lists = {}
    for task, rows in _by_task(train).items():
        groups = _by_answer(rows)
        labelled = metric_of(rows) is Metric.EXACT_MATCH and all(row.label for row in rows)
        if not labelled or len(rows) < _ROWS_PER_LABEL * len(groups):
            continue
        said = "Possible answers:"
        for count, name in enumerate(groups):
            longer = f"{said}{',' if count else ''} {name}"
            if tokens(longer) > room:
                break
            said = longer
        lists[task] = said
    return lists


def fixed(train: Sequence[Row], k: int, *, seed: int = 0) -> Choose:
    """The same `k` rows for every question of a task: of each of its commonest answers the row of
    middle length."""
    shuffled = random.Random(seed).sample(train, len(train))
    chosen = {
        task: [
            sorted(some, key=lambda row: row.size)[len(some) // 2]
            for some in list(_by_answer(rows).values())[:k]
        ]
        for task, rows in _by_task(shuffled).items()
    }
    return lambda row: chosen.get(row.task, [])


def nearest(train: Sequence[Row]) -> Callable[[int], Choose]:
    """For a number k, the k rows whose questions are most like the one that is asked, the nearest
    last."""
    worded = [row for row in train if row.question.strip()]
    searched = sample(worded, _MOST_SEARCHED, 0)
    indexes = {task: _Index.of(rows) for task, rows in _by_task(searched).items()}

    def search(k: int) -> Choose:
        return lambda row: indexes[row.task].nearest(row, k) if row.task in indexes else []

    return search


@dataclass(frozen=True, slots=True)
class _Index:
    """Cosines of words and word pairs, and of pieces of words, with equal weight: of six measures
    the one that most often finds the right label among four (LOG.md)."""

    rows: Sequence[Row]
    features: FeatureUnion
    matrix: csr_matrix

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "_Index":
        features = make_union(
            TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]"),
            TfidfVectorizer(sublinear_tf=True, ngram_range=(2, 5), analyzer="char_wb"),
        )
        return cls(rows, features, features.fit_transform([row.question for row in rows]))

    def nearest(self, row: Row, k: int) -> list[Row]:
        """Never the row itself, should it be asked."""
        likeness = (self.matrix @ self.features.transform([row.question]).T).toarray().ravel()
        order = np.argsort(-likeness, kind="stable")[: k + 1]
        others = [self.rows[i] for i in order if self.rows[i].question != row.question]
        return others[:k][::-1]


def _by_task(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.task, []).append(row)
    return found


def _by_answer(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by what they answer, the commonest answer first."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.answer.strip(), []).append(row)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))
