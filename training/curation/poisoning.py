"""Answers of users that disagree with everybody else's, and users who give too many of them.

Confident learning (Northcutt, Jiang and Chuang, JAIR 2021) by cleanlab, over word statistics. Where
the owner's rows suffice, they alone are learned from: users together cannot outvote them.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline

from training.curation.duplicates import is_decision
from training.curation.removal import Reason, Removed
from training.rows import Kind, Row

FOLDS = 5
FEWEST_ROWS = 60
# A decision is one of a set that is met again and again: this often on average.
FEWEST_PER_ANSWER = 5
# Chance of calling any honest unit of a dataset dishonest.
SIGNIFICANCE = 0.01
FEWEST_FROM_UNIT = 5


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Rows by index that disagree with their like, and units by name that give too many of them."""

    rows: frozenset[int]
    units: frozenset[str]


def drop_poisoned(rows: Sequence[Row]) -> tuple[list[Row], list[Removed]]:
    """Users' rows without those of suspect units and those whose decision is doubtful."""
    removed: dict[int, Removed] = {}
    for members in _decision_tasks(rows):
        found = suspect([rows[index] for index in members])
        for position, index in enumerate(members):
            row = rows[index]
            if row.unit in found.units:
                detail = f"{row.task}: far more doubtful answers than from others"
                removed[index] = Removed(row.origin, Reason.DOUBTFUL_UNIT, detail)
            elif position in found.rows:
                detail = f"{row.task}: {row.answer[:40]!r} is not what its like are answered"
                removed[index] = Removed(row.origin, Reason.DOUBTFUL_LABEL, detail)
    units = {
        rows[index].unit for index, item in removed.items() if item.reason is Reason.DOUBTFUL_UNIT
    }
    for index, row in enumerate(rows):
        # Who poisons one task is not believed in any, nor in pairs and verdicts.
        if row.unit in units and row.unit is not None:
            detail = "of a unit with far more doubtful answers than others"
            removed.setdefault(index, Removed(row.origin, Reason.DOUBTFUL_UNIT, detail))
    kept = [row for index, row in enumerate(rows) if index not in removed]
    return kept, [removed[index] for index in sorted(removed)]


def suspect(rows: Sequence[Row]) -> Suspicion:
    """What is suspect among rows of one task; rows without a unit never are.

    Units first, again and again, as those still hidden stand out once the worst are gone; then rows
    of the honest ones, judged without what the others said.
    """
    honest = list(range(len(rows)))
    units: set[str] = set()
    while True:
        some = [rows[index] for index in honest]
        doubtful = _doubtful(some)
        found = _outliers(some, doubtful)
        if not found:
            break
        units |= found
        honest = [index for index in honest if rows[index].unit not in units]
    suspects = {honest[i] for i in np.flatnonzero(doubtful).tolist() if some[i].unit is not None}
    return Suspicion(frozenset(suspects), frozenset(units))


def _decision_tasks(rows: Sequence[Row]) -> list[list[int]]:
    """Indices of rows by task, for tasks with users whose answers are a small set."""
    tasks: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        if row.kind is Kind.SFT and is_decision(row):
            tasks[row.task].append(index)
    return [
        members
        for _, members in sorted(tasks.items())
        if len(members) >= FEWEST_ROWS
        and len({rows[i].answer for i in members}) * FEWEST_PER_ANSWER <= len(members)
        and any(rows[i].unit is not None for i in members)
    ]


def _doubtful(rows: Sequence[Row]) -> NDArray[np.bool_]:
    """Which rows have answers that are probably not theirs."""
    answers = [row.answer for row in rows]
    counts = Counter(answers)
    # Cross-validation needs every answer in every fold; of rarer ones nothing is said.
    common = sorted(answer for answer, count in counts.items() if count >= FOLDS)
    doubtful = np.zeros(len(rows), dtype=bool)
    index = np.array([i for i, answer in enumerate(answers) if answer in set(common)], dtype=int)
    if len(common) < 2:
        return doubtful
    chosen = [rows[i] for i in index]
    numbers = np.array([common.index(row.answer) for row in chosen])
    doubtful[index] = find_label_issues(
        numbers, _probabilities(chosen, numbers, len(common)), filter_by="both", n_jobs=1
    )
    return doubtful


def _probabilities(
    rows: Sequence[Row], numbers: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """Each answer's probability [rows, classes] by a model that has not seen the row."""
    texts = [row.question for row in rows]
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    trusted = np.array([row.is_trusted for row in rows])
    known = np.bincount(numbers[trusted], minlength=classes)
    if known.min() < FOLDS:
        return np.asarray(
            cross_val_predict(_model(), texts, numbers, cv=folds, method="predict_proba")
        )
    own = [texts[i] for i in np.flatnonzero(trusted)]
    users = [texts[i] for i in np.flatnonzero(~trusted)]
    result = np.zeros((len(rows), classes))
    result[trusted] = cross_val_predict(
        _model(), own, numbers[trusted], cv=folds, method="predict_proba"
    )
    result[~trusted] = _model().fit(own, numbers[trusted]).predict_proba(users)
    return result


def _model() -> Pipeline:
    words = TfidfVectorizer(sublinear_tf=True, min_df=2, token_pattern=r"(?u)\b\w+\b")
    return make_pipeline(words, LogisticRegression(C=20, max_iter=1000))


def _outliers(rows: Sequence[Row], doubtful: NDArray[np.bool_]) -> set[str]:
    """Units with more doubtful rows than those of all others explain (one-sided binomial test,
    Bonferroni over the units)."""
    given: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for row, is_doubtful in zip(rows, doubtful, strict=True):
        if row.unit is not None:
            given[row.unit] += 1
            wrong[row.unit] += bool(is_doubtful)
    outliers = set()
    for unit, count in given.items():
        others = len(rows) - count
        # One more of each (Laplace), so that nobody is judged against a rate of nought.
        rate = (int(doubtful.sum()) - wrong[unit] + 1) / (others + 2)
        test = binomtest(wrong[unit], count, rate, alternative="greater")
        if count >= FEWEST_FROM_UNIT and test.pvalue < SIGNIFICANCE / len(given):
            outliers.add(unit)
    return outliers
