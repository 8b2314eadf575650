"""What runs beside the requests: the journal's drain, the catalog's refresh, what
workers tell each other. Each survives its own failures."""

import asyncio
import logging
from collections import Counter

from adapters.child import Child
from adapters.errors import AdapterError
from gateway.deps import Parts
from gateway.siblings import Siblings

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
SHARE_SECONDS = 1.0
_WATCHER_SECONDS = 10.0


async def drain_forever(parts: Parts, pause: float) -> None:
    """Carry the journal to the store; while the store is down, try again with growing pauses up to
    30 s."""
    failures = 0
    while True:
        await asyncio.sleep(min(pause * 2**failures, 30))
        try:
            await asyncio.to_thread(parts.journal.sync)
            await asyncio.to_thread(parts.journal.drain, parts.drainer.deliver)
            failures = 0
        except (AdapterError, OSError) as exc:
            failures = min(failures + 1, 6)
            logger.warning("the journal waits for the store: %s", exc)


async def refresh_forever(parts: Parts) -> None:
    """Take up changed versions, experiments, keys, packs, routers and indexes."""
    while True:
        try:
            if await parts.take_up():
                logger.info("the catalog was refreshed")
            await asyncio.to_thread(parts.retriever.refresh)
        except (AdapterError, OSError) as exc:
            logger.warning("the catalog stays as it is: %s", exc)
        await asyncio.sleep(REFRESH_SECONDS)


async def watch_forever(parts: Parts, watcher: Child) -> None:
    """Keep the process that moves experiments, while there are any."""
    settings = parts.catalog.now.settings.experiments
    while True:
        try:
            if not (settings.automatic and parts.catalog.now.experiments):
                await asyncio.to_thread(watcher.close)
            elif not watcher.is_running:
                await asyncio.to_thread(watcher.running)
                await asyncio.sleep(_WATCHER_SECONDS)  # one that breaks is not started in a loop
        except OSError as exc:
            logger.warning("experiments are not watched: %s", exc)
        await asyncio.sleep(REFRESH_SECONDS)


async def until_serving(parts: Parts) -> None:
    """Wait until every engine serves its model and the versions that are pinned there; not for
    long, an engine may be down."""
    for _ in range(100):  # five seconds
        if all(
            pool.serves(version)
            for name, pool in parts.fleet.pools.items()
            for version in (None, *parts.catalog.now.desired(name).pinned)
        ):
            return
        await asyncio.sleep(0.05)
    logger.warning("serving although an engine is not there, or lacks a version")


async def share_forever(parts: Parts, siblings: Siblings) -> None:
    """Have the other workers know what this one counted."""
    while True:
        set_gauges(parts)
        await siblings.share()
        await asyncio.sleep(SHARE_SECONDS)


def set_gauges(parts: Parts) -> None:
    """Engines, adapter replicas and the journal, as of now; called when somebody reads them."""
    telemetry = parts.telemetry
    telemetry.journal_pending.set(parts.journal.pending)
    telemetry.rollout_stage.values.clear()
    for splits in parts.catalog.now.experiments.values():
        for split in splits:
            if split.until is None:
                stage = split.experiment.percent_of(split.weights)
                telemetry.rollout_stage.set(stage, split.experiment.name)
    states: Counter[tuple[str, str]] = Counter()
    telemetry.engine_up.values.clear()
    for name, pool in parts.fleet.pools.items():
        replicas = pool.replicas.values()
        telemetry.engine_up.set(sum(replica.up for replica in replicas), name)
        states.update(item for replica in replicas for item in replica.states.items())
    telemetry.training_runs.values.clear()
    runs = Counter(
        (version.manifest.domain, version.manifest.verdict)
        for version in parts.catalog.now.versions.values()
        if version.manifest.verdict != "unjudged"  # it was brought in from elsewhere
    )
    for labels, count in runs.items():
        telemetry.training_runs.set(count, *labels)
    telemetry.adapter_replicas.values.clear()
    for (version, state), count in states.items():
        telemetry.adapter_replicas.set(count, version, state)
