"""The client towards engines, against servers that behave, misbehave and go away."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.connection import MAX_ANSWER_BYTES
from gateway.errors import EngineFailed, EngineUnreachable
from gateway.settings import Engine
from gateway.upstream import Answer, Upstream

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """A TCP server with a hand-written answer per connection; counts connections and requests."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.connections = 0
        self.requests: list[bytes] = []
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.close()


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> Any:
    server = Server(handler)
    listener = await asyncio.start_server(server, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"http{'s' if tls else ''}://127.0.0.1:{port}/v1/chat/completions"
    if tls:
        server.url = server.url.replace("127.0.0.1", "localhost")
    async with listener:
        yield server


async def request(reader: asyncio.StreamReader) -> bytes:
    """One request's body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


def saying(answer: bytes, *, then_close: bool = False) -> Handler:
    """Answers every request with the same bytes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            writer.write(answer)
            await writer.drain()
            if then_close:
                return

    return handler


async def chunks(answer: Answer) -> AsyncIterator[bytes]:
    """The pieces of an answer's body."""
    while piece := await answer.more():
        yield piece


ENGINE = Engine(name="e", urls=("http://127.0.0.1:1",), model="m", timeout=5)


async def opened(upstream: Upstream, url: str, body: bytes = b"{}", **limits: Any) -> Answer:
    engine = ENGINE.model_copy(update=limits)
    return await upstream.open(url, body, engine=engine, request_id="r", patience=engine.timeout)


def run(story: Callable[[Upstream], Awaitable[None]], tls: ssl.SSLContext | None = None) -> None:
    """Run a story with a client whose silences are watched."""

    async def main() -> None:
        upstream = Upstream(tls)
        sweeping = asyncio.create_task(upstream.sweep_forever())
        try:
            async with asyncio.timeout(20):
                await story(upstream)
        finally:
            sweeping.cancel()
            upstream.close()
            await asyncio.sleep(0)

    asyncio.run(main())


def test_a_connection_serves_many_requests() -> None:
    async def story(upstream: Upstream) -> None:
        async with serving(saying(OK)) as server:
            for _ in range(20):
                answer = await opened(upstream, server.url)
                assert (answer.status, await answer.read()) == (200, b"ok")
                answer.close()
                answer.close()
            assert server.connections == 1

    run(story)


def test_requests_at_once_have_a_connection_each() -> None:
    async def story(upstream: Upstream) -> None:
        async with serving(saying(OK)) as server:

            async def one() -> None:
                answer = await opened(upstream, server.url)
                assert await answer.read() == b"ok"
                answer.close()

            await asyncio.gather(*(one() for _ in range(30)))
            assert 1 < server.connections <= 30

    run(story)


def test_a_kept_connection_that_the_engine_closed_is_replaced() -> None:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        await writer.drain()
        await reader.read(1)  # the next request comes, and is not read: the connection closes

    async def story(upstream: Upstream) -> None:
        async with serving(closing) as server:
            for _ in range(5):
                answer = await opened(upstream, server.url)
                assert await answer.read() == b"ok"
                answer.close()
        async with serving(saying(OK, then_close=True)) as server:
            for _ in range(5):
                answer = await opened(upstream, server.url)
                assert await answer.read() == b"ok"
                answer.close()
                await asyncio.sleep(0.02)
            assert server.connections == 5

    run(story)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("head", "body", "end"),
    [
        (b"content-length: 26", b"abcdefghijklmnopqrstuvwxyz", b""),
        (
            b"transfer-encoding: chunked",
            b"a\r\nabcdefghij\r\n10;ext=1\r\nklmnopqrstuvwxyz\r\n0\r\n\r\n",
            b"",
        ),
        (b"x-length: none", b"abcdefghijklmnopqrstuvwxyz", b"close"),
    ],
    ids=["length", "chunked", "until close"],
)
def test_bodies_in_pieces_of_any_size(size: int, head: bytes, body: bytes, end: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        whole = early + b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body
        for start in range(0, len(whole), size):
            writer.write(whole[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)
        if not end:
            await reader.read(1)

    async def story(upstream: Upstream) -> None:
        async with serving(handler) as server:
            answer = await opened(upstream, server.url)
            assert (answer.status, await answer.read()) == (200, b"abcdefghijklmnopqrstuvwxyz")
            answer.close()
            answer = await opened(upstream, server.url)
            pieces = [piece async for piece in chunks(answer)]
            assert b"".join(pieces) == b"abcdefghijklmnopqrstuvwxyz"
            answer.close()

    run(story)


def test_large_bodies_both_ways() -> None:
    body = bytes(range(256)) * 4 * 2**12  # 4 MiB

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            got = await request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(got) + got)
            await writer.drain()

    async def story(upstream: Upstream) -> None:
        async with serving(echo) as server:
            for _ in range(3):
                answer = await opened(upstream, server.url, body)
                assert await answer.read() == body
                answer.close()
            assert server.connections == 1

    run(story)


def test_an_endless_answer_is_refused() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(MAX_ANSWER_BYTES // 2**20 + 20):
            writer.write(b"x" * 2**20)
            await writer.drain()

    async def story(upstream: Upstream) -> None:
        async with serving(endless) as server:
            answer = await opened(upstream, server.url)
            with pytest.raises(EngineFailed, match="is over"):
                await answer.read()
            answer.close()

    run(story)


def test_a_slow_caller_holds_the_engine_back() -> None:
    sent = 0

    async def pouring(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(64):
            writer.write(b"x" * 2**20)
            await writer.drain()
            sent += 2**20

    async def story(upstream: Upstream) -> None:
        async with serving(pouring) as server:
            answer = await opened(upstream, server.url, timeout=0.3)
            await asyncio.sleep(0.8)
            before = sent
            assert before < 16 * 2**20, "the kernel's buffers and ours, not the whole answer"
            received = 0
            async for piece in chunks(answer):
                received += len(piece)
            assert received == 64 * 2**20, "a pause of the caller's is no silence of the engine's"
            answer.close()

    run(story)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "broke the connection"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "broke the connection"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "broke the connection"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
            "broke the connection",
        ),
        (b"220 mail.example.com ESMTP\r\n", "sent no HTTP"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "sent no HTTP"),
        (b"HTTP/1.1 101 Switching\r\nupgrade: h2\r\nconnection: upgrade\r\n\r\n", "."),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 60_000, "headers do not end"),
    ],
)
def test_broken_answers_are_engine_failures(answer: bytes, message: str) -> None:
    async def story(upstream: Upstream) -> None:
        async with serving(saying(answer, then_close=True)) as server:
            with pytest.raises(EngineFailed, match=message):
                got = await opened(upstream, server.url)
                try:
                    await got.read()
                finally:
                    got.close()

    run(story)


def test_bytes_after_an_answer_end_the_connection() -> None:
    async def story(upstream: Upstream) -> None:
        async with serving(saying(OK + b"HTTP/1.1 200 OK\r\n\r\nplanted")) as server:
            for _ in range(3):
                answer = await opened(upstream, server.url)
                assert await answer.read() == b"ok"
                answer.close()
                await asyncio.sleep(0.01)
            assert server.connections == 3

    run(story)


def test_silence_is_given_up_and_a_slow_stream_is_not() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n")
        for _ in range(12):
            await asyncio.sleep(0.1)
            writer.write(b"x")
            await writer.drain()
        await reader.read(1)

    async def story(upstream: Upstream) -> None:
        async with serving(slow) as server:
            answer = await opened(upstream, server.url, timeout=0.5)
            assert await answer.read() == b"x" * 12
            answer.close()
        async with serving(saying(b"")) as server:
            with pytest.raises(EngineFailed, match="no byte within 0.3 s") as failed:
                await opened(upstream, server.url, timeout=0.3)
            assert failed.value.problem.status == 504

    run(story)


def test_a_silent_engine_is_not_asked_twice() -> None:
    asked = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            await request(reader)
            asked += 1
            if asked == 1:
                writer.write(OK)

    async def story(upstream: Upstream) -> None:
        async with serving(once) as server:
            answer = await opened(upstream, server.url)
            assert await answer.read() == b"ok"
            answer.close()
            with pytest.raises(EngineFailed, match="no byte"):
                await opened(upstream, server.url, timeout=0.3)
            assert asked == 2 and server.connections == 1

    run(story)


def test_nobody_there_is_told_apart() -> None:
    async def story(upstream: Upstream) -> None:
        for url in ("http://127.0.0.1:1/x", "http://no-such-host.invalid/x"):
            with pytest.raises(EngineUnreachable):
                await opened(upstream, url)

    run(story)


def test_a_cancelled_request_is_cut_off() -> None:
    gone = asyncio.Event()

    async def waiting(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await request(reader)
        await reader.read(1)
        gone.set()

    async def story(upstream: Upstream) -> None:
        async with serving(waiting) as server:
            task = asyncio.create_task(opened(upstream, server.url))
            await asyncio.sleep(0.1)
            task.cancel()
            async with asyncio.timeout(0.1):
                await gone.wait()

    run(story)


def test_a_stream_that_is_closed_early_is_cut_off() -> None:
    gone = asyncio.Event()

    async def streaming(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await writer.drain()
        await reader.read(1)
        gone.set()

    async def story(upstream: Upstream) -> None:
        async with serving(streaming) as server:
            answer = await opened(upstream, server.url)
            async for piece in chunks(answer):
                assert piece == b"x"
                break
            answer.close()
            async with asyncio.timeout(0.1):
                await gone.wait()

    run(story)


def test_tls_providers(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        + ["-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificate, key)

    async def story(upstream: Upstream) -> None:
        async with serving(saying(OK), ours) as server:
            for _ in range(3):
                answer = await opened(upstream, server.url, b"x" * 2**20)
                assert await answer.read() == b"ok"
                answer.close()
            assert server.connections == 1

    async def untrusted(upstream: Upstream) -> None:
        async with serving(saying(OK), ours) as server:
            with pytest.raises(EngineUnreachable, match="certificate"):
                await opened(upstream, server.url)

    run(story, ssl.create_default_context(cafile=str(certificate)))
    run(untrusted)


@settings(max_examples=60, deadline=None)
@given(garbage=st.binary(max_size=300), cut=st.integers(0, 60))
def test_garbage_is_an_answer_or_an_engine_failure(garbage: bytes, cut: int) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"[:cut]

    async def story(upstream: Upstream) -> None:
        async with serving(saying(head + garbage, then_close=True)) as server:
            try:
                answer = await opened(upstream, server.url, timeout=1)
                await answer.read()
                answer.close()
            except EngineFailed:
                pass  # the one way it may fail

    run(story)


def test_an_engine_that_goes_on_after_its_end_is_cut() -> None:
    async def story(upstream: Upstream) -> None:
        sent = 0

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\n[DONE]\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)
            while True:
                writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
                await writer.drain()
                sent += 65536

        async with serving(handler) as server:
            answer = await opened(upstream, server.url)
            assert await answer.more() == b"[DONE]"
            answer.finish()
            await asyncio.sleep(0.5)
            stopped = sent
            await asyncio.sleep(0.2)
            assert sent == stopped

    run(story)


def test_a_connection_is_kept_whose_answer_ends_after_its_last_event() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\n[DONE]\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(b"0\r\n\r\n")

    async def story(upstream: Upstream) -> None:
        async with serving(handler) as server:
            for _ in range(3):
                answer = await opened(upstream, server.url)
                assert await answer.more() == b"[DONE]"
                answer.finish()
                await asyncio.sleep(0.1)
            assert server.connections == 1

    run(story)
