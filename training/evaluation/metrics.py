"""How one answer is scored against the expected one, and how sure a difference of means is.

Pure functions of text and numbers; which metric a task gets is decided here, from its rows alone.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.rows import Row

# Expected answers of up to so many words on average are looked up, not composed: right or wrong.
SHORT_ANSWER_WORDS = 8
RESAMPLES = 2000
_WORD = re.compile(r"[a-z0-9]+")


class Metric(StrEnum):
    """What a task's score is the mean of; all lie between 0 and 1."""

    EXACT_MATCH = "exact_match"
    JSON_MATCH = "json_match"
    ROUGE_L = "rouge_l"


def metric_of(rows: Sequence[Row]) -> Metric:
    """JSON is compared as values, labels and short answers as text, the rest by ROUGE-L."""
    if all(parse_object(row.answer) is not None for row in rows):
        return Metric.JSON_MATCH
    words = sum(len(row.answer.split()) for row in rows) / len(rows)
    if all(row.label is not None for row in rows) or words <= SHORT_ANSWER_WORDS:
        return Metric.EXACT_MATCH
    return Metric.ROUGE_L


def score(metric: Metric, expected: str, answer: str) -> float:
    """The score of one answer, 0 to 1."""
    match metric:
        case Metric.EXACT_MATCH:
            return float(answer.strip() == expected.strip())
        case Metric.JSON_MATCH:
            return float(parse_object(answer) == parse_object(expected))
        case Metric.ROUGE_L:
            return rouge_l(expected, answer)


def details(metric: Metric, expected: str, answer: str) -> dict[str, float]:
    """Secondary scores of one answer, by name."""
    if metric is Metric.JSON_MATCH:
        return {
            "json_valid": float(parse_object(answer) is not None),
            "field_score": field_score(expected, answer),
        }
    return {"token_f1": token_f1(expected, answer)} if metric is Metric.ROUGE_L else {}


def parse_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is, or None."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def field_score(expected: str, answer: str) -> float:
    """The share of all fields, expected or invented, that are right."""
    wanted, given = parse_object(expected) or {}, parse_object(answer)
    names = wanted.keys() | (given or {}).keys()
    if given is None or not names:
        return 0.0
    right = sum(n in wanted and n in given and bool(wanted[n] == given[n]) for n in names)
    return right / len(names)


def rouge_l(expected: str, answer: str) -> float:
    """F1 of the longest common subsequence of words (ROUGE-L, Lin 2004, beta 1), not stemmed."""
    wanted, given = _words(expected), _words(answer)
    return _f1(_common_subsequence(wanted, given), len(wanted), len(given))


def token_f1(expected: str, answer: str) -> float:
    """F1 of words as a bag (SQuAD; Rajpurkar et al. 2016), articles kept."""
    wanted, given = _words(expected), _words(answer)
    return _f1((Counter(wanted) & Counter(given)).total(), len(wanted), len(given))


def standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean; 0 for fewer than two values."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def difference_interval(
    mine: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]], *, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the difference between two means of task means.

    Percentiles of a paired bootstrap within each task; both sides hold the same rows in the same
    order.
    """
    rng = np.random.default_rng(seed)
    total: NDArray[np.float64] = np.zeros(RESAMPLES)
    for task in sorted(mine):
        difference = np.asarray(mine[task], dtype=np.float64) - np.asarray(
            theirs[task], dtype=np.float64
        )
        chosen = rng.integers(len(difference), size=(RESAMPLES, len(difference)))
        total += difference[chosen].mean(axis=1)
    low, high = np.percentile(total / len(mine), [2.5, 97.5])
    return float(low), float(high)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _f1(common: int, wanted: int, given: int) -> float:
    return 2 * common / (wanted + given) if wanted + given else 1.0


def _common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    row = [0] * (len(right) + 1)
    for word in left:
        before = 0
        for column, other in enumerate(right, start=1):
            before, row[column] = (
                row[column],
                before + 1 if word == other else max(row[column], row[column - 1]),
            )
    return row[-1]
