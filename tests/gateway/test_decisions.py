"""`POST /v1/decisions` with the official client, and what it refuses."""

from typing import Any

import httpx2
import pytest
from openai import BadRequestError, NotFoundError
from openai.types.decision import (
    AnswerAnswerResourceChoice,
    AnswerAnswerResourcePredicate,
    AnswerAnswerResourceRefusal,
)

from tests.gateway.harness import Running, assert_error

QUERY = "how do I descale my espresso machine?"
TARGETS = [{"value": "espresso"}, {"value": "library"}, {"value": "none"}]
CHOICE: dict[str, Any] = {"type": "choice", "instructions": "Who answers?", "choices": TARGETS}


def routed(gateway: Running, *turns: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": turn} for turn in turns]
    found: dict[str, Any] = gateway.http.post(
        "/v1/route", json={"model": "auto", "messages": messages}
    ).json()
    return found


def test_a_choice_between_targets_has_the_routers_probabilities(gateway: Running) -> None:
    decision = gateway.openai.decisions.create(
        model="auto", input=QUERY, questions=[{**CHOICE, "name": "target"}]
    )
    dry = routed(gateway, QUERY)
    [given] = decision.answers
    assert isinstance(given, AnswerAnswerResourceChoice)
    assert (given.choice, given.name) == ("espresso", "target")
    shares = {each.value: each.probability for each in given.probabilities}
    assert given.confidence == shares["espresso"]
    assert shares == pytest.approx(
        {
            "espresso": dry["probabilities"]["espresso"],
            "library": dry["probabilities"]["library"],
            "none": dry["probabilities"]["general"],
        }
    )
    assert decision.model == dry["router_version"]
    assert decision.usage.total_tokens == 0


def test_probabilities_are_among_what_is_offered(gateway: Running) -> None:
    choices = [{"value": "library"}, {"value": "general", "description": "anything else"}]
    decision = gateway.openai.decisions.create(
        model="gpt-4o-mini", input=QUERY, questions=[{**CHOICE, "choices": choices}]
    )
    shares = routed(gateway, QUERY)["probabilities"]
    [given] = decision.answers
    assert isinstance(given, AnswerAnswerResourceChoice)
    whole = shares["library"] + shares["general"]
    assert [each.probability for each in given.probabilities] == pytest.approx(
        [shares["library"] / whole, shares["general"] / whole]
    )


def test_a_predicate_about_one_target_is_its_probability(gateway: Running) -> None:
    parts: list[Any] = [{"type": "input_text", "text": "Is the question about Library?"}]
    decision = gateway.openai.decisions.create(
        model="auto",
        input=QUERY,
        questions=[
            {"type": "predicate", "instructions": "Is this about espresso?", "name": "coffee"},
            {"type": "predicate", "instructions": parts},
        ],
    )
    shares = routed(gateway, QUERY)["probabilities"]
    expected = [("coffee", shares["espresso"]), (None, shares["library"])]
    assert [
        (given.name, given.probability)
        for given in decision.answers
        if isinstance(given, AnswerAnswerResourcePredicate)
    ] == [(name, pytest.approx(share)) for name, share in expected]


def test_a_conversation_is_judged_by_its_users_turns(gateway: Running) -> None:
    turns = ["when is the library branch open on sunday?", "and what about monday?"]
    decision = gateway.openai.decisions.create(
        model="auto",
        input=[
            {"role": "system", "content": "You repair espresso machines."},
            {"role": "user", "content": [{"type": "input_text", "text": turns[0]}]},
            {"role": "assistant", "content": "Descale the boiler."},
            {"type": "function_call", "call_id": "1", "name": "espresso", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "the pump is loud"},
            {"role": "user", "content": turns[1]},
        ],
        questions=[CHOICE],
    )
    [given] = decision.answers
    assert isinstance(given, AnswerAnswerResourceChoice)
    assert given.choice == "library"
    assert given.confidence == pytest.approx(routed(gateway, *turns)["probability"])


def test_json_of_the_user_is_text(gateway: Running) -> None:
    data = {"device": "espresso machine", "fault": "the boiler needs descaling"}
    content: list[Any] = [{"type": "input_json", "data": data}]
    decision = gateway.openai.decisions.create(
        model="auto", input=[{"role": "user", "content": content}], questions=[CHOICE]
    )
    assert [given.type for given in decision.answers] == ["choice"]


@pytest.mark.parametrize("text", ["", "?!", "\x00"])
def test_text_without_words_is_refused_question_by_question(gateway: Running, text: str) -> None:
    predicate: Any = {"type": "predicate", "instructions": "library", "name": "b"}
    decision = gateway.openai.decisions.create(
        model="auto", input=text, questions=[CHOICE, predicate]
    )
    assert decision.answers == [
        AnswerAnswerResourceRefusal(type="refusal", name=None),
        AnswerAnswerResourceRefusal(type="refusal", name="b"),
    ]


@pytest.mark.parametrize(
    ("question", "param", "told"),
    [
        (
            {**CHOICE, "choices": [{"value": "espresso"}, {"value": "tennis"}]},
            "questions[0].choices[1].value",
            "espresso, general, library",
        ),
        (
            {**CHOICE, "choices": [{"value": "espresso"}, {"value": True}]},
            "questions[0].choices[1].value",
            "espresso, general, library",
        ),
        (
            {**CHOICE, "choices": [{"value": "none"}, {"value": "general"}]},
            "questions[0].choices[1].value",
            "offered twice",
        ),
        (
            {"type": "predicate", "instructions": "Is this not about espresso?"},
            "questions[0].instructions",
            "Is this about TARGET?",
        ),
        (
            {"type": "predicate", "instructions": "Is the user angry?"},
            "questions[0].instructions",
            "Is this about TARGET?",
        ),
        (
            {"type": "score", "instructions": "How urgent?", "levels": [{"label": "low"}]},
            "questions[0].type",
            "choices between targets",
        ),
    ],
)
def test_questions_it_cannot_answer_are_refused(
    gateway: Running, question: Any, param: str, told: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        gateway.openai.decisions.create(model="auto", input=QUERY, questions=[question])
    assert refused.value.param == param
    assert told in refused.value.message


@pytest.mark.parametrize(
    "body",
    [
        {"model": "auto", "input": QUERY},
        {"model": "auto", "input": QUERY, "questions": []},
        {"model": "auto", "input": QUERY, "questions": [CHOICE] * 401},
        {"model": "auto", "input": 4, "questions": [CHOICE]},
        {"model": "auto", "input": ["text"], "questions": [CHOICE]},
        {"model": "auto", "input": QUERY, "questions": [{"type": "essay"}]},
        {"model": "auto", "input": QUERY, "questions": [{**CHOICE, "choices": TARGETS[:1]}]},
        {"model": "", "input": QUERY, "questions": [CHOICE]},
        [],
        None,
    ],
)
def test_bad_shapes_have_the_one_error_body(gateway: Running, body: Any) -> None:
    assert_error(gateway.http.post("/v1/decisions", json=body), 400)


def test_only_the_router_answers(gateway: Running) -> None:
    with pytest.raises(NotFoundError, match="ask for 'auto'"):
        gateway.openai.decisions.create(model="general", input=QUERY, questions=[CHOICE])


def test_a_key_is_needed(gateway: Running) -> None:
    body = {"model": "auto", "input": QUERY, "questions": [CHOICE]}
    assert_error(httpx2.post(f"{gateway.url}/v1/decisions", json=body), 401)


def test_decisions_are_counted_and_documented(gateway: Running) -> None:
    gateway.openai.decisions.create(model="auto", input=QUERY, questions=[CHOICE])
    metrics = gateway.metrics()
    labels = 'endpoint="decisions",model="router",outcome="ok",target="espresso"'
    assert f"turnout_requests_total{{{labels}}} 1.0" in metrics
    assert 'turnout_decisions_total{reason="classifier",target="espresso"} 1.0' in metrics
    described = gateway.http.get("/openapi.json").json()["paths"]["/v1/decisions"]["post"]
    assert described["tags"] == ["inference"]
