"""Evaluating a server over HTTP: what is sent, what is counted, what is refused."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.fakes.vllm import FakeVllm
from tests.serving import serving
from tests.training.conftest import write_chat
from training.cli.evaluate import evaluate as verb
from training.errors import EndpointError
from training.evaluation.endpoint import Endpoint
from training.evaluation.evaluate import evaluate
from training.rows import Row

# A state folder on which no system runs.
NO_SYSTEM = SimpleNamespace(development_key=None)


@pytest.fixture
def engine() -> FakeVllm:
    return FakeVllm()


@pytest.fixture
def url(engine: FakeVllm) -> Iterator[str]:
    with serving(engine.app) as address:
        yield address


@pytest.fixture
def asked(rows: list[Row]) -> list[Row]:
    """What the fake engine answers rightly (8 rows), wrongly (1), and with an error (1)."""
    said = ["say leak"] * 8 + ["say noise", "fail 500"]
    return [replace(rows[0], prompt=(("user", words),)) for words in said]


def test_answers_are_scored_and_errors_counted(asked: list[Row], url: str) -> None:
    found = evaluate("tiny", asked, Endpoint(url, concurrency=3).answers("tiny"))
    assert (found.n, found.errored, found.score) == (10, 1, 0.8)


def test_an_engine_gets_plain_greedy_requests(asked: list[Row], url: str, engine: FakeVllm) -> None:
    evaluate("tiny", asked[:1], Endpoint(f"{url}/v1/").answers("tiny"))
    assert engine.seen == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "say leak"}],
            "max_tokens": 10,
            "temperature": 0,
        }
    ]


@pytest.mark.parametrize("retrieval", [True, False])
def test_a_gateway_is_told_not_to_log(asked: list[Row], engine: FakeVllm, retrieval: bool) -> None:
    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok")

    engine.app.router.routes.append(Route("/healthz", healthz))
    with serving(engine.app) as url:
        evaluate("tiny", asked[:1], Endpoint(url, retrieval=retrieval).answers("tiny"))
    expected: dict[str, Any] = {"log": False} if retrieval else {"log": False, "retrieval": False}
    assert engine.seen[0]["turnout"] == expected


def test_an_unknown_model_or_a_dead_server_is_one_error(asked: list[Row], url: str) -> None:
    with pytest.raises(EndpointError, match="refuses 'nobody'.*does not exist"):
        evaluate("nobody", asked, Endpoint(url).answers("nobody"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(EndpointError, match="is it running"):
            evaluate("tiny", asked, Endpoint(dead).answers("tiny"))


def test_the_verb_prints_one_document(
    asked: list[Row], url: str, engine: FakeVllm, tmp_path: Path
) -> None:
    engine.adapters["better"] = "/nowhere"
    data = write_chat(tmp_path / "eval.jsonl", asked)
    arguments = ["better", "--data", str(data), "--against", "tiny", "--url", url, "--json"]
    result = CliRunner().invoke(verb, arguments, obj=NO_SYSTEM)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "model": "better",
        "n": 10,
        "tasks": {"fault": {"n": 10, "metric": "exact_match", "score": 0.8, "stderr": 0.1333}},
        "score": 0.8,
        "errored": 1,
        "against": {"tiny": {"score": 0.8, "difference": 0.0, "ci95": [0.0, 0.0]}},
    }


def test_the_verb_explains_what_is_wrong(url: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{}")
    arguments = ["tiny", "--data", str(tmp_path / "bad.jsonl"), "--url", url]
    bad = CliRunner().invoke(verb, arguments, obj=NO_SYSTEM)
    assert bad.exit_code == 1
    assert "bad.jsonl:1:" in bad.stderr and "Traceback" not in bad.stderr
    missing = CliRunner().invoke(verb, ["tiny", "--data", str(tmp_path / "none.jsonl")])
    assert missing.exit_code == 2
