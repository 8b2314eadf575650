"""The main path through the official client: routed, grounded, answered, recorded, judged."""

import time

import pytest
from openai import NotFoundError
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.harness import Running, assert_error
from tests.serving import wait_for

ESPRESSO = "My espresso machine's steam wand drips after I close the valve"
GENERAL = "Write a short poem about autumn leaves"


def test_a_domain_query_is_routed_grounded_and_recorded(gateway: Running) -> None:
    version = gateway.champion("espresso")
    raw = gateway.openai.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": ESPRESSO}], user="anna"
    )
    answer = raw.parse()
    assert answer.model == version
    assert answer.choices[0].message.content == f"echo: {ESPRESSO}"
    assert raw.headers["x-turnout-route"] == "espresso"
    assert raw.headers["x-turnout-reason"] == "classifier"
    assert float(raw.headers["x-turnout-confidence"]) > 0.5
    assert float(raw.headers["x-turnout-overhead-ms"]) > 0
    sources = raw.headers["x-turnout-sources"].split(",")
    annotations = answer.choices[0].message.annotations
    assert annotations is not None
    assert [a.url_citation.url for a in annotations] == [f"turnout:{s}" for s in sources]
    sent = gateway.engine.seen[-1]
    assert sent["model"] == version and "turnout" not in sent
    system = sent["messages"][0]
    assert system["role"] == "system" and "[1]" in system["content"]

    (stored,) = gateway.stored()
    assert stored["id"] == answer.id
    assert stored["target"] == "espresso" and stored["model"] == version
    assert stored["sources"] == tuple(sources) and stored["index_version"]
    assert stored["response"]["text"] == f"echo: {ESPRESSO}"
    assert (stored["prompt_tokens"], stored["outcome"]) == (7, "ok")
    assert stored["unit"] != "anna", "the unit is a digest"


def test_a_general_query_goes_to_the_general_model_untouched(gateway: Running) -> None:
    response = gateway.chat(GENERAL)
    assert response.json()["model"] == "tiny"
    assert response.headers["x-turnout-route"] == "general"
    assert "x-turnout-sources" not in response.headers
    assert gateway.engine.seen[-1]["messages"] == [{"role": "user", "content": GENERAL}]


def test_streams_carry_text_sources_and_usage(gateway: Running) -> None:
    version = gateway.champion("espresso")
    stream = gateway.openai.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": ESPRESSO}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text.strip() == f"echo: {ESPRESSO}"
    assert {chunk.model for chunk in chunks} == {version}
    assert len({chunk.id for chunk in chunks}) == 1
    extra = [
        c.model_extra["turnout"] for c in chunks if c.model_extra and "turnout" in c.model_extra
    ]
    assert len(extra) == 1 and extra[0]["sources"][0]["id"]
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == len(text.split())
    (stored,) = gateway.stored()
    assert stored["id"] == chunks[0].id
    assert stored["completion_tokens"] == len(text.split())
    assert stored["first_token_ms"] > 0


def test_usage_stays_out_of_streams_that_did_not_ask(gateway: Running) -> None:
    stream = gateway.openai.chat.completions.create(
        model="general", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    assert all(chunk.usage is None and chunk.choices for chunk in stream)
    assert gateway.stored()[0]["completion_tokens"] == 2


def test_names_select_targets(gateway: Running) -> None:
    version = gateway.champion("library")
    for name, route, model, reason in (
        ("gpt-4o-mini", "general", "tiny", None),
        ("general", "general", "tiny", "explicit_model"),
        ("library", "library", version, "explicit_domain"),
        (version, "library", version, "explicit_model"),
    ):
        response = gateway.chat(GENERAL, model=name)
        assert response.headers["x-turnout-route"] == route
        assert response.json()["model"] == model
        assert reason in (None, response.headers["x-turnout-reason"])
    listed = {card.id: card for card in gateway.openai.models.list()}
    assert {"auto", "general", "espresso", "library", version, "gpt-4o-mini"} == set(listed)
    assert listed[version].model_extra == {"parent": "tiny", "description": None}
    with pytest.raises(NotFoundError, match="nobody"):
        gateway.openai.chat.completions.create(
            model="nobody", messages=[{"role": "user", "content": "x"}]
        )


def test_extras_steer_and_never_reach_the_engine(gateway: Running) -> None:
    response = gateway.chat(GENERAL, turnout={"domain": "espresso", "retrieval": False})
    assert response.headers["x-turnout-route"] == "espresso"
    assert "x-turnout-sources" not in response.headers
    one = gateway.chat(ESPRESSO, turnout={"retrieval": {"top_k": 1}})
    assert len(one.headers["x-turnout-sources"].split(",")) == 1
    assert len(one.json()["turnout"]["sources"]) == 1
    silent = gateway.chat(GENERAL, turnout={"log": False})
    assert silent.status_code == 200
    kept = gateway.chat(GENERAL, turnout={"train": False, "session": "s1"})
    stored = {row["id"]: row for row in gateway.stored(3)}
    assert silent.json()["id"] not in stored
    assert stored[kept.json()["id"]]["train"] is False
    assert stored[kept.json()["id"]]["session"] == "s1"
    assert all("turnout" not in body for body in gateway.engine.seen)


def test_the_callers_system_prompt_stays_first(gateway: Running) -> None:
    messages = [
        {"role": "system", "content": "Answer in French."},
        {"role": "user", "content": ESPRESSO},
    ]
    gateway.http.post("/v1/chat/completions", json={"model": "espresso", "messages": messages})
    sent = gateway.engine.seen[-1]["messages"]
    assert sent[0]["content"].startswith("Answer in French.") and "[1]" in sent[0]["content"]
    assert sent[1:] == messages[1:]


def test_text_completions_take_the_same_road(gateway: Running) -> None:
    answer = gateway.openai.completions.create(model="auto", prompt=GENERAL, max_tokens=1)
    assert (answer.model, answer.choices[0].text) == ("tiny", " done")
    assert gateway.stored()[0]["endpoint"] == "completions"


def test_feedback_reaches_its_answer_once(gateway: Running) -> None:
    answer = gateway.chat(GENERAL).json()
    body = {"id": answer["id"], "metric": "thumb", "value": True, "demonstration": "Better."}
    for _ in range(3):
        response = gateway.http.post("/v1/feedback", json=body)
        assert response.status_code == 202
        assert response.json() == {"id": answer["id"], "accepted": True}
    wait_for(lambda: any(j.feedback for j in gateway.store.judged()), "the feedback")
    time.sleep(0.6)  # another drain: repeats must not arrive either
    (judged,) = gateway.store.judged()
    (feedback,) = judged.feedback
    assert (feedback.value, feedback.demonstration) == (True, "Better.")
    unknown = gateway.http.post("/v1/feedback", json={**body, "id": "chatcmpl-none"})
    assert_error(unknown, 404, "unknown_receipt")


def test_the_dry_run_tells_and_leaves_no_trace(gateway: Running) -> None:
    version = gateway.champion("espresso")
    seen = len(gateway.engine.seen)
    body = {"model": "auto", "messages": [{"role": "user", "content": ESPRESSO}]}
    told = gateway.http.post("/v1/route", json=body).json()
    assert told["target"] == "espresso" and told["model"] == version
    assert told["reason"] == "classifier" and told["experiment"] is None
    assert sum(told["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert told["sources"]
    assert len(gateway.engine.seen) == seen
    time.sleep(0.7)
    assert list(gateway.store.judged()) == []


def test_metrics_tell_what_happened(gateway: Running) -> None:
    gateway.chat(ESPRESSO)
    gateway.chat(GENERAL)
    gateway.chat("x", model="nobody")
    text = gateway.metrics()
    for line in (
        'turnout_requests_total{endpoint="chat.completions",model="tiny",'
        'outcome="ok",target="espresso"} 1.0',
        'turnout_decisions_total{reason="classifier",target="espresso"} 1.0',
        'turnout_tokens_total{direction="input",model="tiny",target="general"} 7.0',
        'turnout_errors_total{error_type="caller_not_found"} 1.0',
        'turnout_engine_up{engine="local"} 1.0',
    ):
        assert line in text
    cost = (7 * 1 + 8 * 2) / 1e6
    assert f'turnout_cost_total{{model="tiny",target="general"}} {cost}' in text


def test_metrics_are_prometheus_text_and_the_api_page_names_the_hot_paths(
    gateway: Running,
) -> None:
    gateway.chat(GENERAL)
    families = {family.name for family in text_string_to_metric_families(gateway.metrics())}
    assert {"turnout_requests", "turnout_request_seconds", "turnout_engine_up"} <= families
    paths = gateway.http.get("/openapi.json").json()["paths"]
    assert {"/v1/chat/completions", "/v1/completions", "/v1/feedback", "/v1/route"} <= set(paths)
