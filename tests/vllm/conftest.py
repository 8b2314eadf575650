"""Two real vLLM replicas and a gateway, with two adapters trained by our own pipeline."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiohttp
import httpx2
import pytest
from openai import OpenAI

from adapters.registry import Registry
from adapters.store import Store
from benchmarks.swap import prepare, system
from benchmarks.swap.load import Load, Questions
from benchmarks.swap.prepare import DOMAIN
from benchmarks.swap.servers import ROOT
from benchmarks.swap.system import HEADERS, KEY, System
from gateway.settings import Settings

MINUTES = 0.3
VARIANTS = 4
HERE = Path(__file__).parent

Found = TypeVar("Found")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is marked `vllm`, and has the time that starting replicas takes."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("vllm")
            item.add_marker(pytest.mark.timeout(600))


@dataclass(frozen=True)
class Real:
    """The running system: `versions` are trained, oldest first; `variants` only registered."""

    system: System
    versions: tuple[str, str]
    variants: tuple[str, ...]
    questions: Questions
    http: httpx2.Client
    openai: OpenAI

    def engine(self, number: int = 0) -> httpx2.Client:
        """A client of one replica itself, as the gateway is one."""
        return httpx2.Client(base_url=self.system.replicas[number].url, timeout=120)

    def during(self, work: Callable[[aiohttp.ClientSession], Awaitable[Found]]) -> Found:
        """Run asynchronous work with an admin's session at the gateway."""

        async def main() -> Found:
            async with self.system.session() as session:
                return await work(session)

        return asyncio.run(main())

    def load(self, session: aiohttp.ClientSession) -> Load:
        """A small load, that of the benchmark."""
        return Load(session, self.questions, domain=DOMAIN, workers=4)

    def serve(self, version: str) -> None:
        """Make a version the champion, unless it is, and wait until both replicas have it."""

        async def work(session: aiohttp.ClientSession) -> None:
            rows = self.http.get(f"{self.system.admin_url}/admin/v1/adapters").json()
            if not any(row["champion"] and row["version"] == version for row in rows):
                await self.system.promote(session, version)
            await self.system.wait_ready(session, version)

        self.during(work)


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory, base_model: Path) -> Iterator[Real]:
    """Train, start two replicas and a gateway, and put the first version into service."""
    folder = tmp_path_factory.mktemp("vllm")
    versions = prepare.prepare(folder / "state", minutes=MINUTES, say=lambda _: None)
    variants = prepare.publish_variants(folder / "state", versions[0], VARIANTS)
    questions = Questions.read(ROOT / "examples", DOMAIN)
    with (
        system.running(folder, model=base_model, replicas=2) as running,
        httpx2.Client(base_url=running.gateway.url, headers=HEADERS, timeout=120) as client,
        OpenAI(base_url=f"{running.gateway.url}/v1", api_key=KEY, max_retries=0) as openai,
    ):
        found = Real(running, versions, tuple(variants), questions, client, openai)
        found.serve(versions[0])
        yield found


@pytest.fixture
def folder(real: Real) -> Path:
    """The files of the first trained version."""
    settings = Settings(state=real.system.config.parent / "state")
    store = Store(settings.store_url)
    try:
        return Registry(store, settings.versions).version(real.versions[0]).folder
    finally:
        store.close()
