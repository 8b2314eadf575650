"""Every bad request gets a 4xx in vLLM's error shape, and leaves the engine serving."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.adapters.engines.embedded.conftest import SERVED_NAME, AdapterFolder

USER = [{"role": "user", "content": "Hi"}]


def error(response: httpx2.Response, status: int) -> dict[str, Any]:
    """The error of a response whose body has the one shape."""
    assert response.status_code == status, response.text
    body = response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["code"] == status
    assert isinstance(body["error"]["message"], str) and body["error"]["message"]
    return dict(body["error"])


@pytest.fixture(autouse=True)
def still_serving(http: httpx2.Client) -> Any:
    yield
    body = {"messages": USER, "max_tokens": 1, "temperature": 0}
    assert http.post("/v1/chat/completions", json=body).is_success


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b'{"messages": NaN}', b"[" * 100_000],
)
@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions", "/v1/completions", "/tokenize", "/v1/load_lora_adapter"],
)
def test_not_an_object(http: httpx2.Client, path: str, content: bytes) -> None:
    assert error(http.post(path, content=content), 400)["type"] == "Bad Request"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": "Hi"}, "body.messages"),
        ({"messages": []}, "body.messages"),
        ({"messages": [1]}, "body.messages.0"),
        ({"messages": [{"content": "Hi"}]}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"temperature": "hot"}, "body.temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 1e300}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "body.max_tokens"),
        ({"max_tokens": 10**18}, "max_tokens"),
        ({"max_tokens": 1025}, "max_tokens"),
        ({"n": 0}, "body.n"),
        ({"n": 10**9}, "body.n"),
        ({"n": 2, "temperature": 0}, "n"),
        ({"seed": 2**63}, "body.seed"),
        ({"seed": 10**400}, "body"),
        ({"stop": [""]}, "stop"),
        ({"stop": 5}, "body.stop"),
        ({"stop": ["x"] * 1000}, "body.stop"),
        ({"stop_token_ids": [10**6]}, "stop_token_ids"),
        ({"logit_bias": {"1000000": 1}}, "logit_bias"),
        ({"logit_bias": {"word": 1}}, "body.logit_bias.word"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 10**6}, "top_logprobs"),
        ({"min_tokens": 9, "max_tokens": 2}, "min_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"chat_template_kwargs": {"messages": []}}, None),
    ],
)
def test_wrong_chat_field(http: httpx2.Client, fields: dict[str, Any], param: str | None) -> None:
    sent = http.post(
        "/v1/chat/completions",
        content=httpx2.Request("POST", "http://x", json={"messages": USER, **fields}).content,
    )
    refused = error(sent, 400)
    if param is not None:
        assert refused["param"] is not None and refused["param"].startswith(param)


@pytest.mark.parametrize(
    "prompt", ["", [], [""], [[]], None, 5, [-1], [10**9], ["a", 1], [[1], "a"]]
)
def test_wrong_prompt(http: httpx2.Client, prompt: Any) -> None:
    error(http.post("/v1/completions", json={"prompt": prompt}), 400)


def test_unknown_model(http: httpx2.Client) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/tokenize"):
        body = {"model": "nobody", "messages": USER, "prompt": "Hi"}
        if path == "/tokenize":
            del body["prompt"]
        assert error(http.post(path, json=body), 404) == {
            "message": f"The model `nobody` does not exist. Valid aliases: {SERVED_NAME}.",
            "type": "NotFoundError",
            "param": "model",
            "code": 404,
        }


def test_prompt_longer_than_the_context(http: httpx2.Client) -> None:
    body = {"messages": [{"role": "user", "content": "word " * 2000}]}
    refused = error(http.post("/v1/chat/completions", json=body), 400)
    assert refused["type"] == "BadRequestError"
    assert refused["param"] == "input_tokens"
    assert "This model's maximum context length is 1024 tokens." in refused["message"]


def test_megabytes(http: httpx2.Client) -> None:
    body = {"messages": [{"role": "user", "content": "x" * 10 * 2**20}]}
    assert error(http.post("/v1/chat/completions", json=body), 400)["param"] == "input_text"
    error(http.post("/v1/chat/completions", content=b" " * (33 * 2**20)), 413)


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({}, 400, "Bad Request"),
        ({"lora_name": "a"}, 400, "Bad Request"),
        ({"lora_name": 5, "lora_path": "/x"}, 400, "Bad Request"),
        ({"lora_name": "", "lora_path": "/x"}, 400, "InvalidUserInput"),
        ({"lora_name": "a", "lora_path": ""}, 400, "InvalidUserInput"),
        ({"lora_name": SERVED_NAME, "lora_path": "/x"}, 400, "InvalidUserInput"),
        ({"lora_name": "a", "lora_path": "/no/such/folder"}, 404, "NotFoundError"),
        ({"lora_name": "a", "lora_path": "organisation/model"}, 404, "NotFoundError"),
        ({"lora_name": "a", "lora_path": "/tmp/\0"}, 404, "NotFoundError"),
        ({"lora_name": "a", "lora_path": "x" * 100_000}, 404, "NotFoundError"),
    ],
)
def test_wrong_adapter(http: httpx2.Client, fields: dict[str, Any], status: int, kind: str) -> None:
    assert error(http.post("/v1/load_lora_adapter", json=fields), status)["type"] == kind


def test_damaged_adapter(http: httpx2.Client, copy: AdapterFolder) -> None:
    copy.weights.write_bytes(b"damaged")
    body = {"lora_name": "damaged", "lora_path": str(copy.folder)}
    refused = error(http.post("/v1/load_lora_adapter", json=body), 400)
    assert refused["type"] == "BadRequestError"
    assert "not a whole safetensors file" in refused["message"]
    assert [card["id"] for card in http.get("/v1/models").json()["data"]] == [SERVED_NAME]


def test_no_such_route_or_method(http: httpx2.Client, tmp_path: Path) -> None:
    error(http.get("/v1/nothing"), 404)
    error(http.get("/v1/chat/completions"), 405)
    error(http.delete("/v1/models"), 405)
