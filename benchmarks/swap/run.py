"""One run of the benchmark: which phases, in the one order that works, on which servers."""

import asyncio
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.swap import phases, prepare, system
from benchmarks.swap.load import Load, Questions
from benchmarks.swap.phases import Findings
from benchmarks.swap.prepare import DOMAIN
from benchmarks.swap.report import Latency, around, domain_ttft
from benchmarks.swap.servers import ROOT
from benchmarks.swap.system import System

# In their order: `cache` needs both versions, `swap` retires one, `cold` has its own servers.
PHASES = ("cache", "swap", "kill", "third", "cold")
# Versions beyond the slots are cold starts.
COLD_SLOTS, COLD_VERSIONS = 4, 100


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, and where. `folder` holds prepared adapters, logs and the run's own state."""

    folder: Path
    model: Path
    python: Path
    seconds: float
    workers: int
    replicas: int
    minutes: float
    phases: Collection[str]


def run(plan: Plan, say: Callable[[str], None]) -> Findings:
    """Run the phases; raises NotPrepared, NotStarted or NotSeen when that is not possible."""
    old, new = prepare.prepare(plan.folder / "prepared", minutes=plan.minutes, say=say)
    findings = Findings()
    if set(plan.phases) - {"cold"}:
        asyncio.run(_Run(plan, findings, old, new, say).phases())
    if "cold" in plan.phases:
        findings.phases["cold"] = asyncio.run(_cold(plan, old, say))
    return findings


class _Run:
    """The phases that share servers and load."""

    def __init__(
        self, plan: Plan, findings: Findings, old: str, new: str, say: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._findings = findings
        self._old, self._new = old, new
        self._champion = old
        self._say = say
        self._questions = Questions.read(ROOT / "examples", DOMAIN)

    async def phases(self) -> None:
        plan = self._plan
        prepare.fresh_copy(plan.folder / "prepared", plan.folder / "state")
        self._say(f"starting {plan.replicas} vLLM replicas and a gateway; logs: {plan.folder}")
        servers = system.running(
            plan.folder, model=plan.model, replicas=plan.replicas, python=plan.python
        )
        with servers as running:
            async with running.session() as session:
                await running.promote(session, self._old)
                await running.wait_ready(session, self._old)
                if "cache" in plan.phases:
                    await self._cache(running, session)
                await self._under_load(running, session)

    async def _cache(self, running: System, session: aiohttp.ClientSession) -> None:
        found = await phases.cache(running, session, self._questions, self._old, self._new)
        self._findings.phases["cache"] = found
        self._say(f"cache: {found}")
        await running.rollback(session, gone=self._new, to=self._old)

    async def _under_load(self, running: System, session: aiohttp.ClientSession) -> None:
        load = Load(session, self._questions, domain=DOMAIN, workers=self._plan.workers)
        steps = {"swap": self._swap, "kill": self._kill, "third": self._third}
        chosen = [step for name, step in steps.items() if name in self._plan.phases]
        if not chosen:
            return
        async with load.running():
            self._say(f"load of {self._plan.workers} workers")
            await phases.steady(load, 5)  # the first requests pay for what later ones find ready
            for step in chosen:
                await step(running, session, load)
        self._judge("end", running, load)

    async def _swap(self, running: System, session: aiohttp.ClientSession, load: Load) -> None:
        seconds = self._plan.seconds
        self._say(
            f"steady for {seconds / 2:g} s, then promote, roll back, retire for {seconds:g} s"
        )
        calm = Latency.of(await phases.steady(load, seconds / 2))
        moves = await phases.swap(running, session, self._old, self._new, seconds)
        self._champion = self._new
        swapped = Latency.of(domain_ttft(around(load.records, moves), DOMAIN))
        self._findings.ttft_ratios = swapped.over(calm)
        told = {"steady_ttft_s": calm.as_json(), "swap_ttft_s": swapped.as_json()}
        self._judge("swap", running, load, moves=len(moves), **told)

    async def _kill(self, running: System, session: aiohttp.ClientSession, load: Load) -> None:
        self._say("kill -9 of one replica, then a new start")
        found = await phases.kill(running, session, load, self._champion)
        self._findings.recovery_s = found["recovery_s"]
        self._judge("kill", running, load, **found)

    async def _third(self, running: System, session: aiohttp.ClientSession, load: Load) -> None:
        self._say("one more replica in the configuration")
        number = len(running.replicas)
        added = system.replica(
            self._plan.folder, self._plan.model, number, self._plan.python, running.limits
        )
        added.start()
        try:
            found = await phases.third(running, session, load, added, self._champion)
        finally:
            added.stop()
        self._judge("third", running, load, **found)

    def _judge(self, name: str, running: System, load: Load, /, **found: Any) -> None:
        """Judge what was answered since the last time."""
        done, load.records = load.records, []
        self._findings.judge(name, done, running.moves, **found)
        self._say(f"{name}: {self._findings.phases[name]}")


async def _cold(plan: Plan, trained: str, say: Callable[[str], None]) -> dict[str, Any]:
    """One replica with few slots and many registered versions."""
    prepare.fresh_copy(plan.folder / "prepared", plan.folder / "state")
    say(f"registering {COLD_VERSIONS} versions")
    versions = prepare.publish_variants(plan.folder / "state", trained, COLD_VERSIONS)
    say(f"starting a replica with {COLD_SLOTS} slots")
    servers = system.running(
        plan.folder,
        model=plan.model,
        replicas=1,
        python=plan.python,
        max_loras=COLD_SLOTS,
        max_cpu_loras=COLD_SLOTS,
    )
    with servers as running:
        async with running.session() as session:
            questions = Questions.read(ROOT / "examples", DOMAIN)
            found = await phases.cold(session, questions, versions)
    shutil.rmtree(plan.folder / "state")  # a hundred versions are 2 GB
    say(f"cold: {found}")
    return found
