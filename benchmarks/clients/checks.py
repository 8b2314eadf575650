"""What a client towards engines has to get right, each a short story with a hostile server.

A check returns what it saw, or raises Wrong. Standard library only, like the server.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from benchmarks.clients.client import ClientFailed
from benchmarks.clients.expect import (
    Bench,
    expect,
    expect_failure,
    insist,
    noticed,
    resident,
    stream,
)
from benchmarks.clients.hostile import OK, Departure, Pouring, request, saying, serving

MIB = 2**20
# What the kernel's buffers on both sides may hold, and a client's own.
_HELD_BACK, _POURED = 16 * MIB, 64 * MIB
_ALPHABET = b"abcdefghijklmnopqrstuvwxyz"

Check = Callable[[Bench], Awaitable[str]]


async def reused(bench: Bench) -> str:
    client = bench.client()
    async with serving(saying(OK)) as server:
        for _ in range(20):
            await expect(client, server.url, b"ok")
        insist(server.connections == 1, f"{server.connections} connections for 20 requests")
    return "20 requests, 1 connection"


async def closed_while_idle(bench: Bench) -> str:
    client = bench.client()
    async with serving(saying(OK, then_close=True)) as server:
        for _ in range(5):
            await expect(client, server.url, b"ok")
            await asyncio.sleep(0.03)
    return "5 of 5"


async def closed_as_asked(bench: Bench) -> str:
    """The engine gives up an idle connection while the next request is already on its way."""

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        await reader.read(1)

    client = bench.client()
    async with serving(closing) as server:
        for _ in range(5):
            await expect(client, server.url, b"ok")
    return "5 of 5"


async def cut_short(bench: Bench) -> str:
    """An answer that breaks off is an error, read whole or as a stream."""
    head = b"HTTP/1.1 200 OK\r\n"
    answers = {
        "head": head + b"content-le",
        "length": head + b"content-length: 10\r\n\r\nhalf",
        "chunked": head + b"transfer-encoding: chunked\r\n\r\n5\r\nab",
        "between chunks": head + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
    }
    for name, answer in answers.items():
        async with serving(saying(answer, then_close=True)) as server:
            await expect_failure(bench.client(), server.url, f"cut in {name}")
    return ", ".join(answers)


async def odd_chunks(bench: Bench) -> str:
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"a\r\nabcdefghij\r\n010;name=value\r\nklmnopqrstuvwxyz\r\n0\r\nx-trailer: y\r\n\r\n"
    )
    client = bench.client()
    for size in (1, 7, 100):
        async with serving(saying(chunked, piece=size)) as server:
            await expect(client, server.url, _ALPHABET)
            pieces = [piece async for piece in client.stream(server.url, b"{}")]
            insist(b"".join(pieces) == _ALPHABET, f"pieces of {size}: {pieces}")
            insist(server.connections == 1, "the connection was not kept")
    return "pieces of 1, 7, 100 bytes"


async def large(bench: Bench) -> str:
    """A megabyte each way, on one connection."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            got = await request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(got) + got)

    body = bytes(range(256)) * (MIB // 256)
    client = bench.client()
    async with serving(echo) as server:
        for _ in range(3):
            await expect(client, server.url, body, sent=body)
        insist(server.connections == 1, f"{server.connections} connections")
    return "3 times 1 MiB each way"


async def slow_reader(bench: Bench) -> str:
    """Who reads nothing stops the server, and costs little memory; then all of it arrives."""
    pouring = Pouring(_POURED)
    async with serving(pouring.handler) as server, aclosing(stream(bench, server.url)) as pieces:
        received = len(await anext(pieces))
        memory = resident()
        await asyncio.sleep(0.5)
        held = pouring.sent
        insist(held < _HELD_BACK, f"{held // MIB} MiB were sent to a client that does not read")
        grown = resident() - memory
        insist(grown < _HELD_BACK, f"{grown // MIB} MiB of memory for a client that does not read")
        received += sum([len(piece) async for piece in pieces])
        insist(received == _POURED, f"{received} bytes of {_POURED}")
    return f"{held / MIB:.1f} MiB on their way"


async def cancelled_waiting(bench: Bench) -> str:
    departure = Departure(b"")
    client = bench.client()
    async with serving(departure.handler) as server:
        task = asyncio.create_task(client.whole(server.url, b"{}"))
        await departure.asked.wait()
        await asyncio.sleep(0.05)
        return await noticed(departure, task.cancel)


async def cancelled_streaming(bench: Bench) -> str:
    beginning = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n"
    departure = Departure(beginning)

    async def read(begun: asyncio.Event) -> None:
        async with aclosing(stream(bench, server.url)) as pieces:
            async for _ in pieces:
                begun.set()

    async with serving(departure.handler) as server:
        begun = asyncio.Event()
        task = asyncio.create_task(read(begun))
        await begun.wait()
        return await noticed(departure, task.cancel)


async def tls(bench: Bench) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bench.tls / "certificate.pem", bench.tls / "key.pem")
    client = bench.client(trusting=True)
    async with serving(saying(OK), context) as server:
        for _ in range(3):
            await expect(client, server.url, b"ok", sent=b"x" * MIB)
        insist(server.connections == 1, f"{server.connections} connections")
        await expect_failure(bench.client(), server.url, "a certificate that nobody trusts")
    return "trusted by its CA, refused without"


async def interim(bench: Bench) -> str:
    """100 and 103 come before the answer and are not it."""
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    client = bench.client()
    for size in (0, 5):
        async with serving(saying(early + OK, piece=size)) as server:
            await expect(client, server.url, b"ok")
            await expect(client, server.url, b"ok")
    return "100, 103, 200"


async def garbage(bench: Bench) -> str:
    """What is no HTTP is an error."""
    head = b"HTTP/1.1 200 OK\r\n"
    answers = {
        "no HTTP": b"220 mail.example.com ESMTP\r\n\r\n",
        "chunk size": head + b"transfer-encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
        "two lengths": head + b"content-length: 2\r\ncontent-length: 5\r\n\r\nokbad",
        "zero in a name": head + b"x-\x00: y\r\ncontent-length: 2\r\n\r\nok",
        "endless headers": head + b"x: y\r\n" * 100_000,
    }
    for name, answer in answers.items():
        async with serving(saying(answer, then_close=True)) as server:
            await expect_failure(bench.client(), server.url, name)
    return ", ".join(answers)


async def odd_headers(bench: Bench) -> str:
    """Strange, but servers send it: the answer is whole and good."""
    lines = (
        b"x-name: caf\xe9",
        b"x-empty:",
        b"X-LONG: " + b"v" * 6_000,
        b"x-twice: a\r\nx-twice: b",
    )
    client = bench.client()
    for line in lines:
        answer = b"HTTP/1.1 200 OK\r\n" + line + b"\r\ncontent-length: 2\r\n\r\nok"
        async with serving(saying(answer)) as server:
            await expect(client, server.url, b"ok")
    return "latin-1, empty, 6 kB, twice"


async def surplus(bench: Bench) -> str:
    """Bytes behind an answer's length are nobody's: above all not the next request's answer."""
    planted = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nplanted"
    client, refused = bench.client(), 0
    for behind in (b"surplus", planted):
        async with serving(saying(OK + behind)) as server:
            for _ in range(4):
                try:
                    await expect(client, server.url, b"ok")
                except ClientFailed:
                    refused += 1
                await asyncio.sleep(0.01)
    return f"{8 - refused} of 8 answered, the others refused" if refused else "8 of 8"


CHECKS: dict[str, Check] = {
    "keep-alive is used": reused,
    "server closed while idle": closed_while_idle,
    "server closes as it is asked": closed_as_asked,
    "answer cut short": cut_short,
    "odd chunk borders": odd_chunks,
    "1 MiB each way": large,
    "slow reader": slow_reader,
    "cancelled while waiting": cancelled_waiting,
    "cancelled in mid-stream": cancelled_streaming,
    "TLS": tls,
    "1xx before the answer": interim,
    "garbage": garbage,
    "odd headers": odd_headers,
    "surplus bytes": surplus,
}
