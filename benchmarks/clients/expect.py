"""How a check gets its client, what it may insist on, and what it calls wrong. Standard library
only."""

import resource
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.clients.client import Client, ClientFailed
from benchmarks.clients.hostile import Departure

_NOTICED_MS = 100


class Wrong(Exception):
    """The client did something else than it should."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a check gets clients from, and who closes them.

    `tls` is a folder with authority.pem, certificate.pem and key.pem.
    """

    make: Callable[[str | None], Client]
    tls: Path
    made: list[Client] = field(default_factory=list)

    def client(self, *, trusting: bool = False) -> Client:
        self.made.append(self.make(str(self.tls / "authority.pem") if trusting else None))
        return self.made[-1]

    async def close(self) -> None:
        for client in self.made:
            await client.close()


def insist(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Wrong(otherwise)


def stream(bench: Bench, url: str) -> AsyncGenerator[bytes, None]:
    return bench.client().stream(url, b"{}")


async def expect(client: Client, url: str, body: bytes, sent: bytes = b"{}") -> None:
    status, got = await client.whole(url, sent)
    insist((status, got) == (200, body), f"{status} {got[:60]!r}")


async def expect_failure(client: Client, url: str, what: str) -> None:
    """Neither way of reading may take it for an answer."""
    try:
        status, got = await client.whole(url, b"{}")
    except ClientFailed:
        pass
    else:
        raise Wrong(f"{what}: {status} {got[:60]!r}")
    try:
        pieces = [piece async for piece in client.stream(url, b"{}")]
    except ClientFailed:
        return
    raise Wrong(f"{what}: a stream of {pieces!r:.60} that ends well")


async def noticed(departure: Departure, leave: Callable[[], object]) -> str:
    left = time.perf_counter()
    leave()
    after = await departure.milliseconds_since(left)
    insist(after <= _NOTICED_MS, f"noticed after {after:.0f} ms")
    return f"{after:.1f} ms"


def resident() -> int:
    """Bytes of memory, of client and server together."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
