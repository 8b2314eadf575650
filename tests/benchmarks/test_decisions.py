"""What the benchmarks of decisions count, on cases that can be checked by eye."""

from collections.abc import Sequence

import numpy as np

from benchmarks import conversations, router_log, thresholds
from benchmarks.conversations import Conversation, Followed, Score
from benchmarks.thresholds import Reached
from router import Decision
from router.examples import Example
from router.learning.evidence import SOURCE
from router.quality.goals import Coverage, Judged, Precision
from tests.router.learning.log import logged

LABELS = ("legal", "legal", "legal", "medical", "medical")
CHANGING = Conversation(("a", "why?", "b", "c", "d"), LABELS, 3, frozenset({1}))


def decided(*targets: str) -> conversations.Decide:
    """Decides by the number of turns, the last one by the second stage."""

    def decide(turns: Sequence[str]) -> Decision:
        stage = 2 if len(turns) == len(targets) else 1
        return Decision(targets[len(turns) - 1], 0.9, stage=stage)

    return decide


def test_what_a_conversation_counts() -> None:
    late = conversations.followed(
        CHANGING, decided("legal", "general", "legal", "legal", "medical")
    )
    assert late == Followed([True, False, True, False, True], [False], flaps=2, delay=1, second=1)
    calm = conversations.followed(CHANGING, decided(*LABELS))
    assert calm == Followed([True] * 5, [True], flaps=0, delay=0, second=1)
    assert conversations.score([late, calm]) == Score(2, 0.8, 0.5, 1.0, 0.5, 1.0, 0.2)


def test_conversations_are_made_of_queries_and_change_in_every_second_one() -> None:
    labels = ("general", "legal", "medical")
    examples = [Example(f"{label} {n}", label) for label in labels for n in range(6)]
    made = conversations.made(examples, 40)
    assert made == conversations.made(examples, 40)
    assert [one.change is None for one in made] == [True, False] * 20
    for one in made:
        assert len(one.turns) in (4, 5, 6)
        for turn, (text, label) in enumerate(zip(one.turns, one.labels, strict=True)):
            assert text.startswith(label) or turn in one.follow_ups
            assert (text in conversations.FOLLOW_UPS) == (turn in one.follow_ups)
        moves = [n for n in range(1, len(one.labels)) if one.labels[n] != one.labels[n - 1]]
        assert moves == ([] if one.change is None else [one.change])


def test_a_goal_on_the_other_halves() -> None:
    """All is right and all is kept; two hundred lines are too few to promise 0.999."""
    shares = np.array([[0.9, 0.1], [0.4, 0.6]] * 200)
    judged = Judged(("general", "legal"), shares, np.array([0, 1] * 200))
    kept = thresholds.reached(Coverage(1.0), lambda _, held: 1 - held.mean(), judged)
    assert kept == Reached(0, 1.0, 0.0, 1.0, None, 1.0, 1.0)
    refused = thresholds.reached(Precision(0.999), lambda *_: 1.0, judged)
    assert refused is None


def test_the_last_praise_is_the_label() -> None:
    log = [logged("a", "legal", 1.0), logged("a", "medical", 1.0), logged("b", "legal", 0.0)]
    assert router_log.praised(log) == [Example("a", "medical", source=SOURCE)]
