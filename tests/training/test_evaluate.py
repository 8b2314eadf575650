"""Scores, comparisons and the gate, on answers that are made up here."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from training.evaluation.evaluate import Answers, Evaluation, Question, evaluate, questions
from training.evaluation.gate import Verdict, judge
from training.evaluation.metrics import (
    Metric,
    difference_interval,
    field_score,
    metric_of,
    rouge_l,
    score,
    token_f1,
)
from training.rows import Row


def always(answer: str | None) -> Answers:
    """A model that says the same to everything."""

    def ask(asked: Sequence[Question], on_progress: Callable[[int, int], None]) -> list[str | None]:
        on_progress(len(asked), len(asked))
        return [answer for _ in asked]

    return ask


def knowing(rows: Sequence[Row], right: int) -> Answers:
    """A model that knows the first `right` answers."""

    def ask(asked: Sequence[Question], on_progress: Callable[[int, int], None]) -> list[str | None]:
        return [row.answer if i < right else "?" for i, row in enumerate(rows)]

    return ask


def of(rows: Sequence[Row], right: int, name: str = "m") -> Evaluation:
    return evaluate(name, rows, knowing(rows, right))


def test_metrics_of_single_answers() -> None:
    assert score(Metric.EXACT_MATCH, "leak", " leak\n") == 1.0
    assert score(Metric.EXACT_MATCH, "leak", "Leak") == 0.0
    assert score(Metric.JSON_MATCH, '{"a": 1, "b": 2}', '{"b":2,"a":1}') == 1.0
    assert score(Metric.JSON_MATCH, '{"a": 1}', "not json") == 0.0
    assert field_score('{"a": 1, "b": 2}', '{"a": 1, "b": 3, "c": 4}') == pytest.approx(1 / 3)
    # "the cat sat" against "the big cat sat down": 3 words in common order, 2·3/(3+5)
    assert rouge_l("The cat sat.", "the big cat sat down") == pytest.approx(0.75)
    assert rouge_l("a b c", "c b a") == pytest.approx(1 / 3)
    assert token_f1("a b c", "c b a") == 1.0
    assert rouge_l("x", "") == 0.0


def test_the_metric_follows_from_the_rows(rows: list[Row]) -> None:
    free = [
        replace(row, label=None, answer="because it was left on over night again") for row in rows
    ]
    longer = [replace(row, answer=row.answer + ", and nobody saw it") for row in free]
    assert metric_of(rows) is Metric.EXACT_MATCH
    assert metric_of([replace(row, answer='{"x": 1}') for row in rows]) is Metric.JSON_MATCH
    assert metric_of(free) is Metric.EXACT_MATCH
    assert metric_of(longer) is Metric.ROUGE_L


def test_an_evaluation_prints_the_contract_shape(rows: list[Row]) -> None:
    mine, base = of(rows, 45, "mine"), of(rows, 0, "base")
    document = json.loads(json.dumps(mine.as_json([base])))
    assert document["tasks"] == {
        "fault": {"n": 60, "metric": "exact_match", "score": 0.75, "stderr": 0.0564}
    }
    assert (document["model"], document["n"], document["errored"]) == ("mine", 60, 0)
    against = document["against"]["base"]
    assert (against["score"], against["difference"]) == (0.0, 0.75)
    assert against["ci95"] == pytest.approx([0.64, 0.86], abs=0.03)


def test_a_small_task_weighs_as_much_as_a_large_one(rows: list[Row]) -> None:
    mixed = [replace(row, task="rare" if i < 6 else "common") for i, row in enumerate(rows)]
    assert of(mixed, 6).score == 0.5


def test_errors_are_counted_and_score_zero(rows: list[Row]) -> None:
    broken = evaluate("m", rows, always(None))
    assert (broken.n, broken.errored, broken.score) == (60, 60, 0.0)


def test_answers_have_room_for_the_longest_of_their_task(rows: list[Row]) -> None:
    asked = questions([rows[0], replace(rows[1], answer="x" * 100)])
    assert [question.max_tokens for question in asked] == [58, 58]
    assert asked[0].messages == rows[0].messages


def test_the_interval_is_paired_and_repeatable() -> None:
    same = {"t": [0.0, 1.0] * 20}
    assert difference_interval(same, same) == (0.0, 0.0)
    better = {"t": [1.0] * 30 + [0.0] * 10}
    worse = {"t": [0.0] * 40}
    assert difference_interval(better, worse) == difference_interval(better, worse)
    low, high = difference_interval(better, worse)
    assert 0.55 < low < 0.75 < high < 0.92


@pytest.mark.parametrize(
    ("mine", "base", "verdict"),
    [
        (40, 0, Verdict.PASS),
        (2, 0, Verdict.INCONCLUSIVE),
        (30, 30, Verdict.INCONCLUSIVE),
        (20, 40, Verdict.FAIL),
    ],
)
def test_the_gate_asks_for_a_sure_gain(
    rows: list[Row], mine: int, base: int, verdict: Verdict
) -> None:
    assert judge(of(rows, mine), [of(rows, base, "base")]).verdict is verdict


def test_the_gate_never_pools_tasks_or_rivals(rows: list[Row]) -> None:
    mixed = [replace(row, task="a" if i < 30 else "b") for i, row in enumerate(rows)]
    lost_b = evaluate("m", mixed, knowing(mixed, 30))
    only_b = evaluate("base", mixed, lambda q, p: ["?"] * 30 + [row.answer for row in mixed[30:]])
    assert judge(lost_b, [only_b]).reason.startswith("worse than base on b 1.000 → 0.000")
    champion = of(rows, 50, "champion")
    assert judge(of(rows, 40), [of(rows, 0, "base"), champion]).verdict is Verdict.FAIL


def test_a_broken_evaluation_is_invalid(rows: list[Row]) -> None:
    good, base = of(rows, 50), of(rows, 0, "base")
    silent = evaluate("base", rows, always(None))
    assert judge(good, [silent]).verdict is Verdict.INVALID
    assert judge(good, [base], leaked=1).verdict is Verdict.INVALID
    assert judge(of(rows[:19], 19), [of(rows[:19], 0)]).verdict is Verdict.INVALID
