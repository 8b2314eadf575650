"""The gate and the statistics under it, on scores that are made up here."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from gateway import training_settings as configured
from training.evaluation.evaluate import Evaluation, TaskResult
from training.evaluation.gate import (
    Criteria,
    Evidence,
    Judgement,
    Retention,
    Verdict,
    compare,
    judge,
)
from training.evaluation.metrics import Metric
from training.evaluation.significance import p_value
from training.evaluation.trial import TrialSettings
from training.rows import Row

ROWS = tuple(Row((("user", str(n)),), "yes") for n in range(300))


def scored(
    name: str,
    tasks: Mapping[str, Sequence[float]],
    metric: Metric = Metric.EXACT_MATCH,
    silent: int = 0,
    rows: tuple[Row, ...] = ROWS,
) -> Evaluation:
    """Scores by task; `silent` rows of each were not answered."""

    def result(values: Sequence[float]) -> TaskResult:
        return TaskResult(metric, tuple(values), silent, {}, rows[: len(values)])

    return Evaluation(name, {task: result(values) for task, values in tasks.items()})


def right(n: int, of: int = 100) -> list[float]:
    """Right answers, then wrong ones."""
    return [1.0] * n + [0.0] * (of - n)


def verdict(
    mine: Mapping[str, Sequence[float]], *rivals: Mapping[str, Sequence[float]]
) -> Judgement:
    others = tuple(scored(f"rival {i}", rival) for i, rival in enumerate(rivals, 1))
    return judge(Evidence(scored("candidate", mine), others))


def retained(mine: Sequence[float], base: Sequence[float], criteria: Criteria) -> Judgement:
    """A candidate that is surely better, and does so on a capability."""
    protected = scored("candidate", {"sums": mine}), scored("base", {"sums": base})
    rivals = (scored("base", {"t": right(10)}),)
    return judge(Evidence(scored("candidate", {"t": right(90)}), rivals, protected), criteria)


def test_p_values_are_those_of_the_exact_tests() -> None:
    # McNemar: 7 of 8 rows that differ are won; 9 of 256 outcomes are so high.
    assert p_value([1] * 7 + [-1] + [0] * 92) == pytest.approx(9 / 256)
    assert p_value([1] + [-1] * 7) == pytest.approx(255 / 256)
    assert p_value([0.0] * 50) == 1.0
    # Sign flips of three unequal gains: all three have to be gains, 1 of 8.
    assert p_value([0.1, 0.2, 0.3]) == pytest.approx(1 / 8, abs=0.01)
    assert p_value([0.1, 0.2, 0.3]) == p_value([0.1, 0.2, 0.3])


def test_a_verdict_names_task_scores_and_interval() -> None:
    assert verdict({"t": right(60)}, {"t": right(40)}) == Judgement(
        Verdict.PASS,
        "better than rival 1 on t 0.400 → 0.600 [+0.118, +0.284]",
        compare(scored("", {"t": right(60)}), scored("rival 1", {"t": right(40)})),
    )


@pytest.mark.parametrize(
    ("mine", "its", "said"),
    [(90, 10, Verdict.PASS), (43, 40, Verdict.INCONCLUSIVE), (40, 40, Verdict.INCONCLUSIVE),
     (40, 43, Verdict.INCONCLUSIVE), (40, 60, Verdict.FAIL)],
)  # fmt: skip
def test_only_a_sure_gain_passes(mine: int, its: int, said: Verdict) -> None:
    assert verdict({"t": right(mine)}, {"t": right(its)}).verdict is said


def test_rivals_and_tasks_are_never_pooled() -> None:
    beaten, better = {"a": right(10), "b": right(50)}, {"a": right(10), "b": right(70)}
    mine = {"a": right(90), "b": right(50)}
    assert verdict(mine, beaten).verdict is Verdict.PASS
    found = verdict(mine, beaten, better)
    assert found.verdict is Verdict.FAIL
    assert found.reason == "worse than rival 2 on b 0.700 → 0.500 [-0.284, -0.118]"
    assert verdict({"a": right(50)}, {"a": right(10)}, {"a": right(48)}) == Judgement(
        Verdict.INCONCLUSIVE,
        "no task is surely better than with rival 2",
        (
            *compare(scored("", {"a": right(50)}), scored("rival 1", {"a": right(10)})),
            *compare(scored("", {"a": right(50)}), scored("rival 2", {"a": right(48)})),
        ),
    )


def test_a_gain_that_one_task_would_show_may_be_chance_among_ten() -> None:
    """7 rows gained, 0 lost: p = 1/128 alone, 10/128 as the best of ten."""
    gained = {"t": right(57)}, {"t": right(50)}
    assert verdict(*gained).verdict is Verdict.PASS
    others = {f"t{i}": right(50) for i in range(9)}
    assert verdict(gained[0] | others, gained[1] | others).verdict is Verdict.INCONCLUSIVE
    # and a loss of the same size is called one all the same
    assert verdict(gained[1] | others, gained[0] | others).verdict is Verdict.FAIL


def test_a_small_task_shows_harm_but_no_gain() -> None:
    large = {"large": right(50)}
    better, worse = {"small": right(19, 19)}, {"small": right(0, 19)}
    assert verdict(large | better, large | worse).verdict is Verdict.INCONCLUSIVE
    assert verdict(large | worse, large | better).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("mine", "base", "kind"),
    [(30, 30, Retention.KEPT), (29, 30, Retention.KEPT), (26, 30, Retention.UNSURE),
     (10, 60, Retention.LOST), (0, 0, Retention.UNPROTECTED)],
)  # fmt: skip
def test_a_capability_is_held_against_the_margin(mine: int, base: int, kind: Retention) -> None:
    found = retained(right(mine), right(base), Criteria())
    assert [kind for _, kind in found.capabilities] == [kind]
    assert found.verdict is (Verdict.FAIL if kind is Retention.LOST else Verdict.PASS)
    strict = retained(right(mine), right(base), Criteria(demand_retention=True)).verdict
    assert strict is (Verdict.INCONCLUSIVE if kind is Retention.UNSURE else found.verdict)


def test_the_reason_says_what_was_forgotten_and_what_could_not_be() -> None:
    lost = retained(right(10), right(60), Criteria())
    assert lost.reason == "forgets, by more than 0.050, sums 0.600 → 0.100 [-0.598, -0.392]"
    idle = retained(right(0), right(0), Criteria())
    assert idle.reason.endswith("; nothing to be forgotten of sums, where the base model scores 0")


def test_few_rows_of_a_capability_keep_nothing_surely() -> None:
    assert retained(right(6, 30), right(6, 30), Criteria()).capabilities[0][1] is Retention.UNSURE
    wide = Criteria(margin=0.1)
    assert retained(right(6, 30), right(6, 30), wide).capabilities[0][1] is Retention.KEPT


GOOD, BASE = scored("candidate", {"t": right(90)}), scored("base", {"t": right(10)})
SILENT = scored("base", {"t": right(10)}, silent=2)


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (Evidence(GOOD, ()), "candidate was compared with nothing"),
        (Evidence(GOOD, (BASE,), leaks={"a": 0, "b": 3}), "3 rows of b were trained on"),
        (Evidence(GOOD, (BASE, SILENT)), "base left 2 of 100 rows unanswered"),
        (Evidence(GOOD, (BASE,), (GOOD, SILENT)), "base left 2 of 100 rows unanswered"),
        (Evidence(GOOD, (scored("base", {"t": right(10, 99)}),)),
         "candidate and base were not asked the same rows of t"),
        (Evidence(GOOD, (scored("base", {"t": right(10)}, Metric.ROUGE_L),)),
         "candidate and base were not asked the same rows of t"),
        (Evidence(GOOD, (scored("base", {"t": right(10), "u": right(10)}),)),
         "only one of candidate and base was asked u"),
        (Evidence(GOOD, (scored("base", {"t": [float("nan"), *right(10, 99)]}),)),
         "a score of t is not a number"),
        (Evidence(GOOD, (scored("base", {}),)), "base was asked nothing"),
        (Evidence(GOOD, (scored("base", {"t": right(10)}, rows=ROWS[1:]),)),
         "candidate and base were not asked the same rows of t"),
        (Evidence(scored("candidate", {"t": right(19, 19)}), (scored("b", {"t": right(0, 19)}),)),
         "no task has 20 held-out rows; the largest has 19"),
    ],
)  # fmt: skip
def test_an_evaluation_that_broke_is_never_a_win(evidence: Evidence, said: str) -> None:
    assert judge(evidence) == Judgement(Verdict.INVALID, said)


@pytest.mark.parametrize(("tasks", "n"), [(1, 50), (3, 50), (10, 50), (1, 270)])
def test_a_candidate_like_its_rival_hardly_ever_passes(tasks: int, n: int) -> None:
    """Each is right with probability 0.5 where the other is or not: nothing but chance."""
    rng = np.random.default_rng(tasks)
    passed = 0
    for values in rng.integers(2, size=(200, 2, tasks, n)).astype(float):
        mine, its = ({f"t{i}": row for i, row in enumerate(side)} for side in values.tolist())
        evidence = Evidence(scored("candidate", mine), (scored("rival", its),))
        passed += judge(evidence).verdict is Verdict.PASS
    assert passed <= 0.05 * 200


def test_what_is_configured_is_what_judges() -> None:
    assert TrialSettings.of(configured.TrialSettings().model_dump(), ()) == TrialSettings()
    asked = configured.TrialSettings.model_validate({"rows": 50, "criteria": {"margin": 0.02}})
    settings = TrialSettings.of(asked.model_dump(), [Path("kept.jsonl")])
    assert (settings.rows, settings.protect) == (50, (Path("kept.jsonl"),))
    assert settings.criteria == Criteria(margin=0.02)
