"""Whatever callers or engines do wrong ends in one clear error, and the gateway lives on."""

import socket
import threading
import time
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.protocols.requests import Endpoint, parse_request
from tests.fakes.vllm import FakeVllm
from tests.gateway.harness import Running, assert_error, running
from tests.serving import wait_for

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b'{"model": "auto", "messages": [', None),
        (b"[1, 2]", None),
        (b'"text"', None),
        ({"messages": HI}, "model"),
        ({"model": 3, "messages": HI}, "model"),
        ({"model": "", "messages": HI}, "model"),
        ({"model": "m" * 300, "messages": HI}, "model"),
        ({"model": "auto"}, "messages"),
        ({"model": "auto", "messages": []}, "messages"),
        ({"model": "auto", "messages": "hi"}, "messages"),
        ({"model": "auto", "messages": ["hi"]}, "messages[0]"),
        ({"model": "auto", "messages": [{"role": 1, "content": "x"}]}, "messages[0]"),
        ({"model": "auto", "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"model": "auto", "messages": HI, "stream": "yes"}, "stream"),
        ({"model": "auto", "messages": HI, "stream_options": 1}, "stream_options"),
        ({"model": "auto", "messages": HI, "prompt_logprobs": 0}, "prompt_logprobs"),
        ({"model": "auto", "messages": HI, "prompt_logprobs": "x"}, "prompt_logprobs"),
        ({"model": "auto", "messages": HI, "echo": True}, "echo"),
        ({"model": "auto", "messages": HI, "turnout": []}, "turnout"),
        ({"model": "auto", "messages": HI, "turnout": {"domian": "x"}}, "turnout.domian"),
        ({"model": "auto", "messages": HI, "turnout": {"domain": "nope"}}, "turnout.domain"),
        ({"model": "auto", "messages": HI, "turnout": {"log": 1}}, "turnout.log"),
        ({"model": "auto", "messages": HI, "turnout": {"retrieval": 3}}, "turnout.retrieval"),
        (
            {"model": "auto", "messages": HI, "turnout": {"retrieval": {"top_k": 10**9}}},
            "turnout.retrieval.top_k",
        ),
    ],
)
def test_bad_bodies_name_the_field(
    shared: Running, body: bytes | dict[str, object], param: str | None
) -> None:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    response = shared.http.post(CHAT, content=raw)
    assert_error(response, 400)
    assert response.json()["error"]["param"] == param
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"echo": True}, False),
        ({"logprobs": 0}, False),
        ({"echo": False, "logprobs": 1}, False),
        ({"prompt_logprobs": None}, False),
        ({"echo": True, "logprobs": 0}, True),
        ({"echo": 1, "logprobs": None}, False),
        ({"echo": "true", "logprobs": 2}, True),
        ({"prompt_logprobs": 1}, True),
    ],
)
def test_what_ends_a_vllm_with_adapters_does_not_reach_it(
    shared: Running, body: dict[str, object], refused: bool
) -> None:
    asked = {"model": "auto", "prompt": "hi", **body}
    response = shared.http.post("/v1/completions", json=asked)
    if not refused:
        assert response.status_code == 200
        return
    assert "can end a vLLM" in assert_error(response, 400)


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, artifacts: Path, encoder_folder: Path
) -> object:
    """One gateway for the tests of this file that leave nothing behind."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "config.json").write_text("{}")
    with running(folder, artifacts, encoder_folder, FakeVllm(root=str(folder))) as ready:
        yield ready


@given(body=st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["model", "messages", "role", "content", "turnout", "stream"]), inner
    ),
    max_leaves=12,
))  # fmt: skip
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_read_or_refused(body: object) -> None:
    raw = orjson.dumps(body)
    for endpoint in Endpoint:
        try:
            parse_request(endpoint, raw)
        except BadRequest as exc:
            assert exc.problem.status == 400


def test_a_body_that_is_too_large_is_refused_and_answered(shared: Running) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "x" * 10 * 2**20}]}
    message = assert_error(shared.http.post(CHAT, json=body), 413, "body_too_large")
    assert "server.max_body_bytes" in message
    long = {"model": "auto", "messages": [{"role": "user", "content": "word " * 200_000}]}
    assert shared.http.post(CHAT, json=long).status_code == 200


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "Basic abc", "Bearer é"])
def test_unknown_keys_are_refused(shared: Running, header: str | None) -> None:
    headers = {"Authorization": header.encode()} if header is not None else {"Authorization": ""}
    for path in (CHAT, "/v1/feedback", "/v1/route"):
        body = {"id": "x", "metric": "m", "value": 1, "model": "auto", "messages": HI}
        response = shared.http.post(path, json=body, headers=headers)
        assert_error(response, 401, "invalid_api_key")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        {"metric": "m", "value": 1},
        {"id": "x", "metric": "bad name!", "value": 1},
        {"id": "x", "metric": "m", "value": None},
        {"id": "x", "metric": "m", "value": [1]},
        {"id": "x" * 500, "metric": "m", "value": 1},
        {"id": "x", "metric": "m", "value": 1, "more": 1},
        b'{"id": "x", "metric": "m", "value": 1e999}',
    ],
)
def test_bad_feedback_is_refused(shared: Running, body: bytes | dict[str, object]) -> None:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    assert_error(shared.http.post("/v1/feedback", content=raw), 400)


def test_unknown_paths_and_methods_have_the_same_error(shared: Running) -> None:
    assert_error(shared.http.get("/v1/nothing"), 404)
    assert_error(shared.http.get(CHAT), 404)
    assert_error(shared.http.delete("/v1/models"), 405)


@pytest.mark.parametrize(
    ("engine_says", "caller_gets", "code"),
    [(400, 400, None), (422, 422, None), (429, 429, None), (401, 502, "engine_error"),
     (403, 502, "engine_error"), (500, 502, "engine_error"), (503, 502, "engine_error")],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_engine_errors_are_the_callers_or_ours(
    shared: Running, engine_says: int, caller_gets: int, code: str | None, stream: bool
) -> None:
    response = shared.chat(f"fail {engine_says}", model="general", stream=stream)
    message = assert_error(response, caller_gets, code)
    if caller_gets < 500:
        assert message == f"told to fail with {engine_says}"
        assert shared.http.get("/healthz").status_code == 200


def test_a_stream_that_breaks_ends_with_one_error_event(gateway: Running) -> None:
    response = gateway.chat("break it now please", model="general", stream=True)
    assert response.status_code == 200
    *_, last = [line for line in response.text.split("\n\n") if line]
    assert set(orjson.loads(last.removeprefix("data:"))["error"]) == {
        "message", "type", "param", "code"
    }  # fmt: skip
    assert "[DONE]" not in response.text
    (stored,) = gateway.stored()
    assert stored["outcome"] == "error" and stored["response"]["text"] == "echo: break "


def test_an_engine_that_is_down_is_a_503_and_readiness_says_so(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: FakeVllm
) -> None:
    with running(tmp_path, artifacts, encoder_folder, engine) as gateway:
        engine.healthy = False
        wait_for(lambda: gateway.http.get("/readyz").status_code == 503, "readiness to fall")
        response = gateway.chat("hi", model="general")
        assert_error(response, 503, "engine_unavailable")
        assert response.headers["retry-after"]
        assert gateway.http.get("/healthz").status_code == 200
        engine.healthy = True
        wait_for(lambda: gateway.chat("hi").status_code == 200, "answers to come back")


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_leaves_stops_the_engine(gateway: Running, stream: bool) -> None:
    words = "slowly " + "word " * 100 if stream else "wait 20"
    body = orjson.dumps(
        {"model": "general", "stream": stream, "messages": [{"role": "user", "content": words}]}
    )
    host, port = gateway.url.removeprefix("http://").split(":")
    request = (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-test-admin\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(request)
        if stream:
            caller.recv(1000)
        else:
            wait_for(lambda: gateway.engine.seen, "the engine to be asked")
    left = time.monotonic()
    wait_for(lambda: gateway.engine.cancelled == 1, "the engine to stop")
    assert time.monotonic() - left < 5
    assert gateway.stored()[0]["outcome"] == "cancelled"


def test_too_many_requests_at_once_get_429(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: FakeVllm
) -> None:
    limit = {"max_inflight": 2}
    with running(tmp_path, artifacts, encoder_folder, engine, server=limit) as gateway:
        slow = [threading.Thread(target=gateway.chat, args=("wait 2", "general")) for _ in range(2)]
        for thread in slow:
            thread.start()
        wait_for(lambda: len(engine.seen) == 2, "two requests under way")
        response = gateway.chat("hi", model="general")
        assert_error(response, 429, "overloaded")
        assert response.headers["retry-after"] == "1"
        for thread in slow:
            thread.join()
        assert gateway.chat("hi", model="general").status_code == 200
