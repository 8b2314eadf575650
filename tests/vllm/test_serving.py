"""Real adapters behind the gateway: loaded, proved, served, on demand too."""

from typing import Any

import httpx2

from benchmarks.swap.load import PLAIN
from benchmarks.swap.prepare import DOMAIN
from benchmarks.swap.servers import SERVED_NAME
from tests.vllm.conftest import Real

QUESTION = "How often should I backflush?"
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]


def chat(real: Real, model: str, **body: Any) -> httpx2.Response:
    """One short answer; ungrounded unless asked for, because long prompts are slow on a CPU."""
    short = {"max_tokens": 8, "min_tokens": 2, **PLAIN}
    return real.http.post(
        "/v1/chat/completions", json={"model": model, "messages": MESSAGES, **short, **body}
    )


def test_a_promoted_version_is_on_both_replicas_and_answers(real: Real) -> None:
    old, _ = real.versions
    real.serve(old)
    for number in range(2):
        with real.engine(number) as engine:
            listed = [card["id"] for card in engine.get("/v1/models").json()["data"]]
            assert SERVED_NAME in listed and old in listed
    models = {card["id"]: card for card in real.http.get("/v1/models").json()["data"]}
    assert models[old]["parent"]
    answer = chat(real, DOMAIN)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == old
    assert answer.json()["choices"][0]["message"]["content"]
    assert answer.headers["x-turnout-route"] == DOMAIN
    replicas = {replica.url for replica in real.system.replicas}
    debug = answer.headers["x-turnout-debug"]
    assert any(f"replica={url}" in debug.split("; ") for url in replicas)


def test_the_router_reaches_the_adapter(real: Real) -> None:
    real.serve(real.versions[0])
    answer = chat(real, "auto", turnout={"retrieval": {"top_k": 1}})
    assert answer.headers["x-turnout-route"] == DOMAIN
    assert answer.json()["model"] == real.versions[0]
    assert answer.headers["x-turnout-sources"]


def test_the_official_client_whole_and_streamed(real: Real) -> None:
    real.serve(real.versions[0])
    exactly: dict[str, Any] = {
        "model": DOMAIN,
        "messages": MESSAGES,
        "max_tokens": 8,
        "extra_body": {"min_tokens": 8, **PLAIN},
    }
    whole = real.openai.chat.completions.create(**exactly)
    assert whole.model == real.versions[0] and whole.choices[0].message.content
    stream = real.openai.chat.completions.create(
        **exactly, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert {chunk.model for chunk in chunks} == {real.versions[0]}
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces)
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 8


def test_an_unknown_adapter_is_the_callers_mistake(real: Real) -> None:
    answer = chat(real, f"{DOMAIN}--v99-00000000")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_a_cold_version_is_loaded_when_it_is_asked_for(real: Real) -> None:
    cold = real.variants[0]
    for number in range(2):
        with real.engine(number) as engine:
            assert cold not in [card["id"] for card in engine.get("/v1/models").json()["data"]]
    answer = chat(real, cold, temperature=0)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == cold
    streamed = chat(real, cold, stream=True)
    assert streamed.text.rstrip().endswith("data: [DONE]") and f'"{cold}"' in streamed.text


def test_engines_adapter_endpoints_are_not_reachable(real: Real) -> None:
    for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
        for door in ("", real.system.admin_url):
            answer = real.http.post(f"{door}{path}", json={"lora_name": "x", "lora_path": "/x"})
            assert answer.status_code == 404
