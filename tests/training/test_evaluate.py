"""Scores and comparisons, on answers that are made up here."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from training.evaluation.evaluate import Answers, Evaluation, Question, evaluate, questions
from training.evaluation.examination import compare
from training.evaluation.intervals import difference_interval, mean_interval
from training.evaluation.labels import LabelScore, label_scores
from training.evaluation.metrics import (
    Metric,
    field_score,
    fields,
    metric_of,
    parse_object,
    result,
    rouge_l,
    rouge_n,
    score,
    token_f1,
)
from training.evaluation.predictions import write_predictions
from training.evaluation.slices import slices
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
    assert rouge_n("the cat sat here", "the cat sat", 2) == pytest.approx(0.8)
    # Words of any alphabet are words, and two texts without one have nothing in common.
    assert rouge_l("Насос течёт", "насос гудит") == 0.5
    assert token_f1("?", "") == 0.0


def test_a_worked_sum_is_scored_by_its_result(rows: list[Row]) -> None:
    sums = [replace(row, answer=f"{i} + 1 = {i + 1}\n#### {i + 1:,}") for i, row in enumerate(rows)]
    assert metric_of(sums) is Metric.NUMBER_MATCH
    assert result("2 × 600 = 1,200\n#### 1,200") == Decimal(1200)
    assert result("First 3, so it is -1.50.") == Decimal("-1.5")
    assert result("none") is None
    assert score(Metric.NUMBER_MATCH, "#### 1,200", "The answer is $1200.00") == 1.0
    assert score(Metric.NUMBER_MATCH, "#### 12", "12 apples, so 13") == 0.0


def test_json_is_compared_as_json() -> None:
    assert score(Metric.JSON_MATCH, '{"a": [1, {"b": null}]}', '{"a":[1.0,{"b":null}]}') == 1.0
    assert score(Metric.JSON_MATCH, '{"a": 1}', '{"a": true}') == 0.0
    assert score(Metric.JSON_MATCH, '{"a": [1, 2]}', '{"a": [2, 1]}') == 0.0
    assert fields('{"a": 1, "b": 2}', '{"a": 1, "c": 2}') == {"a": 1.0, "b": 0.0}


GARBAGE = [
    "",
    "\ud800 \x00",
    "word " * 20_000,
    '{"a": NaN}',
    '{"a": 1',
    '{"a":' * 100_000,
    '{"a":' * 900 + "1" + "}" * 900,
    '{"a": ' + "9" * 100_000 + "}",
    "#### " + "9" * 100_000,
    "[" * 990 + "]" * 990,
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_scores_nothing_and_breaks_nothing(
    rows: list[Row], garbage: str, tmp_path: Path
) -> None:
    expected = {
        Metric.EXACT_MATCH: "leak",
        Metric.JSON_MATCH: '{"a": 1, "b": {"c": [2]}}',
        Metric.NUMBER_MATCH: "1 + 1\n#### 2",
        Metric.ROUGE_L: "the pump in the cellar leaks and has to be replaced as soon as it can",
    }
    asked = [
        replace(rows[i], task=str(metric), answer=answer, label="leak" if i == 0 else None)
        for i, (metric, answer) in enumerate(expected.items())
    ]
    found = evaluate("m", asked, always(garbage))
    assert {name: (task.metric, task.score) for name, task in found.tasks.items()} == {
        str(metric): (metric, 0.0) for metric in expected
    }
    json.dumps(found.as_json([found]), allow_nan=False)
    write_predictions(tmp_path / "said.jsonl", [found])
    lines = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert [(line["answer"], line["score"]) for line in lines] == [(garbage, 0.0)] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["said.jsonl"]


def test_nan_is_no_json() -> None:
    assert parse_object('{"a": NaN}') is None
    assert parse_object('{"a": -Infinity}') is None


def test_labels_by_hand_and_by_the_book() -> None:
    expected = ["leak"] * 4 + ["noise"] * 2
    answers = ["leak", "leak ", "noise", "?", "noise", None]
    found = label_scores(expected, answers)
    assert found.labels == {
        "leak": LabelScore(1.0, 0.5, pytest.approx(2 / 3), 4),
        "noise": LabelScore(0.5, 0.5, 0.5, 2),
    }
    assert found.other_answers == pytest.approx(1 / 3)
    said = ["leak", "leak", "noise", "other", "noise", "other"]
    book = f1_score(expected, said, labels=["leak", "noise"], average="macro")
    assert found.macro_f1 == pytest.approx(book)


def test_one_label_only(rows: list[Row]) -> None:
    same = [row for row in rows if row.label == "leak"]
    task = evaluate("m", same, always("leak")).tasks["fault"]
    assert task.labels is not None
    assert task.labels.labels == {"leak": LabelScore(1.0, 1.0, 1.0, 20)}
    assert set(slices(task)) == {"length"}


def test_slices_by_name_label_and_length(rows: list[Row]) -> None:
    named = [replace(row, slice="old" if i < 45 else None) for i, row in enumerate(rows)]
    task = of(named, 45).tasks["fault"]
    found = slices(replace(task, rows=(*task.rows[:59], replace(task.rows[59], slice="new"))))
    assert {name: (one.n, one.score, one.few) for name, one in found["slice"].items()} == {
        "old": (45, 1.0, False),
        "new": (1, 0.0, True),
    }
    assert {name: one.n for name, one in found["label"].items()} == {
        "leak": 20,
        "noise": 20,
        "cold": 20,
    }
    lengths = [len(row.question) for row in rows]
    assert sum(one.n for one in found["length"].values()) == 60
    assert sorted(found["length"])[0].startswith(f"{min(lengths)} to ")
    assert found["slice"]["old"].as_json() == {
        "n": 45,
        "score": 1.0,
        "ci95": [0.9213, 1.0],
        "few": False,
    }


def test_comparisons_are_corrected_for_their_number(rows: list[Row]) -> None:
    tasks = [replace(row, task="abc"[i // 20]) for i, row in enumerate(rows)]
    mine = evaluate("m", tasks, knowing(tasks, 25))
    found = compare(mine, [evaluate("base", tasks, always("?"))])["base"]
    # 20 of 20 against 0: twice 2^-20, three times that after Holm; 5 of 5: 2/32, twice that.
    assert found["a"].p == pytest.approx(2**-19)
    assert found["a"].p_holm == pytest.approx(3 * 2**-19)
    assert (found["b"].p, found["b"].p_holm) == (0.0625, 0.125)
    assert (found["c"].p, found["c"].p_holm) == (1.0, 1.0)


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
    task = document["tasks"]["fault"]
    labels = {"precision": 1.0, "recall": 0.75, "f1": 0.8571, "n": 20}
    assert task == {
        "n": 60,
        "metric": "exact_match",
        "score": 0.75,
        "stderr": 0.0564,
        "ci95": [0.6277, 0.8422],
        "few": False,
        "words_match": 0.75,
        "characters": {"expected": 4.3333, "answer": 3.5},
        "labels": {"cold": labels, "leak": labels, "noise": labels},
        "macro_f1": 0.8571,
        "other_answers": 0.25,
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
    # That forty rows agree does not prove that all would.
    assert difference_interval(same, same) == pytest.approx((-0.07, 0.07), abs=0.01)
    better = {"t": [1.0] * 30 + [0.0] * 10}
    worse = {"t": [0.0] * 40}
    assert difference_interval(better, worse) == difference_interval(better, worse)
    low, high = difference_interval(better, worse)
    assert 0.52 < low < 0.75 < high < 0.92


def test_an_interval_covers_the_truth_of_few_rows() -> None:
    """Ten rows, nine of ten won: a plain bootstrap covers that in 62 of 100 trials."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        won = (rng.random(10) < 0.9).astype(float).tolist()
        low, high = difference_interval({"t": won}, {"t": [0.0] * 10}, seed=trial)
        covered += low <= 0.9 <= high
    assert covered >= 190


def test_the_interval_of_a_mean() -> None:
    assert mean_interval([1.0] * 10) == pytest.approx((0.722, 1.0), abs=1e-3)  # Wilson 1927
    # Student's t with 3 degrees of freedom: 3.182 · 0.0645
    assert mean_interval([0.4, 0.5, 0.6, 0.7]) == pytest.approx((0.345, 0.755), abs=1e-3)
    assert mean_interval([0.5]) == (0.0, 1.0)
    assert mean_interval([]) == (0.0, 1.0)
