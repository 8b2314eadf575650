"""Which judged interactions become examples."""

import pytest
from msgspec.structs import replace

from adapters.interactions import Feedback, Interaction, JudgedInteraction, Outcome
from training.curate import Reason
from training.interactions import is_positive, rows_from_log


def judged(receipt: str, *feedback: Feedback, train: bool = True) -> JudgedInteraction:
    return JudgedInteraction(replace(INTERACTION, id=receipt, train=train), feedback)


def said(value: bool | float | str | None, metric: str = "thumbs", fix: str = "") -> Feedback:
    return Feedback("f", "r", 0.0, metric, value, demonstration=fix or None)


INTERACTION = Interaction(
    id="r",
    created=0.0,
    endpoint="chat",
    key="k",
    unit="u1",
    session=None,
    requested_model="boiler",
    target="boiler",
    model="boiler--v1-00000000",
    probability=1.0,
    reason="explicit_domain",
    propensity=1.0,
    router_version="",
    experiment=None,
    arm=None,
    arm_propensity=1.0,
    index_version=None,
    sources=(),
    request={"messages": [{"role": "user", "content": "It drips"}]},
    response={"text": "leak", "finish_reason": "stop"},
    prompt_tokens=1,
    completion_tokens=1,
    outcome=Outcome.OK,
    error=None,
    overhead_ms=0.0,
    first_token_ms=None,
    total_ms=0.0,
    train=True,
)


def test_corrections_and_praise_become_rows() -> None:
    rows, removed = rows_from_log(
        [
            judged("fixed", said(False), said(None, fix="noise"), said(None, fix="cold")),
            judged("praised", said(True), said(0.9, "stars")),
            judged("silent"),
            judged("changed mind", said(True), said(False)),
            judged("no consent", said(True), train=False),
        ]
    )
    assert [(row.origin, row.answer, row.unit, row.question) for row in rows] == [
        ("fixed", "cold", "u1", "It drips"),
        ("praised", "leak", "u1", "It drips"),
    ]
    assert [(item.origin, item.reason) for item in removed] == [
        ("changed mind", Reason.NOT_POSITIVE),
        ("no consent", Reason.NO_CONSENT),
    ]


def test_a_judge_speaks_neither_for_an_answer_nor_against_it() -> None:
    graded, unreadable = said(1.0, "judge:strict"), said(None, "judge:strict")
    rows, removed = rows_from_log(
        [judged("graded", graded), judged("liked", unreadable, said(True))]
    )
    assert ([row.origin for row in rows], removed) == (["liked"], [])


def test_an_interaction_without_chat_messages_is_listed() -> None:
    item = judged("completion", said(True))
    item = replace(item, interaction=replace(item.interaction, request={"prompt": "It drips"}))
    rows, removed = rows_from_log([item])
    assert rows == []
    assert [entry.reason for entry in removed] == [Reason.UNUSABLE]


@pytest.mark.parametrize(
    ("value", "positive"),
    [
        (True, True),
        (False, False),
        (0.5, True),
        (0.4, False),
        ("up", True),
        ("down", False),
        (None, False),
    ],
)
def test_what_counts_as_praise(value: bool | float | str | None, positive: bool) -> None:
    assert is_positive(value, threshold=0.5) is positive
