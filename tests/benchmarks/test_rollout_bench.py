"""`turnout bench rollout`: what its checks notice, whom it sends, what it damages and draws."""

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from adapters.experiments.entry import Entry, State
from adapters.interactions import Feedback, Interaction, JudgedInteraction, Outcome
from benchmarks.cli import bench
from benchmarks.rollout.checks import Expected, Stage, Stored, check
from benchmarks.rollout.design import CHALLENGER, CONTROL, Terms
from benchmarks.rollout.plot import svg
from benchmarks.rollout.users import Manner, Question, Seen
from benchmarks.variants import damaged, scaled
from tests.adapters.test_store import interaction

OLD, NEW = "legal--v1-00000000", "legal--v2-00000000"
DAY, BEGIN = "2026-01-01T00:00:", 1767225600.0  # the same moment
EXPECTED = Expected("rollback", OLD, answers=5)


def answer(user: int, second: float, arm: str | None = CONTROL, **changes: Any) -> Interaction:
    assigned = {"experiment": "rollout", "arm": arm, "session": f"user-{user}"}
    values = {
        "created": BEGIN + second,
        "model": NEW if arm == CHALLENGER else OLD,
        "arm_propensity": 0.1 if arm == CHALLENGER else 0.9,
        **({"session": f"after-{user}"} if arm is None else assigned),
        **changes,
    }
    return interaction(f"{user} at {second}", **values)


def judged(one: Interaction, *thumbs: bool) -> JudgedInteraction:
    given = [Feedback(f"f{i}", one.id, one.created, "thumb", up) for i, up in enumerate(thumbs)]
    return JudgedInteraction(one, tuple(given))


def move(second: int, kind: str, state: State, percent: float, actor: str) -> dict[str, Any]:
    return {
        "at": f"{DAY}{second:02}Z",
        "kind": kind,
        "after": {"state": state, "percent": percent},
        "evidence": {"effect": -0.4},
        "actor": actor,
        "reason": "worse",
    }


def stored(*more: JudgedInteraction, actor: str = "rollout") -> Stored:
    """One at 10 %, then at 50 %, then rolled back, with four sessions and one afterwards."""
    experiment = Terms().experiment("rollout", "legal", (OLD, NEW), 50, salt="s")
    weights, times = experiment.weights_at(50), (f"{DAY}00Z", f"{DAY}20Z", f"{DAY}20Z")
    entry = Entry(experiment, State.STOPPED, 50.0, weights, {}, 0.0, *times)
    moves = [
        move(0, "create", State.RUNNING, 10.0, "ann"),
        move(10, "stage", State.RUNNING, 50.0, actor),
        move(20, "rollback", State.STOPPED, 50.0, actor),
    ]
    answers = [
        judged(answer(1, 1), True),
        judged(answer(2, 2, CHALLENGER), False),
        judged(answer(1, 12)),
        judged(answer(3, 13)),
        judged(answer(4, 14, CHALLENGER)),
        judged(answer(1, 25, None)),
    ]
    return Stored(entry, moves, OLD, [*answers, *more])


def failing(found: Stored, expected: Expected = EXPECTED, **changes: Any) -> list[str]:
    """The checks that fail, where users saw what is stored, but for `changes`."""
    saw = Seen(
        answered={j.interaction.id: j.interaction.session or "" for j in found.answers},
        said={j.interaction.id: bool(j.feedback[0].value) for j in found.answers if j.feedback},
    )
    for name, value in changes.items():
        setattr(saw, name, value)
    return [one.name for one in check(found, saw, expected) if not one.ok]


def test_a_rollout_as_it_should_be() -> None:
    assert failing(stored()) == []
    assert list(stored().stages) == [Stage(10.0, 2, 1), Stage(50.0, 2, 1)]


def test_another_end_is_noticed() -> None:
    promoted = Expected("promote", NEW, answers=5)
    assert failing(stored(), promoted) == [
        "ends by promote, with evidence",
        "afterwards its champion answers",
    ]
    assert failing(stored(actor="ann")) == ["every move is the system's own"]
    assert failing(stored(), Expected("rollback", OLD, answers=4)) == [
        "within the bound that was stated"
    ]


def test_more_than_its_share_is_noticed() -> None:
    many = [judged(answer(10 + n, 3 + n / 10, CHALLENGER)) for n in range(4)]
    found = stored(*many)
    first = next(found.stages)
    assert (first.units, first.tested, first.most) == (6, 5, 4)
    wide = Expected("rollback", OLD, answers=100)
    assert failing(found, wide) == ["no stage gives more than its share"]


def test_what_is_lost_doubled_or_failed_is_noticed() -> None:
    assert failing(stored(), answered={"gone": "user-9"}) == ["every answer is stored once"]
    assert failing(stored(), said={}) == ["every feedback is stored once"]
    twice = judged(answer(1, 26, None), True, True)
    assert failing(stored(twice)) == ["every feedback is stored once"]
    assert failing(stored(), failures=["502"]) == ["no request failed"]
    broken = judged(answer(1, 26, None, outcome=Outcome.ERROR, error="engine"))
    assert failing(stored(broken)) == ["no request failed"]


def test_a_session_that_changes_arms_is_noticed() -> None:
    wide = Expected("rollback", OLD, answers=6)
    found = stored(judged(answer(1, 15, CHALLENGER)))
    both = ["no session changes arms", "the kill changes nobody's arm"]
    assert failing(found, wide) == both[:1]
    assert failing(found, wide, struck=BEGIN + 14) == both
    assert failing(stored(), struck=BEGIN + 11) == []
    # Nobody came on both sides, so nothing is known.
    assert failing(stored(), struck=BEGIN + 30) == both[1:]


def test_a_session_that_begins_while_a_move_is_under_way_may_change_arms() -> None:
    wide = Expected("rollback", OLD, answers=6)
    assert failing(stored(judged(answer(3, 15, CHALLENGER))), wide) == []


def test_sessions_are_the_same_for_a_seed() -> None:
    questions = [Question([{"role": "user", "content": str(n)}], str(n)) for n in range(50)]
    sessions = Manner().sessions(questions, 200, seed=3)
    assert sessions == Manner().sessions(questions, 200, seed=3)
    assert sessions != Manner().sessions(questions, 200, seed=4)
    assert len({session.name for session in sessions}) == 200
    assert {len(session.questions) for session in sessions} == {1, 2, 3}


def test_the_bound_holds_for_sessions_without_feedback() -> None:
    terms = Terms()
    told = terms.forecast()
    assert Manner(judges=1.0).sessions_judged == 1
    assert Manner().sessions_judged == pytest.approx((0.5 + 0.75 + 0.875) / 3)
    assert terms.most_units(told, Manner(judges=1.0)) == told.horizon_units
    assert terms.most_units(told, Manner()) == np.ceil(told.horizon_units * 24 / 17)


def test_damage_shuffles_rows_by_its_amount() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    assert damaged(1.0, 0)("x.lora_A.weight", rows) is rows
    kept, half, all_of_it = (damaged(a, 7)("x.lora_B.weight", rows) for a in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(kept, rows)
    assert sorted(map(tuple, all_of_it)) == sorted(map(tuple, rows))
    assert not np.array_equal(all_of_it, rows)
    np.testing.assert_array_equal(half, (rows + all_of_it) / 2)
    np.testing.assert_array_equal(scaled(2)("any", rows), 2 * rows)


def test_the_picture_has_a_line_for_each_arm() -> None:
    picture = ElementTree.fromstring(svg(stored(), "worse"))
    lines = [p for p in picture.iter("{http://www.w3.org/2000/svg}path") if p.get("class")]
    assert [line.get("class") for line in lines] == ["arm", "arm"]
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "10 %" in texts and CHALLENGER in texts


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--stages", "50,10"], "percent that grow"),
        (["--stages", "a"], "no list of percent"),
        (["--damage", "2"], "0<=x<=1"),
        (["--scenario", "none"], "'aa'"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], told: str) -> None:
    done = CliRunner().invoke(bench, ["rollout", *arguments], obj=None)
    assert done.exit_code == 2 and told in done.output
