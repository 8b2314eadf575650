"""A gateway with vLLM replicas behind it, and its admin API: what the phases move and look at."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.swap.prepare import DOMAIN, write_config
from benchmarks.swap.report import Move
from benchmarks.swap.servers import VLLM_PYTHON, Server, free_port, gateway_process, vllm_replica

KEY = "sk-turnout-bench"
HEADERS = {"Authorization": f"Bearer {KEY}", "x-turnout-debug": "1"}


class NotSeen(Exception):
    """Something that should have happened by itself did not, in the time it has."""


@dataclass
class System:
    """Running servers, and every move made through the admin API so far."""

    gateway: Server
    admin_url: str
    replicas: list[Server]
    config: Path
    limits: Mapping[str, int]
    moves: list[Move] = field(default_factory=list)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A client of the gateway with its admin key, which also asks for `x-turnout-debug`."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            self.gateway.url, connector=connector, headers=HEADERS
        ) as session:
            yield session

    async def promote(self, session: aiohttp.ClientSession, version: str) -> Move:
        """With force: what was trained for minutes need not have passed the gate."""
        return await self._move(session, f"{version}/promote", {"force": True}, takes_in=version)

    async def rollback(self, session: aiohttp.ClientSession, gone: str, to: str) -> Move:
        """Return from `gone`, the champion, to the one before it."""
        return await self._move(session, f"{DOMAIN}/rollback", {}, takes_in=to, takes_out=gone)

    async def retire(self, session: aiohttp.ClientSession, version: str) -> Move:
        return await self._move(session, f"{version}/retire", {}, takes_out=version)

    async def _move(
        self, session: aiohttp.ClientSession, path: str, body: dict[str, Any], **change: str
    ) -> Move:
        url = f"{self.admin_url}/admin/v1/adapters/{path}"
        sent = time.monotonic()
        async with session.post(url, json={"reason": "benchmark", **body}) as answer:
            if answer.status != 200:
                raise NotSeen(f"{path}: {answer.status} {await answer.text()}")
        move = Move(sent, time.monotonic(), **change)
        self.moves.append(move)
        return move

    async def states(self, session: aiohttp.ClientSession) -> dict[str, dict[str, str]]:
        """By version, its state on each replica's URL."""
        async with session.get(f"{self.admin_url}/admin/v1/adapters") as answer:
            answer.raise_for_status()
            return {
                row["version"]: {place["replica"]: place["state"] for place in row["replicas"]}
                for row in await answer.json()
            }

    async def wait_ready(
        self,
        session: aiohttp.ClientSession,
        version: str,
        urls: Sequence[str] = (),
        seconds: float = 60,
    ) -> float:
        """Wait until these replicas (or all) serve the version; returns that moment."""
        wanted = set(urls or [replica.url for replica in self.replicas])
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            states = (await self.states(session)).get(version, {})
            if wanted <= {url for url, state in states.items() if state == "ready"}:
                return time.monotonic()
            await asyncio.sleep(0.05)
        raise NotSeen(f"after {seconds:g} s {version} is {states}, expected ready on {wanted}")

    def reconfigure(self, replicas: Sequence[Server]) -> None:
        """Rewrite the configuration file; the gateway re-reads it by itself."""
        urls = [replica.url for replica in replicas]
        write_config(self.config, urls, limits=self.limits)


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 90) -> None:
    """Wait until it holds; raises NotSeen when the time is over."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise NotSeen(f"waited {seconds:g} s for {what}")
        await asyncio.sleep(0.05)


@contextmanager
def running(
    folder: Path,
    *,
    model: Path,
    replicas: int,
    python: Path = VLLM_PYTHON,
    max_loras: int = 4,
    max_cpu_loras: int = 16,
) -> Iterator[System]:
    """Replicas, started together, then a gateway on `folder/state`; all end with the block."""
    limits = {"max_loras": max_loras, "max_cpu_loras": max_cpu_loras}
    config = folder / "turnout.toml"
    engines = [replica(folder, model, number, python, limits) for number in range(replicas)]
    admin_port = free_port()
    write_config(config, [engine.url for engine in engines], limits=limits)
    gateway = gateway_process(
        config, folder / "state", folder / "gateway.log", key=KEY, admin_port=admin_port
    )
    system = System(gateway, f"http://127.0.0.1:{admin_port}", engines, config, limits)
    with started(system):
        yield system


@contextmanager
def started(system: System) -> Iterator[None]:
    """Have the servers run for the time of the block: replicas, all at once, then the gateway."""
    try:
        for engine in system.replicas:
            engine.start()
        for engine in system.replicas:
            engine.wait_healthy()
        system.gateway.start()
        system.gateway.wait_healthy(60)
        yield
    finally:
        system.gateway.stop()
        for engine in system.replicas:
            engine.stop()


def replica(
    folder: Path, model: Path, number: int, python: Path, limits: Mapping[str, int]
) -> Server:
    """A vLLM replica that is not started yet; its log goes into `folder`."""
    variables = {name.upper(): str(value) for name, value in limits.items()}
    return vllm_replica(model, folder / f"vllm-{number}.log", python=python, **variables)
