"""Keeps every engine replica at the desired set of adapter versions.

Desired versions come from the registry; what a replica really holds comes from asking it, each
round: a restarted engine has forgotten its adapters, and there is no watch to be told by. A version
takes traffic on a replica only after its files were checked, its base is the one that is served,
the replica lists it, and it generated one token there. A version is drained before it is unloaded.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adapters.engines.client import EngineClient, Holdings
from adapters.engines.pool import Pool
from adapters.engines.replica import Replica, VersionState
from adapters.engines.residency import Desired, residents
from adapters.errors import AdapterError, CorruptAdapter, EngineError, EngineTimeout
from adapters.manifest import Manifest, config_hash
from adapters.registry import Version

logger = logging.getLogger(__name__)

# A busy engine may be slow to say that it is well; one that stays silent this often is not.
_SILENCES = 3
# Replicas looked at per interval, so that many cost no more than some; requests find out sooner.
_LOOKS = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine was started with, and where its base model lies on this host.

    Args:
        model: served name of the base model.
        max_cpu_loras: versions a replica may hold.
        max_lora_rank: largest rank it loads.
        path: folder of the base model here; None when the path that the engine names is readable.
    """

    model: str
    max_cpu_loras: int
    max_lora_rank: int
    path: Path | None = None


class Reconciler:
    """Brings the replicas of one pool to what is desired. `watch` runs once per replica, forever.

    Args:
        connect: a client for a replica's URL.
        desired: what the pool should serve, as of now.
        limits: what the engine allows, as of now.
        obtain: brings a version's files to this host and checks them; blocks, called in a thread.
        interval: seconds between rounds, more in a large pool; a lost version or a change of
            aliases starts one at once.
        loads: most loads at once in the whole pool.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        connect: Callable[[str], EngineClient],
        desired: Callable[[], Desired],
        limits: Callable[[], Limits],
        obtain: Callable[[Version], Manifest],
        interval: float = 1.0,
        loads: int = 2,
    ) -> None:
        self._pool = pool
        self._connect = connect
        self._desired = desired
        self._limits = limits
        self._obtain = obtain
        self._interval = interval
        self._loads = asyncio.Semaphore(loads)
        self._crowded = False

    async def watch(self, replica: Replica) -> None:
        """Reconcile one replica, forever; its trouble never holds up another."""
        client = self._connect(replica.url)
        silences = 0
        while True:
            replica.wake.clear()
            try:
                await self.reconcile(replica, client)
                silences = 0
            except EngineTimeout as exc:
                silences += 1
                if silences >= _SILENCES:
                    _down(replica, str(exc))
            except EngineError as exc:
                _down(replica, str(exc))
            except Exception:  # the loop must survive: without it this replica is lost for good
                logger.exception("reconciling %s failed", replica.url)
            try:
                rounds = max(1.0, len(self._pool.replicas) / _LOOKS)
                async with asyncio.timeout(self._interval * rounds):
                    await replica.wake.wait()
            except TimeoutError:
                pass  # nobody called: the next round is due

    async def reconcile(self, replica: Replica, client: EngineClient) -> None:
        """One round: see how the replica is and what it holds, drain and unload what should go,
        load what is missing.

        Raises:
            EngineError: it does not answer, or serves another model.
        """
        limits, desired = self._limits(), self._desired()
        await client.health()
        holdings = await client.holdings()
        if limits.model not in holdings.bases:
            served = ", ".join(holdings.bases)
            raise EngineError(f"serves {served}, not {limits.model}; fix the engine's `model`")
        await self._look(replica, client)
        held = self._compare(replica, holdings, desired)
        want = residents(
            desired,
            busy=[version for version in held if replica.busy_with(version)],
            demanded=self._pool.demanded(replica),
            held=held,
            used=self._pool.used,
            capacity=limits.max_cpu_loras,
        )
        self._tell_if_crowded(desired, limits)
        for version in held.keys() - set(want):
            held[version] = not await self._let_go(replica, client, version)
        for version in replica.states.keys() - held.keys() - set(want):
            if replica.may_load(version):  # a failure is remembered until it may be tried again
                replica.forget(version)
        room = limits.max_cpu_loras - sum(held.values())
        for version in want:
            if replica.states.get(version) is VersionState.READY:
                continue
            if version not in held and room <= 0:
                replica.note(version, VersionState.PENDING, "waits for a place")
            elif replica.may_load(version):
                room -= version not in held
                await self._bring_up(replica, client, desired.servable[version], holdings)

    async def _look(self, replica: Replica, client: EngineClient) -> None:
        """Take in how busy it is, and which versions are in use, ours or another gateway's."""
        replica.came_up()
        self._pool.weigh()
        try:
            business = await client.business()
        except EngineError as exc:
            # Metrics may be switched off; then only our own requests are counted.
            if exc.status == 0:
                raise
            return
        replica.reported(business.requests, business.adapters)
        self._pool.touch(business.adapters & replica.states.keys())

    def _compare(self, replica: Replica, holdings: Holdings, desired: Desired) -> dict[str, bool]:
        """Bring what we believe in line with what it lists; returns our versions that it holds.

        A listed name that is not registered belongs to somebody else and is left alone.
        """
        for version, state in list(replica.states.items()):
            known = desired.servable.get(version)
            listed = holdings.adapters.get(version)
            if known is None:
                if listed is None:
                    replica.forget(version)
            elif state is VersionState.READY and listed != str(known.folder):
                logger.warning("%s has lost %s", replica.url, version)
                replica.note(version, VersionState.PENDING)
        ours = desired.servable.keys() | desired.retired | replica.states.keys()
        return dict.fromkeys((v for v in holdings.adapters if v in ours), True)

    async def _let_go(self, replica: Replica, client: EngineClient, version: str) -> bool:
        """Stop using a version, and unload it once nothing is generated with it; returns whether it
        is gone."""
        replica.note(version, VersionState.DRAINING)
        if replica.busy_with(version):
            return False
        try:
            await client.unload(version)
        except EngineError as exc:
            if exc.status == 0:
                raise
            logger.error("%s keeps %s: %s", replica.url, version, exc)
            return False
        replica.forget(version)
        logger.info("%s let go of %s", replica.url, version)
        return True

    async def _bring_up(
        self, replica: Replica, client: EngineClient, version: Version, holdings: Holdings
    ) -> None:
        """Check, load, list, probe: only then is the version READY."""
        name = version.name
        replica.note(name, VersionState.LOADING)
        try:
            async with self._loads:
                manifest = await asyncio.to_thread(self._obtain, version)
                await asyncio.to_thread(_check_fits, manifest, holdings, self._limits())
                if holdings.adapters.get(name) not in (None, str(version.folder)):
                    await client.unload(name)  # the same name from elsewhere: not what we checked
                await client.load(name, version.folder)
                if (await client.holdings()).adapters.get(name) != str(version.folder):
                    raise EngineError(f"does not list {name} after loading it", 500)
                await client.probe(name)
        except AdapterError as exc:
            logger.error("%s cannot serve %s: %s", replica.url, name, exc)
            replica.failed(name, str(exc))
            if isinstance(exc, EngineError) and exc.status == 0:
                raise
        else:
            replica.note(name, VersionState.READY)
            logger.info("%s serves %s", replica.url, name)

    def _tell_if_crowded(self, desired: Desired, limits: Limits) -> None:
        live = len(desired.pinned) + len(desired.standby)
        crowded = live > limits.max_cpu_loras
        if crowded and not self._crowded:
            logger.warning(
                "%d adapter versions are live, a replica holds %d: the ones used least are loaded "
                "on demand; start the engine with a larger --max-cpu-loras and say so in its "
                "max_cpu_loras",
                live,
                limits.max_cpu_loras,
            )
        self._crowded = crowded


def _down(replica: Replica, problem: str) -> None:
    if replica.up:
        logger.warning("replica %s is down: %s", replica.url, problem)
    replica.went_down(problem)


def _check_fits(manifest: Manifest, holdings: Holdings, limits: Limits) -> None:
    """Refuse a version that was trained on another base than is served, or has too large a rank."""
    if manifest.rank > limits.max_lora_rank:
        raise CorruptAdapter(
            f"{manifest.version} has rank {manifest.rank}, the engine takes {limits.max_lora_rank}"
            " (max_lora_rank)"
        )
    folder = limits.path or Path(holdings.bases[limits.model])
    if not (folder / "config.json").is_file():
        raise CorruptAdapter(
            f"cannot tell which base the engine serves: no {folder}/config.json on this host; "
            "set the engine's `path` to a folder that holds it"
        )
    served = config_hash(folder)
    if served != manifest.base_config_hash:
        raise CorruptAdapter(
            f"{manifest.version} was trained on {manifest.base_model} "
            f"({manifest.base_config_hash[:8]}), the engine serves {folder} ({served[:8]})"
        )
