"""The engine over HTTP, as the official client and the gateway see it."""

import json
import threading
import time
from pathlib import Path

import httpx2
import pytest
from openai import OpenAI

from adapters.engines.embedded.batcher import Batcher
from tests.adapters.engines.embedded.conftest import SERVED_NAME
from tests.serving import wait_for

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a long story."}]


def metric(http: httpx2.Client, name: str) -> float:
    """The sum of a metric's samples."""
    lines = http.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.split("{")[0] == name)


def test_chat(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(model=SERVED_NAME, messages=CAPITAL, temperature=0)
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == SERVED_NAME
    assert answer.choices[0].message.content == "The capital of France is Paris."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (37, 8)


def test_streamed_chat_is_the_same_answer(openai: OpenAI) -> None:
    chunks = list(
        openai.chat.completions.create(
            model=SERVED_NAME,
            messages=CAPITAL,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    *texts, usage = chunks
    assert "".join(c.choices[0].delta.content or "" for c in texts) == (
        "The capital of France is Paris."
    )
    assert [c.choices[0].finish_reason for c in texts[-2:]] == [None, "stop"]
    assert usage.choices == [] and usage.usage is not None
    assert (usage.usage.prompt_tokens, usage.usage.completion_tokens) == (37, 8)
    assert len({chunk.id for chunk in chunks}) == 1


def test_logprobs_and_several_answers(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(
        model=SERVED_NAME,
        messages=CAPITAL,
        max_tokens=3,
        logprobs=True,
        top_logprobs=2,
        n=3,
        seed=1,
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert choice.logprobs is not None and choice.logprobs.content is not None
        positions = choice.logprobs.content
        assert "".join(position.token for position in positions) == choice.message.content
        assert all(len(position.top_logprobs) == 2 for position in positions)
        assert all(position.logprob <= 0 for position in positions)
    again = openai.chat.completions.create(
        model=SERVED_NAME, messages=CAPITAL, max_tokens=3, n=3, seed=1
    )
    contents = [choice.message.content for choice in answer.choices]
    assert [choice.message.content for choice in again.choices] == contents


def test_text_completions(openai: OpenAI) -> None:
    answer = openai.completions.create(
        model=SERVED_NAME,
        prompt=["The sun is", "Once upon a time"],
        max_tokens=4,
        temperature=0,
        echo=True,
    )
    assert answer.choices[0].text.startswith("The sun is")
    assert answer.usage is not None and answer.usage.completion_tokens == 8
    streamed = openai.completions.create(
        model=SERVED_NAME, prompt="The sun is", max_tokens=4, temperature=0, stream=True
    )
    text = "".join(chunk.choices[0].text for chunk in streamed)
    assert answer.choices[0].text == f"The sun is{text}"
    scored = openai.completions.create(
        model=SERVED_NAME, prompt="The sun is", max_tokens=2, temperature=0, logprobs=1
    ).choices[0]
    assert scored.logprobs is not None and scored.logprobs.tokens is not None
    assert "".join(scored.logprobs.tokens) == scored.text
    assert scored.logprobs.text_offset == [0, len(scored.logprobs.tokens[0])]


def test_adapters_come_and_go(
    http: httpx2.Client, openai: OpenAI, adapters: dict[str, Path]
) -> None:
    body = {"lora_name": "espresso--v1", "lora_path": str(adapters["plain"])}
    unload = {"lora_name": "espresso--v1"}
    done = http.post("/v1/load_lora_adapter", json=body)
    assert (done.status_code, done.text) == (
        200,
        "Success: LoRA adapter 'espresso--v1' added successfully.",
    )
    assert done.headers["content-type"].startswith("text/plain")
    twice = http.post("/v1/load_lora_adapter", json=body)
    assert twice.json()["error"] == {
        "message": "The lora adapter 'espresso--v1' has already been loaded. If you want to load "
        "the adapter in place, set 'load_inplace' to True.",
        "type": "InvalidUserInput",
        "param": None,
        "code": 400,
    }
    assert http.post("/v1/load_lora_adapter", json={**body, "load_inplace": True}).is_success
    base, adapter = http.get("/v1/models").json()["data"]
    assert (base["id"], base["parent"], base["max_model_len"]) == (SERVED_NAME, None, 1024)
    assert (adapter["id"], adapter["parent"], adapter["root"]) == (
        "espresso--v1",
        SERVED_NAME,
        str(adapters["plain"]),
    )
    by_adapter, by_base = (
        openai.chat.completions.create(
            model=name, messages=STORY, max_tokens=1, logprobs=True, seed=1
        )
        for name in ("espresso--v1", SERVED_NAME)
    )
    assert (by_adapter.model, by_base.model) == ("espresso--v1", SERVED_NAME)
    assert by_adapter.choices[0].logprobs != by_base.choices[0].logprobs
    gone = http.post("/v1/unload_lora_adapter", json=unload)
    assert (gone.status_code, gone.text) == (
        200,
        "Success: LoRA adapter 'espresso--v1' removed successfully.",
    )
    assert [card["id"] for card in http.get("/v1/models").json()["data"]] == [SERVED_NAME]
    missing = http.post("/v1/unload_lora_adapter", json=unload)
    assert (missing.status_code, missing.json()["error"]["message"]) == (
        404,
        "The lora adapter 'espresso--v1' cannot be found.",
    )


def test_requests_are_computed_together(
    http: httpx2.Client, openai: OpenAI, batcher: Batcher, loaded: str
) -> None:
    """Six requests on four rows, base and adapter mixed: all are answered, four at a time."""
    answers: list[str | None] = []

    def ask(model: str) -> None:
        answer = openai.chat.completions.create(
            model=model, messages=STORY, max_tokens=24, extra_body={"ignore_eos": True}
        )
        answers.append(answer.choices[0].finish_reason)

    threads = [threading.Thread(target=ask, args=(model,)) for model in (SERVED_NAME, loaded) * 3]
    for thread in threads:
        thread.start()
    most = 0.0
    while any(thread.is_alive() for thread in threads):
        most = max(most, metric(http, "vllm:num_requests_running"))
        time.sleep(0.02)
    assert answers == ["length"] * 6
    assert most == 4
    wait_for(lambda: metric(http, "vllm:num_requests_running") == 0, "the engine to be idle")


@pytest.mark.parametrize("stream", [True, False])
def test_abandoned_request_stops_computing(http: httpx2.Client, stream: bool) -> None:
    body = {"messages": STORY, "max_tokens": 900, "ignore_eos": True, "stream": stream}
    before = metric(http, "vllm:generation_tokens_total")
    if stream:
        with http.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
            wait_for(lambda: metric(http, "vllm:num_requests_running") == 1, "the request to run")
    else:
        with pytest.raises(httpx2.ReadTimeout):
            http.post("/v1/chat/completions", json=body, timeout=1)
    wait_for(lambda: metric(http, "vllm:num_requests_running") == 0, "the request to stop")
    assert metric(http, "vllm:generation_tokens_total") - before < 600


def test_stop_strings_never_leak_into_a_stream(openai: OpenAI) -> None:
    chunks = openai.chat.completions.create(
        model=SERVED_NAME, messages=CAPITAL, temperature=0, stream=True, stop=["is Paris", "zzz"]
    )
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == "The capital of France "


def test_tokenize_and_the_rest(http: httpx2.Client) -> None:
    chat = http.post("/tokenize", json={"messages": CAPITAL}).json()
    assert (chat["count"], len(chat["tokens"]), chat["max_model_len"]) == (37, 37, 1024)
    text = http.post("/tokenize", json={"prompt": "Hello", "return_token_strs": True}).json()
    assert text["token_strs"] == ["Hello"]
    assert (http.get("/health").status_code, http.get("/health").content) == (200, b"")
    assert http.get("/version").json()["version"]
    info = [
        line for line in http.get("/metrics").text.splitlines() if "lora_requests_info{" in line
    ]
    assert len(info) == 1 and 'running_lora_adapters=""' in info[0]


def test_content_parts_are_joined(http: httpx2.Client) -> None:
    parts = [
        {"type": "text", "text": "What is the capital"},
        {"type": "text", "text": "of France?"},
    ]
    joined = [{"role": "user", "content": "What is the capital\nof France?"}]
    tokens = [
        http.post("/tokenize", json={"messages": messages}).json()["tokens"]
        for messages in ([{"role": "user", "content": parts}], joined)
    ]
    assert tokens[0] == tokens[1]


def test_stream_ends_with_done(http: httpx2.Client) -> None:
    body = {"messages": CAPITAL, "temperature": 0, "stream": True, "max_tokens": 2}
    lines = [
        line for line in http.post("/v1/chat/completions", json=body).text.split("\n\n") if line
    ]
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        assert json.loads(line.removeprefix("data: "))["object"] == "chat.completion.chunk"
