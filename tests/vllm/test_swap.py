"""Moves and a killed replica under a small load; `turnout bench swap` does the same for longer."""

import asyncio
import time
from typing import Any

import aiohttp

from benchmarks.swap import phases, report
from benchmarks.swap.load import Record
from benchmarks.swap.prepare import DOMAIN
from benchmarks.swap.servers import SERVED_NAME
from tests.vllm.conftest import Real

RECOVERY_SECONDS = 10


def told(records: list[Record]) -> list[str]:
    return [record.told() for record in records]


def wrong(real: Real, records: list[Record]) -> list[str]:
    found = report.ineligible(records, real.system.moves, domain=DOMAIN, base=SERVED_NAME)
    return [f"{record.route} was answered by {record.model}" for record in found]


def test_the_same_prompt_after_a_swap_is_answered_by_the_new_version(real: Real) -> None:
    old, new = real.versions
    real.serve(old)

    async def work(session: aiohttp.ClientSession) -> dict[str, Any]:
        found = await phases.cache(real.system, session, real.questions, old, new, count=4)
        await real.system.rollback(session, gone=new, to=old)
        return found

    found = real.during(work)
    assert found["answered_by_new"] == 4
    assert found["equal_to_old"] == 0
    assert found["versions_differ"] > 0, "the two versions answer alike: nothing was tested"


def test_a_killed_replica_costs_no_request_and_gets_its_adapters_back(real: Real) -> None:
    version = real.versions[0]
    real.serve(version)

    async def work(session: aiohttp.ClientSession) -> tuple[dict[str, Any], list[Record]]:
        load = real.load(session)
        async with load.running():
            await asyncio.sleep(5)
            found = await phases.kill(real.system, session, load, version)
        return found, load.records

    found, records = real.during(work)
    assert told(report.failures(records, broken_streams_allowed=True)) == []
    assert wrong(real, records) == []
    assert found["streams_broken_uncleanly"] == 0
    assert found["recovery_s"] <= RECOVERY_SECONDS


def test_promote_roll_back_and_retire_under_load(real: Real) -> None:
    """The one that is retired is a variant: the trained ones are still needed."""
    old, new = real.variants[1], real.versions[1]
    real.serve(old)

    async def work(session: aiohttp.ClientSession) -> list[Record]:
        load = real.load(session)
        async with load.running():
            await phases.swap(real.system, session, old, new, seconds=16)
        return load.records

    began = time.monotonic()
    records = real.during(work)
    kinds = [(move.takes_in, move.takes_out) for move in real.system.moves if move.sent > began]
    assert kinds[:2] == [(new, None), (old, new)] and kinds[-1] == (None, old)
    assert told(report.failures(records)) == []
    assert wrong(real, records) == []
    models = {record.model for record in records if record.route == DOMAIN}
    assert {old, new} <= models
