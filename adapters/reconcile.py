"""Keeps every engine replica at the desired set of adapter versions.

Desired versions come from the registry; what a replica really holds comes from asking it, each
round. A version takes
traffic on a replica only after its files were checked, the replica listed it, and it generated one
token.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from adapters.engines.client import EngineClient, Holdings
from adapters.errors import AdapterError, CorruptAdapter, EngineError
from adapters.manifest import Manifest, config_hash, verify

logger = logging.getLogger(__name__)


class VersionState(StrEnum):
    """Where a version stands on a replica."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version that should be served, and the folder it is loaded from."""

    version: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Replica:
    """What is known of one replica. `versions` holds only what was asked of it by us."""

    url: str
    up: bool = False
    versions: Mapping[str, VersionState] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    def ready(self, version: str) -> bool:
        return self.up and self.versions.get(version) is VersionState.READY


class Reconciler:
    """One pool of replicas. `run` polls until cancelled; `replicas` is always the latest
    picture."""

    def __init__(
        self,
        clients: list[EngineClient],
        wanted: Callable[[], list[Wanted]],
        *,
        interval: float = 1.0,
        retry_after: float = 30.0,
    ) -> None:
        self._clients = clients
        self._wanted = wanted
        self._interval = interval
        self._retry_after = retry_after
        self._failed_at: dict[tuple[str, str], float] = {}
        self.replicas = {client.url: Replica(client.url) for client in clients}

    async def run(self) -> None:
        """Reconcile every replica, forever; one replica's trouble never holds up another."""
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(self._watch(client))

    async def _watch(self, client: EngineClient) -> None:
        while True:
            try:
                await self.reconcile(client)
            except EngineError as exc:
                if self.replicas[client.url].up:
                    logger.warning("engine %s is down: %s", client.url, exc)
                self.replicas[client.url] = Replica(client.url)
            await asyncio.sleep(self._interval)

    async def reconcile(self, client: EngineClient) -> None:
        """One round: see what the replica holds, load what is missing, unload what is ours and no
        longer wanted."""
        holdings = await client.holdings()
        replica = self.replicas[client.url]
        # A restarted engine has forgotten its adapters: what it does not list is not ready.
        kept = {v: s for v, s in replica.versions.items() if v in holdings.adapters}
        self.replicas[client.url] = replace(replica, up=True, versions=kept)
        wanted = {want.version: want for want in self._wanted()}
        for want in wanted.values():
            if not self.replicas[client.url].ready(want.version) and self._may_try(client, want):
                await self._bring_up(client, want, holdings)
        for version in kept.keys() - wanted.keys():
            self._note(client, version, None)
            await client.unload(version)

    def _may_try(self, client: EngineClient, want: Wanted) -> bool:
        failed = self._failed_at.get((client.url, want.version))
        return failed is None or time.monotonic() - failed >= self._retry_after

    async def _bring_up(self, client: EngineClient, want: Wanted, holdings: Holdings) -> None:
        self._note(client, want.version, VersionState.LOADING)
        try:
            manifest = await asyncio.to_thread(verify, want.folder)
            _check_base(manifest, holdings)
            await client.load(want.version, want.folder)
            if want.version not in (await client.holdings()).adapters:
                raise EngineError(f"{client.url} does not list {want.version} after loading it")
            await client.probe(want.version)
        except AdapterError as exc:
            if isinstance(exc, EngineError) and exc.status == 0:
                raise
            logger.error("%s cannot serve %s: %s", client.url, want.version, exc)
            self._failed_at[(client.url, want.version)] = time.monotonic()
            self._note(client, want.version, VersionState.FAILED, str(exc))
        else:
            self._failed_at.pop((client.url, want.version), None)
            self._note(client, want.version, VersionState.READY)
            logger.info("%s serves %s", client.url, want.version)

    def _note(
        self, client: EngineClient, version: str, state: VersionState | None, problem: str = ""
    ) -> None:
        replica = self.replicas[client.url]
        versions = {v: s for v, s in replica.versions.items() if v != version}
        problems = {v: p for v, p in replica.problems.items() if v != version}
        if state is not None:
            versions[version] = state
        if problem:
            problems[version] = problem
        self.replicas[client.url] = replace(replica, versions=versions, problems=problems)


def _check_base(manifest: Manifest, holdings: Holdings) -> None:
    """Refuse a version trained on another base than the replica serves, as far as its model folder
    is readable here."""
    for root in holdings.bases.values():
        folder = Path(root)
        served = config_hash(folder) if (folder / "config.json").is_file() else None
        if served not in (None, manifest.base_config_hash):
            raise CorruptAdapter(
                f"{manifest.version} was trained on {manifest.base_model} "
                f"({manifest.base_config_hash[:8]}), the engine serves {root} ({served})"
            )
