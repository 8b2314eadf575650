"""A judge compares two models' answers from both places; what it cannot say is counted."""

import json
from collections.abc import Callable, Sequence

import pytest

from adapters.experiments.design import Judge
from tests.fakes.judge import FakeJudge, part
from tests.serving import serving
from training.errors import EndpointError
from training.evaluation.evaluate import Evaluation, scored
from training.evaluation.judging import Judged, judged
from training.rows import Row


def says(verdict: str) -> str:
    return json.dumps({"better": verdict})


def longer(prompt: str) -> str:
    """The longer answer is better; of two empty ones nothing can be said."""
    first, second = (len(part(prompt, f"answer-{place}")) for place in "AB")
    return says("tie" if first == second else "A" if first > second else "B")


def heard(
    opinion: Callable[[str], str],
    rows: Sequence[Row],
    pairs: Sequence[tuple[str | None, str | None]],
    *statuses: int,
) -> tuple[Judged, FakeJudge]:
    mine, other = (said(rows, [pair[side] for pair in pairs]) for side in (0, 1))
    judge = FakeJudge(opinion, *statuses)
    with serving(judge.app) as url:
        model = Judge(name="judge", url=f"{url}/v1", model="large")
        return judged(mine, other, model, "secret"), judge


def said(rows: Sequence[Row], answers: Sequence[str | None]) -> Evaluation:
    return scored("m", rows[: len(answers)], answers)


def test_wins_losses_ties_and_what_was_not_asked(rows: list[Row]) -> None:
    pairs = [("long", "no"), ("much longer", "no"), ("no", "long"), ("ab", "cd"), ("ab", " ab")]
    found, judge = heard(longer, rows, [*pairs, ("x", None), (None, "x")])
    assert found.as_json() == {
        "n": 5,
        "few": True,
        "wins": 2,
        "losses": 1,
        "ties": 2,
        "win_rate": 0.6,
        "ci95": [0.0806, 1.0],
        "changed": 0.0,
        "errored": 2,
        "unreadable": 0,
        "failed": 0,
    }
    assert len(judge.seen) == 8  # twice each, but for the two that say the same
    assert set(judge.keys) == {"Bearer secret"}
    assert "Sort the message by what is wrong" in judge.seen[0]["messages"][1]["content"]


def test_a_judge_that_likes_the_first_place_decides_nothing(rows: list[Row]) -> None:
    found, _ = heard(lambda prompt: says("A"), rows, [("one", "two")] * 3)
    document = found.as_json()
    assert (document["ties"], document["win_rate"], document["changed"]) == (3, 0.5, 1.0)


def test_replies_that_cannot_be_read_are_counted(rows: list[Row]) -> None:
    found, _ = heard(lambda prompt: "both are fine", rows, [("one", "two")] * 2)
    assert found.as_json() == {"n": 0, "errored": 0, "unreadable": 2, "failed": 0}


def test_a_refused_case_is_counted_and_a_dead_judge_is_an_error(rows: list[Row]) -> None:
    found, _ = heard(longer, rows, [("one", "three"), ("one", "three")], 400)
    assert (found.failed, found.as_json()["losses"]) == (1, 1)
    with pytest.raises(EndpointError, match="the judge does not answer.*401"):
        heard(longer, rows, [("one", "three")] * 2, 401, 401)
