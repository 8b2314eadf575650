"""A TCP server whose every answer is written by hand, and what the checks make it say.

Standard library only: it runs beside the client under test, in that client's environment.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Hostile:
    """Runs a handler for each connection and counts them."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the check is over
        finally:
            writer.close()
            self._tasks.discard(task)

    def end(self) -> None:
        """Leave every connection."""
        for task in self._tasks:
            task.cancel()


@contextlib.asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Hostile]:
    """Serve on a free loopback port until the block ends."""
    hostile = Hostile(handler)
    listener = await asyncio.start_server(hostile, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    hostile.url = f"https://localhost:{port}/" if tls else f"http://127.0.0.1:{port}/"
    try:
        yield hostile
    finally:
        listener.close()
        hostile.end()


async def request(reader: asyncio.StreamReader) -> bytes:
    """One request's body."""
    return await body_of(await reader.readuntil(b"\r\n\r\n"), reader)


async def body_of(head: bytes, reader: asyncio.StreamReader) -> bytes:
    """The body behind a head, of a given length or in chunks."""
    head = head.lower()
    if b"transfer-encoding: chunked" not in head:
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        return await reader.readexactly(int(length or b"0"))
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


def saying(answer: bytes, *, piece: int = 0, then_close: bool = False) -> Handler:
    """Answers every request with the same bytes, cut into pieces of that size."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            for start in range(0, len(answer), piece or max(1, len(answer))):
                writer.write(answer[start : start + piece] if piece else answer)
                await writer.drain()
                await asyncio.sleep(0)
            if then_close:
                return

    return handler


class Departure:
    """Answers with a beginning, and notes when its client has left."""

    def __init__(self, beginning: bytes) -> None:
        self._beginning = beginning
        self._left = asyncio.Event()
        self.asked = asyncio.Event()
        self.seen = 0.0

    async def handler(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(self._beginning)
        self.asked.set()
        with contextlib.suppress(ConnectionError):
            await reader.read(1)
        self.seen = time.perf_counter()
        self._left.set()

    async def milliseconds_since(self, moment: float) -> float:
        """From `moment` (`time.perf_counter`) until the client was seen to be gone."""
        await self._left.wait()
        return (self.seen - moment) * 1e3


class Pouring:
    """Answers with `size` bytes, as fast as they are taken, and counts them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.sent = 0

    async def handler(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % self._size)
        while self.sent < self._size:
            writer.write(bytes(64 * 1024))
            await writer.drain()
            self.sent += 64 * 1024
