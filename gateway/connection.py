"""One HTTP/1.1 connection to an engine: asyncio and httptools, nothing else between socket and
pipeline.

It carries one request at a time and stays open between them (RFC 9112, section 9.3). General HTTP
clients spend most of a request's processor time on what engines do not need: redirects, cookies,
proxies, decompression (benchmarks/RESULTS.md).
"""

import asyncio
import ssl
from collections.abc import Callable
from functools import cache, lru_cache
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from gateway.errors import EngineFailed

# Read ahead of a slow caller by so much, then let TCP hold the engine back.
_READ_AHEAD = 256 * 1024
# Smaller bodies leave in one packet with their head.
_SMALL = 64 * 1024
_MOST_HEAD_BYTES = 256 * 1024
MAX_ANSWER_BYTES = 64 * 2**20


class Origin(NamedTuple):
    """Where a connection leads."""

    host: str
    port: int
    tls: bool


@lru_cache(maxsize=4096)
def prepared(method: str, url: str, bearer: str | None) -> tuple[Origin, bytes]:
    """Where a URL leads, and the part of a request's head that is always the same."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    origin = Origin(parts.hostname or "", parts.port or (443 if tls else 80), tls)
    lines = [
        f"{method} {parts.path} HTTP/1.1",
        f"host: {parts.netloc.rpartition('@')[2]}",
        "content-type: application/json",
    ]
    if bearer:
        lines.append(f"authorization: Bearer {bearer}")
    return origin, ("\r\n".join(lines) + "\r\n").encode("latin-1")


@cache
def system_trust() -> ssl.SSLContext:
    """Made when first needed: it holds every certificate of the system."""
    return ssl.create_default_context()


class Connection(asyncio.Protocol):
    """A connection and the answer that is arriving on it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.open = True
        self.patience = 0.0
        self._begin()

    def _begin(self) -> None:
        """Be ready for the next answer."""
        self.status = 0
        self.complete = False
        self.touched = False
        self.last_byte = self._loop.time()
        self._surplus = False
        self._framed = False
        self._head_bytes = 0
        self._reusable = False
        self._problem: EngineFailed | None = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self.ended: Callable[[], None] | None = None

    @property
    def idle(self) -> bool:
        """Whether it may carry another request."""
        return self.open and self.complete and self._reusable and not self._surplus

    @property
    def unread(self) -> bool:
        """Whether more of the answer has arrived than was read."""
        return bool(self._chunks)

    # What the pipeline does

    def send(self, head: bytes, body: bytes, patience: float) -> None:
        """Send a request. `patience`: seconds without a byte before `overdue` holds."""
        self._begin()
        self.patience = patience
        assert self._transport is not None
        if len(body) < _SMALL:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    async def begun(self) -> None:
        """Wait for the status; raises EngineFailed when none comes."""
        while not self.status:
            await self._progress()

    async def read(self) -> bytes:
        """The whole body; raises EngineFailed when it breaks off or is too large."""
        pieces: list[bytes] = []
        size = 0
        while True:
            if self._chunks:
                pieces.append(self._taken())
                size += len(pieces[-1])
            if self.complete:
                return b"".join(pieces)
            if size > MAX_ANSWER_BYTES:
                raise EngineFailed(502, f"the engine's answer is over {MAX_ANSWER_BYTES} bytes")
            await self._progress()

    async def more(self) -> bytes:
        """What of the body has arrived since the last look, in one piece, b"" after its end; raises
        EngineFailed when it breaks off."""
        while not self._chunks:
            if self.complete:
                return b""
            await self._progress()
        return self._taken()

    def overdue(self, now: float) -> bool:
        """Whether the engine has been silent for too long."""
        return not self.complete and not self._paused and now - self.last_byte > self.patience

    def fail(self, problem: EngineFailed) -> None:
        """End the answer with an error, and the connection."""
        self._problem = self._problem or problem
        self.abort()
        self._notify()

    def abort(self) -> None:
        """Cut the connection; the engine then stops computing."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # What the event loop and the parser call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.touched = True
        self.last_byte = self._loop.time()
        if self.complete:  # bytes that belong to no answer
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self.fail(EngineFailed(502, f"the engine sent no HTTP: {exc}"))
            return
        if not self.status:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                self.fail(EngineFailed(502, "the engine's headers do not end"))
        self._notify()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if not self.complete:
            if exc is None and self.status and not self._framed:
                self.complete = True  # its length was not given: it ends with the connection
            else:
                why = f": {exc}" if exc else ""
                self._problem = self._problem or EngineFailed(
                    502, f"the engine broke the connection{why}"
                )
        self._notify()

    def on_message_begin(self) -> None:
        # A second message that nobody asked for: it is not read, nor is the connection kept.
        self._surplus = self.complete

    def on_header(self, name: bytes, _value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and not self._surplus:  # 1xx only announce another one
            self.status = status

    def on_body(self, body: bytes) -> None:
        if self._surplus:
            return
        if self.ended is not None:  # only the end was still to come
            self.abort()
            return
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > _READ_AHEAD and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = True
            self._reusable = self._parser.should_keep_alive()

    def _taken(self) -> bytes:
        whole = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self.last_byte = self._loop.time()
            self._transport.resume_reading()
        return whole

    async def _progress(self) -> None:
        if self._problem is not None:
            raise self._problem
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self.ended is not None and (self.complete or not self.open):
            ended, self.ended = self.ended, None
            ended()
