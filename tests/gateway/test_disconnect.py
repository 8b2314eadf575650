"""Callers who leave, and callers who stop reading: the engine notices both, through the gateway.

How quickly is asserted generously; `turnout bench flat --only disconnect` has the real figures.
"""

import asyncio
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from tests.fakes.vllm import FakeVllm
from tests.gateway.harness import KEY, Running, running
from tests.serving import wait_for

MIB = 2**20
# Far more than the kernel's buffers on both sides hold, far less than what is poured.
HELD_BACK, POURED = 32 * MIB, 96 * MIB
PIECE = "x" * 8_000


class PouringVllm(FakeVllm):
    """Answers a stream with POURED bytes of events, as fast as they are taken from it."""

    sent = 0

    async def _stream(
        self, body: dict[str, Any], words: list[str], *, broken: bool
    ) -> AsyncIterator[str]:
        finished = False
        event = {"id": "chatcmpl-pour", "object": "chat.completion.chunk", "created": 1}
        choices = [{"index": 0, "delta": {"content": PIECE}, "finish_reason": None}]
        line = _line({**event, "model": body["model"], "choices": choices})
        try:
            while self.sent < POURED:
                self.sent += len(line)
                yield line
                await asyncio.sleep(0)  # the server looks whether its caller has left
            yield "data: [DONE]\n\n"
            finished = True
        finally:
            self.cancelled += not finished


def _line(event: dict[str, Any]) -> str:
    return f"data: {orjson.dumps(event).decode()}\n\n"


@pytest.fixture
def pouring(
    tmp_path: Path, artifacts: Path, encoder_folder: Path, engine: FakeVllm
) -> Iterator[Running]:
    with running(tmp_path, artifacts, encoder_folder, PouringVllm(root=engine.root)) as ready:
        yield ready


def ask(gateway: Running, text: str, *, stream: bool) -> socket.socket:
    """A caller's connection, with a request on it and a small buffer for the answer."""
    address = urlsplit(gateway.url)
    body = orjson.dumps(
        {"model": "general", "stream": stream, "messages": [{"role": "user", "content": text}]}
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    caller.settimeout(20)
    caller.connect((address.hostname, address.port))
    caller.sendall(head.encode() + body)
    return caller


def assert_engine_stops(gateway: Running, within: float = 1.0) -> None:
    left = time.monotonic()
    wait_for(lambda: gateway.engine.cancelled == 1, "the engine to stop")
    assert time.monotonic() - left < within
    assert gateway.stored()[0]["outcome"] == "cancelled"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_caller_who_leaves_before_the_first_byte(gateway: Running, stream: bool) -> None:
    with ask(gateway, "wait 30", stream=stream):
        wait_for(lambda: gateway.engine.seen, "the engine to be asked")
        time.sleep(0.1)  # the gateway waits as well by now
    assert_engine_stops(gateway)


def test_a_caller_who_leaves_in_mid_stream(gateway: Running) -> None:
    with ask(gateway, "slowly " + "word " * 200, stream=True) as caller:
        while b"word" not in caller.recv(4096):
            pass
    assert_engine_stops(gateway)


def test_a_caller_who_stops_reading_holds_the_engine_back(pouring: Running) -> None:
    engine = pouring.engine
    assert isinstance(engine, PouringVllm)
    memory = resident()
    with ask(pouring, "pour", stream=True) as caller:
        assert caller.recv(1024)
        held_at = until_still(engine)
        assert held_at < HELD_BACK, "the engine sends although nobody reads"
        grown = resident() - memory
        assert grown < HELD_BACK, f"{grown} bytes more for one caller who does not read"
        received, tail = 0, b""
        while not tail.endswith(b"0\r\n\r\n"):
            piece = caller.recv(MIB)
            received, tail = received + len(piece), (tail + piece)[-16:]
        assert received >= POURED, "what was held back arrives when the caller reads on"
    assert engine.cancelled == 0


def test_a_caller_who_stops_reading_and_leaves(pouring: Running) -> None:
    engine = pouring.engine
    assert isinstance(engine, PouringVllm)
    with ask(pouring, "pour", stream=True) as caller:
        assert caller.recv(1024)
        until_still(engine)
    assert_engine_stops(pouring)


def resident() -> int:
    """Bytes of memory that this process has, engine and gateway."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def until_still(engine: PouringVllm) -> int:
    """How many bytes the engine has sent, once it sends no more."""
    deadline, sent = time.monotonic() + 20, -1
    while sent != engine.sent:
        assert time.monotonic() < deadline, "the engine never stops"
        sent = engine.sent
        time.sleep(0.5)
    return sent
