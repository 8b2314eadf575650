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
    document = json.loads(result.stdout)
    speed = document.pop("speed")
    assert {name: found["answer_tokens"] for name, found in speed.items()} == {
        "better": 1.0,
        "tiny": 1.0,
    }
    assert all(found["seconds"] >= found["answer_seconds"]["p50"] > 0 for found in speed.values())
    leak = {"precision": 1.0, "recall": 0.8, "f1": 0.8889, "n": 10}
    difference = {"score": 0.8, "difference": 0.0, "ci95": [-0.25, 0.25]}
    assert document == {
        "model": "better",
        "n": 10,
        "tasks": {
            "fault": {
                "n": 10,
                "metric": "exact_match",
                "score": 0.8,
                "stderr": 0.1333,
                "ci95": [0.4902, 0.9433],
                "few": True,
                "words_match": 0.8,
                "characters": {"expected": 4.0, "answer": 3.7},
                "labels": {"leak": leak},
                "macro_f1": 0.8889,
                "other_answers": 0.2,
            }
        },
        "score": 0.8,
        "errored": 1,
        "against": {
            "tiny": difference | {"tasks": {"fault": {**difference, "p": 1.0, "p_holm": 1.0}}}
        },
    }


def test_the_verb_asks_no_more_rows_than_wanted(
    asked: list[Row], url: str, engine: FakeVllm, tmp_path: Path
) -> None:
    rows = [*asked, *(replace(row, task="other") for row in asked[:3])]
    data = write_chat(tmp_path / "eval.jsonl", rows)
    arguments = ["tiny", "--data", str(data), "--url", url, "--rows", "4", "--json"]
    result = CliRunner().invoke(verb, arguments, obj=NO_SYSTEM)
    tasks = json.loads(result.stdout)["tasks"]
    assert {name: task["n"] for name, task in tasks.items()} == {"fault": 4, "other": 3}
    assert len(engine.seen) == 7


def test_the_table_is_for_people(asked: list[Row], url: str, tmp_path: Path) -> None:
    named = [replace(row, slice="a\x1b[2J" if i else "b") for i, row in enumerate(asked)]
    data = write_chat(tmp_path / "eval.jsonl", named)
    arguments = ["tiny", "--data", str(data), "--url", url, "--slices", "--robust"]
    result = CliRunner().invoke(verb, arguments, obj=NO_SYSTEM)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "tiny: 10 rows, 1 errored, score 0.800"
    assert lines[1] == "fault exact_match 0.800 [0.490, 0.943] (10 rows, few)"
    assert "words_match 0.800, macro_f1 0.889, other_answers 0.200" in lines
    assert "fault slice a?[2J 0.778 [0.453, 0.937] (9 rows, few)" in lines
    # Where the label stands in the question, it must not be written in capitals.
    (case,) = (line for line in lines if line.startswith("case "))
    assert case.startswith("case 0.000 → 0.000, difference +0.000 [")
    assert case.endswith("(2 rows, 8 left out)")
    assert "injection no row has this variant" in lines


def test_the_verb_explains_what_is_wrong(url: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{}")
    arguments = ["tiny", "--data", str(tmp_path / "bad.jsonl"), "--url", url]
    bad = CliRunner().invoke(verb, arguments, obj=NO_SYSTEM)
    assert bad.exit_code == 2
    assert "bad.jsonl:1:" in bad.stderr and "Traceback" not in bad.stderr
    missing = CliRunner().invoke(verb, ["tiny", "--data", str(tmp_path / "none.jsonl")])
    assert missing.exit_code == 2
