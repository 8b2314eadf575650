"""How soon an engine learns that a caller has left, through a real gateway; and how much it can
send for a caller who does not read.

The engine here is a few lines of asyncio: it has to see its connection end, which the mock does
not tell.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.clients.hostile import body_of, serving
from benchmarks.gateway.contender import KEY, Surroundings, WrongRun
from benchmarks.gateway.processes import Started
from benchmarks.gateway.questions import questions
from benchmarks.gateway.tools import BASE_MODEL
from benchmarks.gateway.turnout_gateway import Turnout

_PATIENCE_SECONDS, _STILL_SECONDS = 20, 1.0
_PAUSE_SECONDS = 0.02  # between a stream's events
_POURED = 256 * 2**20
_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def measure_disconnect(folder: Path, times: int = 20) -> dict[str, Any]:
    """Milliseconds from a caller's leaving until the engine's connection ends, before the first
    byte and in mid-stream; megabytes that an engine could send to a caller who does not read.

    Raises NotStarted, or WrongRun when the engine is never told.
    """
    folder.mkdir(parents=True)
    return asyncio.run(_measured(folder, times))


@dataclass(slots=True)
class _Engine:
    """As much of vLLM as a gateway asks for. Its streams are endless, its whole answers never
    come."""

    pours: bool = False
    sent: int = 0
    left_at: float = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def again(self, *, pours: bool = False) -> None:
        """Be ready for the next request."""
        self.pours, self.sent = pours, 0
        self.asked.clear()
        self.left.clear()

    async def handler(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not (head := await reader.readuntil(b"\r\n\r\n")).startswith(b"POST"):
            writer.write(_said(head))
        streams = json.loads(await body_of(head, reader)).get("stream", False)
        self.asked.set()
        answering = asyncio.create_task(self._stream(writer)) if streams else None
        with contextlib.suppress(ConnectionError):
            await reader.read(1)
        self.left_at = time.perf_counter()
        self.left.set()
        if answering is not None:
            answering.cancel()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        piece = "x" * (8_000 if self.pours else 8)
        choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
        event = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 0}
        line = json.dumps({**event, "model": BASE_MODEL, "choices": [choice]})
        data = f"data: {line}\n\n".encode()
        writer.write(_STREAM)
        with contextlib.suppress(ConnectionError):
            while self.sent < _POURED:
                writer.write(b"%x\r\n%b\r\n" % (len(data), data))
                await writer.drain()
                self.sent += len(data)
                await asyncio.sleep(0 if self.pours else _PAUSE_SECONDS)


async def _measured(folder: Path, times: int) -> dict[str, Any]:
    engine = _Engine()
    async with serving(engine.handler) as server:
        around = Surroundings([int(server.url.rstrip("/").rpartition(":")[2])], folder)
        running = Turnout().running(around)
        # Starting waits for the gateway, which waits for the engine, which is served here.
        started = await asyncio.to_thread(running.__enter__)
        try:
            waiting = [await _leave(started, engine, stream=False) for _ in range(times)]
            streaming = [await _leave(started, engine, stream=True) for _ in range(times)]
            slow = await _read_nothing(started, engine)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
    return {
        "waiting_ms": _figures(waiting),
        "streaming_ms": _figures(streaming),
        "slow_caller": slow,
    }


async def _leave(started: Started, engine: _Engine, *, stream: bool) -> float:
    """Milliseconds until the engine saw that the caller had left."""
    engine.again()
    async with _asked(started, stream=stream) as reader:
        await _within(engine.asked.wait(), "the request did not reach the engine")
        if stream:
            await _within(reader.readuntil(b"data:"), "no event came")
        await asyncio.sleep(0.05)
        left = time.perf_counter()
    await _within(engine.left.wait(), "the engine was not told that the caller left")
    return (engine.left_at - left) * 1e3


async def _read_nothing(started: Started, engine: _Engine) -> dict[str, float]:
    """What one caller who does not read makes the engine send, and the gateway hold."""
    engine.again(pours=True)
    memory = started.process.memory_mb()
    async with _asked(started, stream=True):
        await _within(engine.asked.wait(), "the request did not reach the engine")
        sent = -1
        while sent != engine.sent:
            sent = engine.sent
            await asyncio.sleep(_STILL_SECONDS)
        grown = started.process.memory_mb() - memory
    return {"sent_mb": round(sent / 2**20, 1), "gateway_grew_mb": round(grown, 1)}


@contextlib.asynccontextmanager
async def _asked(started: Started, *, stream: bool) -> AsyncIterator[asyncio.StreamReader]:
    """A caller's connection with a request on it; it is closed at the end."""
    body = json.dumps({**Turnout().body(questions()[0]), "stream": stream}).encode()
    head = (
        f"POST {Turnout.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", started.port)
    try:
        writer.write(head.encode() + body)
        yield reader
    finally:
        writer.close()


async def _within(awaited: Any, otherwise: str) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await awaited
    except TimeoutError as exc:
        raise WrongRun(f"{otherwise} within {_PATIENCE_SECONDS} s") from exc


def _said(head: bytes) -> bytes:
    """The engine's pages: health, models, metrics."""
    card = {"id": BASE_MODEL, "object": "model", "root": "/nowhere", "parent": None}
    body = json.dumps({"object": "list", "data": [card]}).encode() if b"/models" in head else b""
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _figures(milliseconds: list[float]) -> dict[str, float]:
    return {"p50": round(median(milliseconds), 2), "most": round(max(milliseconds), 2)}
