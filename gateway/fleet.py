"""The pools of all configured engines; they follow the configuration while the gateway runs."""

import logging
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from adapters.engines.client import EngineClient
from adapters.engines.members import Addresses, assume_up, follow
from adapters.engines.pool import Pool
from adapters.manifest import Manifest
from adapters.reconcile import Limits, Reconciler
from adapters.registry import Version
from gateway.catalog import LiveCatalog
from gateway.inquiry import ask
from gateway.settings import Engine

logger = logging.getLogger(__name__)


class Fleet:
    """One pool per engine name, and the tasks that keep it.

    Args:
        obtain: brings a version's files to this host and checks them.
        tasks: where the pools' endless work runs.
    """

    def __init__(
        self,
        catalog: LiveCatalog,
        obtain: Callable[[Version], Manifest],
        tasks: TaskGroup,
    ) -> None:
        self._catalog = catalog
        self._obtain = obtain
        self._tasks = tasks
        self.pools: dict[str, Pool] = {}
        self._engines: dict[str, Engine] = {}
        self._scopes: dict[str, anyio.CancelScope] = {}

    def pool(self, engine: Engine) -> Pool:
        """An engine's pool; one without replicas for an engine that was just removed."""
        if engine.name not in self.pools:
            self.follow()
        return self.pools.get(engine.name) or Pool()

    def pace(self, engine: str) -> float:
        """Seconds per token of an engine, the mean of its replicas that answer; 0 while nothing was
        measured."""
        pool = self.pools.get(engine) or Pool()
        measured = [r.seconds_per_token for r in pool.replicas.values() if r.up]
        known = [seconds for seconds in measured if seconds]
        return sum(known) / len(known) if known else 0.0

    def follow(self) -> None:
        """Take up a changed configuration: open pools of new engines, close those without an
        engine, and look at every replica now."""
        self._engines |= {engine.name: engine for engine in self._catalog.now.settings.engines}
        configured = {engine.name for engine in self._catalog.now.settings.engines}
        for name in configured - self.pools.keys():
            self.pools[name], self._scopes[name] = Pool(), anyio.CancelScope()
            self._tasks.start_soon(self._keep, name)
        for name in self.pools.keys() - configured:
            logger.info("engine %s is no longer configured", name)
            self._scopes.pop(name).cancel()
            del self.pools[name]
        for pool in self.pools.values():
            pool.wake()

    async def _keep(self, name: str) -> None:
        """Follow an engine's replicas and, where it holds adapters, reconcile them."""
        pool, addresses = self.pools[name], Addresses()

        def engine() -> Engine:
            return self._engines[name]

        async def now() -> set[str]:
            urls = engine().urls
            return await addresses.behind(urls) if engine().dns else set(urls)

        remote = engine().kind == "openai"
        reconciler = Reconciler(
            pool,
            connect=lambda url: EngineClient(ask, url, engine().bearer),
            desired=lambda: self._catalog.now.desired(name),
            limits=lambda: _limits(engine()),
            obtain=self._obtain,
        )
        with self._scopes[name]:
            await follow(pool, now, assume_up if remote else reconciler.watch)


def _limits(engine: Engine) -> Limits:
    return Limits(
        model=engine.model,
        max_cpu_loras=engine.max_cpu_loras,
        max_lora_rank=engine.max_lora_rank,
        path=engine.path,
    )
