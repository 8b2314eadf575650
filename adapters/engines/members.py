"""Which replicas an engine has: configured URLs, and the addresses behind DNS names, looked up
again and again."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from adapters.engines.pool import Pool
from adapters.engines.replica import Replica

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


async def follow(
    pool: Pool,
    addresses: Callable[[], Awaitable[set[str]]],
    watch: Callable[[Replica], Coroutine[Any, Any, None]],
) -> None:
    """Keep a pool's replicas those at `addresses`, forever.

    A new one is added and watched; one that is gone gets no new requests, and is let go when the
    last one it answers is done.
    """
    async with asyncio.TaskGroup() as group:
        watching: dict[str, asyncio.Task[None]] = {}
        while True:
            now = await addresses()
            for url in sorted(now - pool.replicas.keys()):
                logger.info("replica %s appeared", url)
                watching[url] = group.create_task(watch(pool.add(url)))
            for url, replica in list(pool.replicas.items()):
                replica.leave(url not in now)
                if replica.leaving and not replica.outstanding:
                    logger.info("replica %s is drained and gone", url)
                    watching.pop(url).cancel()
                    pool.remove(url)
            await asyncio.sleep(LOOK_SECONDS)


async def assume_up(replica: Replica) -> None:
    """Watch a remote provider: it has no health to ask for, so one that refused a connection is
    taken to be up again after a moment."""
    while True:
        replica.came_up()
        replica.wake.clear()
        await replica.wake.wait()
        await asyncio.sleep(LOOK_SECONDS)


class Addresses:
    """Looks up the host names of an engine's URLs; every address is a replica."""

    def __init__(self, lookup: Callable[[str, int], Awaitable[set[str]]] | None = None) -> None:
        self._lookup = lookup or _lookup
        self._last: dict[str, set[str]] = {}

    async def behind(self, urls: tuple[str, ...]) -> set[str]:
        """URLs with addresses in place of names. A name that cannot be looked up now keeps the
        addresses it had."""
        for url in urls:
            parts = urlsplit(url)
            port = parts.port or 80
            try:
                hosts = await self._lookup(parts.hostname or "", port)
            except OSError as exc:
                logger.warning("%s cannot be looked up (%s); its replicas stay", url, exc)
                continue
            self._last[url] = {
                parts._replace(netloc=f"[{h}]:{port}" if ":" in h else f"{h}:{port}").geturl()
                for h in hosts
            }
        return set().union(*(self._last.get(url, set()) for url in urls))


async def _lookup(host: str, port: int) -> set[str]:
    """Every address of a host name, by the system's resolver."""
    loop = asyncio.get_running_loop()
    answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return {str(answer[4][0]) for answer in answers}
