"""How one answer is scored against the expected one.

Pure functions of text; which metric a task gets is decided here, from its rows alone.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, NoReturn

from training.rows import Row

# Expected answers of up to so many words on average are looked up, not composed: right or wrong.
SHORT_ANSWER_WORDS = 8
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_RESULT = "####"  # what GSM8K puts before the result (Cobbe et al. 2021)


class Metric(StrEnum):
    """What a task's score is the mean of; all lie between 0 and 1."""

    EXACT_MATCH = "exact_match"
    JSON_MATCH = "json_match"
    NUMBER_MATCH = "number_match"
    ROUGE_L = "rouge_l"


def metric_of(rows: Sequence[Row]) -> Metric:
    """JSON is compared as values, worked sums by their result, labels and short answers as text,
    the rest by ROUGE-L."""
    if all(parse_object(row.answer) is not None for row in rows):
        return Metric.JSON_MATCH
    if all(_RESULT in row.answer and result(row.answer) is not None for row in rows):
        return Metric.NUMBER_MATCH
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
            return float(_same(parse_object(answer), parse_object(expected)))
        case Metric.NUMBER_MATCH:
            return float(result(answer) == result(expected))
        case Metric.ROUGE_L:
            return rouge_l(expected, answer)


def details(metric: Metric, expected: str, answer: str) -> dict[str, float]:
    """Secondary scores of one answer, by name."""
    match metric:
        case Metric.JSON_MATCH:
            return {
                "json_valid": float(parse_object(answer) is not None),
                "field_score": field_score(expected, answer),
            }
        case Metric.ROUGE_L:
            return {"token_f1": token_f1(expected, answer), "rouge_2": rouge_n(expected, answer, 2)}
        case Metric.EXACT_MATCH:
            # What is right but for capitals and marks is wrong in form only.
            return {"words_match": float(_words(expected) == _words(answer) != [])}
        case Metric.NUMBER_MATCH:
            return {}


def parse_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is, or None; NaN and Infinity are no JSON (RFC 8259)."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def field_score(expected: str, answer: str) -> float:
    """The share of all fields, expected or invented, that are right."""
    wanted, given = parse_object(expected) or {}, parse_object(answer) or {}
    names = wanted.keys() | given.keys()
    right = sum(name in given and _same(given[name], wanted[name]) for name in wanted)
    return right / len(names) if given else 0.0


def fields(expected: str, answer: str) -> dict[str, float]:
    """Of every expected field, whether it is right."""
    wanted, given = parse_object(expected) or {}, parse_object(answer) or {}
    return {
        name: float(name in given and _same(given[name], value)) for name, value in wanted.items()
    }


def result(text: str) -> Decimal | None:
    """The number after GSM8K's mark, without one the last number of the text; None: no number."""
    _, mark, after = text.rpartition(_RESULT)
    found = _NUMBER.search(after) if mark else None
    numbers = [found.group()] if found else _NUMBER.findall(text)[-1:]
    return Decimal(numbers[0].replace(",", "")) if numbers else None


def rouge_l(expected: str, answer: str) -> float:
    """F1 of the longest common subsequence of words (ROUGE-L, Lin 2004, beta 1), not stemmed."""
    wanted, given = _words(expected), _words(answer)
    return _f1(_common_subsequence(wanted, given), len(wanted), len(given))


def rouge_n(expected: str, answer: str, n: int) -> float:
    """F1 of runs of `n` words (ROUGE-N, Lin 2004), not stemmed; of texts too short for one, 0."""
    wanted, given = (
        Counter(zip(*(words[i:] for i in range(n)), strict=False))
        for words in (_words(expected), _words(answer))
    )
    return _f1((wanted & given).total(), wanted.total(), given.total())


def token_f1(expected: str, answer: str) -> float:
    """F1 of words as a bag (SQuAD; Rajpurkar et al. 2016), articles kept: the same as ROUGE-1."""
    return rouge_n(expected, answer, 1)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal; unlike Python, JSON tells true from 1."""
    try:
        return _equal(left, right)
    except RecursionError:
        return False


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _f1(common: int, wanted: int, given: int) -> float:
    return 2 * common / (wanted + given) if wanted + given else 0.0


def _common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest, a machine word of `left` at a time (Hyyrö 2004): model answers may be
    long."""
    places: dict[str, int] = {}
    for index, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << index
    whole = (1 << len(left)) - 1
    missing = whole
    for word in right:
        matched = missing & places.get(word, 0)
        missing = (missing + matched | missing - matched) & whole
    return len(left) - missing.bit_count()
