"""What `turnout bench swap` counts as failed, as wrong, and as around a swap."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchmarks.swap.load import CHAT, Ending, Record, ask
from benchmarks.swap.report import (
    Latency,
    Move,
    around,
    failures,
    ineligible,
    silent_fallbacks,
)
from tests.serving import serving

V1, V2, BASE = "espresso--v1-00000000", "espresso--v2-00000000", "base"
# v1 in at 0; v2 in at 10; rolled back at 20; v2 in again at 30; v1 retired at 40.
MOVES = [
    Move(0, 0.1, takes_in=V1),
    Move(10, 10.1, takes_in=V2),
    Move(20, 20.1, takes_in=V1, takes_out=V2),
    Move(30, 30.1, takes_in=V2),
    Move(40, 40.1, takes_out=V1),
]


def answer(model: str, begun: float, ended: float, **options: Any) -> Record:
    route = options.pop("route", "espresso")
    headers = {"x-turnout-route": route, "x-turnout-reason": options.pop("reason", "routed")}
    return Record(
        "auto", False, begun, ended, status=200, model=model, text="x", headers=headers, **options
    )


def wrong(*records: Record) -> list[Record]:
    return ineligible(records, MOVES, domain="espresso", base=BASE)


def test_an_answer_is_wrong_only_when_its_version_was_out_for_the_whole_request() -> None:
    late = answer(V2, 21, 22)
    retired = answer(V1, 41, 42)
    too_early = answer(V2, 5, 6)
    begun_before = answer(V2, 19.9, 25)
    ended_after = answer(V2, 29, 30.05)
    assert wrong(late, retired, too_early, begun_before, ended_after) == [late, retired, too_early]


def test_the_champion_before_and_the_base_may_answer() -> None:
    assert wrong(answer(V1, 11, 12), answer(BASE, 11, 12)) == []


def test_a_version_never_answers_for_another_target() -> None:
    stray = answer(V2, 11, 12, route="general")
    assert wrong(stray) == [stray]


def test_a_fallback_that_says_nothing_is_noticed() -> None:
    told = answer(V1, 11, 12, reason="routed; fallback: v2 is not available")
    untold = answer(V1, 11, 12)
    during = answer(V1, 9.9, 10.5)
    champion = answer(V2, 11, 12)
    found = silent_fallbacks([told, untold, during, champion], MOVES, domain="espresso")
    assert found == [untold]


def test_around_a_move_is_half_a_second_before_until_three_after() -> None:
    begun = [9.4, 9.6, 13.0, 13.2]
    found = around([answer(V2, at, at + 1) for at in begun], MOVES[1:2])
    assert [record.begun for record in found] == [9.6, 13.0]


def test_latency_as_a_ratio() -> None:
    calm, swapped = Latency.of([1.0, 1.0, 1.0]), Latency.of([1.5, 1.5, 1.5])
    assert swapped.over(calm) == {"median": 1.5, "p95": 1.5}


def event(content: str) -> str:
    choice = {"index": 0, "delta": {"content": content}}
    return f"data: {json.dumps({'model': 'm', 'choices': [choice]})}\n\n"


ERROR = 'data: {"error": {"message": "gone", "type": "t", "param": null, "code": null}}\n\n'
STREAMS = {
    "done": ([event("a"), event("b"), "data: [DONE]\n\n"], Ending.DONE),
    "error": ([event("a"), ERROR], Ending.ERROR),
    "talks on": ([event("a"), ERROR, event("b")], Ending.UNCLEAN),
    "two ends": ([event("a"), ERROR, "data: [DONE]\n\n"], Ending.UNCLEAN),
    "stops": ([event("a")], Ending.UNCLEAN),
    "torn": ([event("a"), 'data: {"model"'], Ending.UNCLEAN),
}


async def stream(request: Request) -> Response:
    name = (await request.json())["model"]

    async def pieces() -> AsyncIterator[str]:
        for piece in STREAMS[name][0]:
            yield piece

    return StreamingResponse(pieces(), media_type="text/event-stream")


@pytest.mark.parametrize("name", STREAMS)
def test_how_a_stream_ended(name: str) -> None:
    async def asked(url: str) -> Record:
        async with aiohttp.ClientSession(url) as session:
            return await ask(session, name, "q", stream=True)

    with serving(Starlette(routes=[Route(CHAT, stream, methods=["POST"])])) as url:
        record = asyncio.run(asked(url))
    ending = STREAMS[name][1]
    assert record.ending is ending and record.ttft is not None
    assert (failures([record]) == []) is (ending is Ending.DONE)
    allowed = ending in (Ending.DONE, Ending.ERROR)
    assert (failures([record], broken_streams_allowed=True) == []) is allowed


def test_what_never_answered_has_failed() -> None:
    async def asked() -> Record:
        async with aiohttp.ClientSession("http://127.0.0.1:9") as session:
            return await ask(session, "m", "q", stream=False)

    record = asyncio.run(asked())
    assert record.status == 0 and failures([record], broken_streams_allowed=True) == [record]


def test_the_replica_is_read_from_the_debug_header() -> None:
    record = answer(V1, 0, 1)
    record.headers["x-turnout-debug"] = "version=v1; replica=http://127.0.0.1:8100; tries=1"
    assert record.replica == "http://127.0.0.1:8100"
