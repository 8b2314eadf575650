"""What judged interactions teach: answers, pairs and verdicts, and what they do not."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from adapters.interactions import Feedback, Interaction, JudgedInteraction, Outcome
from training.curation.context import Context
from training.curation.interactions import is_positive, rows_from_log
from training.curation.removal import Reason
from training.rows import Kind, Row, Source


def judged(
    receipt: str, *feedback: Feedback, text: str = "leak", **facts: object
) -> JudgedInteraction:
    response = {"text": text, "finish_reason": "stop"}
    return JudgedInteraction(replace(INTERACTION, id=receipt, response=response, **facts), feedback)


def said(
    value: bool | float | str | None, metric: str = "thumbs", fix: str = "", over: str = ""
) -> Feedback:
    return Feedback(
        "f", "r", 0.0, metric, value, demonstration=fix or None, preferred_over=over or None
    )


def taught(row: Row) -> tuple[object, ...]:
    return row.origin, row.kind, row.answer, row.rejected, row.desirable


INTERACTION = Interaction(
    id="r",
    created=7.0,
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


def other(text: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}]}


def test_corrections_praise_and_blame_become_examples_of_three_kinds() -> None:
    rows, removed = rows_from_log(
        [
            judged("fixed", said(False), said(None, fix="noise"), said(None, fix="cold")),
            judged("praised", said(True), said(0.9, "stars"), request=other("It rattles")),
            judged("blamed", said("down"), request=other("It smells")),
            judged("silent", request=other("Well")),
            judged("in two minds", said(True), said(0.1, "stars"), request=other("It hums")),
            judged("no consent", said(True), train=False),
            judged("opted out", said(True), key="theirs"),
            judged("cut short", said(True), outcome=Outcome.CANCELLED),
        ],
        opted_out=["theirs"],
    )
    assert [taught(row) for row in rows] == [
        ("fixed", Kind.SFT, "cold", None, None),
        ("fixed", Kind.PREFERENCE, "cold", "leak", None),
        ("praised", Kind.KTO, "leak", None, True),
        ("praised", Kind.SFT, "leak", None, None),
        ("blamed", Kind.KTO, "leak", None, False),
    ]
    assert [(item.origin, item.reason) for item in removed] == [
        ("no consent", Reason.NO_CONSENT),
        ("opted out", Reason.OPTED_OUT),
        ("cut short", Reason.UNUSABLE),
        ("in two minds", Reason.UNDECIDED),
    ]
    assert {(row.unit, row.time, row.source) for row in rows} == {("u1", 7.0, Source.LOG)}


def test_the_newest_judgement_by_a_metric_counts() -> None:
    rows, _ = rows_from_log([judged("changed mind", said(True), said(False))])
    assert [taught(row) for row in rows] == [("changed mind", Kind.KTO, "leak", None, False)]


def test_answers_to_the_same_messages_make_pairs() -> None:
    rows, removed = rows_from_log(
        [
            judged("good", said(True), text="leak"),
            judged("bad", said(False), text="noise"),
            judged("best", said(None, over="unjudged"), text="a leak"),
            judged("unjudged", text="who knows"),
            judged("elsewhere", said(None, over="good"), text="cold", request=other("It is cold")),
        ]
    )
    assert [taught(row) for row in rows if row.kind is Kind.PREFERENCE] == [
        ("best", Kind.PREFERENCE, "a leak", "who knows", None),
        ("good", Kind.PREFERENCE, "leak", "noise", None),
    ]
    assert [(item.origin, item.reason) for item in removed] == [("elsewhere", Reason.UNDECIDED)]


def test_an_answer_is_preferred_over_what_the_model_said_not_over_its_correction() -> None:
    rows, _ = rows_from_log(
        [
            judged("corrected", said(None, fix="a leak"), text="noise"),
            judged("better", said(None, over="corrected"), text="leak"),
        ]
    )
    assert [taught(row) for row in rows if row.kind is Kind.PREFERENCE] == [
        ("corrected", Kind.PREFERENCE, "a leak", "noise", None),
        ("better", Kind.PREFERENCE, "leak", "noise", None),
    ]


def test_a_request_says_which_task_it_is() -> None:
    request = {**INTERACTION.request, "metadata": {"task": "fault"}}
    rows, _ = rows_from_log([judged("r", said(None, fix="cold"), request=request)])
    assert {row.task for row in rows} == {"fault"}


def test_the_prompt_is_what_the_model_saw(tmp_path: Path) -> None:
    folder = tmp_path / "boiler" / "v1-0123abcd"
    folder.mkdir(parents=True)
    passage = {"id": "d#0", "doc_id": "d", "title": "Valves", "text": "Valve 7 may drip."}
    (folder / "passages.jsonl").write_text(json.dumps(passage) + "\n")
    context = Context(tmp_path, {"boiler": "Name the fault."})
    seen = {"sources": ("d#0",), "index_version": "v1-0123abcd"}
    rows, removed = rows_from_log(
        [
            judged("kept", said(None, fix="cold"), **seen),
            judged("passage gone", said(True), sources=("d#9",), index_version="v1-0123abcd"),
            judged("index gone", said(True), sources=("d#0",), index_version="v2-0123abcd"),
            judged("hostile", said(True), sources=("d#0",), index_version="../../etc"),
        ],
        context=context,
    )
    system = rows[0].messages[0]["content"]
    assert system.startswith("Name the fault.\n\nUse the numbered sources")
    assert "[1] Valves\nValve 7 may drip." in system
    assert (rows[0].question, rows[0].answer) == ("It drips", "cold")
    assert {(item.origin, item.reason) for item in removed} == {
        ("passage gone", Reason.NO_CONTEXT),
        ("index gone", Reason.NO_CONTEXT),
        ("hostile", Reason.NO_CONTEXT),
    }


def test_a_judge_speaks_neither_for_an_answer_nor_against_it() -> None:
    graded, unreadable = said(1.0, "judge:strict"), said(None, "judge:strict")
    rows, removed = rows_from_log(
        [judged("graded", graded), judged("liked", unreadable, said(True))]
    )
    assert ({row.origin for row in rows}, removed) == ({"liked"}, [])


def test_an_interaction_without_chat_messages_is_listed() -> None:
    rows, removed = rows_from_log(
        [judged("completion", said(True), request={"prompt": "It drips"})]
    )
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
