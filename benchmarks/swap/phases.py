"""What is done to the system, phase by phase, and what each phase found, as JSON-ready values."""

import asyncio
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import aiohttp

from benchmarks.swap import report
from benchmarks.swap.load import PLAIN, Load, Questions, Record, ask
from benchmarks.swap.prepare import DOMAIN
from benchmarks.swap.report import Latency, Move
from benchmarks.swap.servers import SERVED_NAME, Server
from benchmarks.swap.system import NotSeen, System, until

_PAUSE_SECONDS = 10.0  # between moves: longer than what counts as around a swap


@dataclass
class Findings:
    """What the phases found, and which requests went wrong."""

    requests: int = 0
    failed: list[Record] = field(default_factory=list)
    ineligible: list[Record] = field(default_factory=list)
    ttft_ratios: dict[str, float] = field(default_factory=dict)
    recovery_s: float | None = None
    phases: dict[str, dict[str, Any]] = field(default_factory=dict)

    def judge(self, name: str, records: list[Record], moves: list[Move], /, **found: Any) -> None:
        """Keep a phase's judgement. While a replica is killed, streams may break cleanly."""
        failed = report.failures(records, broken_streams_allowed=name == "kill")
        wrong = report.ineligible(records, moves, domain=DOMAIN, base=SERVED_NAME)
        silent = report.silent_fallbacks(records, moves, domain=DOMAIN)
        self.requests += len(records)
        self.failed += failed
        self.ineligible += wrong
        self.phases[name] = {
            "requests": len(records),
            "failed": len(failed),
            "ineligible_answers": len(wrong),
            "silent_fallbacks": len(silent),
            **found,
        }

    @property
    def ok(self) -> bool:
        """Nothing failed, nothing was answered by a version that was out of service."""
        return not (self.failed or self.ineligible or self.phases.get("cold", {}).get("failed"))

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "failed": len(self.failed),
            "ineligible_answers": len(self.ineligible),
            "ttft_ratio": self.ttft_ratios.get("median"),
            "ttft_ratio_p95": self.ttft_ratios.get("p95"),
            "recovery_s": self.recovery_s,
            "phases": self.phases,
            "problems": [record.told() for record in (*self.failed, *self.ineligible)][:10],
        }


async def steady(load: Load, seconds: float) -> list[float]:
    """Nothing happens; returns the domain's seconds to the first token."""
    start = time.monotonic()
    await asyncio.sleep(seconds)
    return report.domain_ttft(report.between(load.records, start, time.monotonic()), DOMAIN)


async def swap(
    system: System, session: aiohttp.ClientSession, old: str, new: str, seconds: float
) -> list[Move]:
    """Promote and roll back until time is nearly over, promote for good, retire the old one."""
    deadline = time.monotonic() + seconds
    pause = min(_PAUSE_SECONDS, seconds / 4)
    before = len(system.moves)
    while True:
        await system.promote(session, new)
        await asyncio.sleep(pause)
        if len(system.moves) > before + 1 and time.monotonic() + 2 * pause > deadline:
            break
        await system.rollback(session, gone=new, to=old)
        await asyncio.sleep(pause)
    await system.retire(session, old)
    await asyncio.sleep(pause)
    return system.moves[before:]


async def kill(
    system: System, session: aiohttp.ClientSession, load: Load, version: str
) -> dict[str, Any]:
    """`kill -9` one replica, start it again, and see when a domain request is answered by it."""
    victim = system.replicas[-1]
    await until(lambda: _streams_on(victim, load), f"a stream from {victim.url}")
    killed = time.monotonic()
    victim.kill()
    await asyncio.sleep(_PAUSE_SECONDS)
    restarted = time.monotonic()
    victim.start()
    healthy = await asyncio.to_thread(victim.wait_healthy)
    ready = asyncio.create_task(system.wait_ready(session, version, [victim.url]))
    first = await _first_answer(load, victim, version, restarted)
    ready_at = await ready
    await asyncio.sleep(_PAUSE_SECONDS)
    after = [record for record in load.records if record.ended >= killed]
    broken = [r for r in after if r.stream and r.status == 200 and not r.complete]
    return {
        "recovery_s": round(max(0.0, first - healthy), 2),
        "listed_ready_s": round(max(0.0, ready_at - healthy), 2),
        "engine_start_s": round(healthy - restarted, 1),
        "streams_broken": len(broken),
        "streams_broken_uncleanly": len(report.failures(broken, broken_streams_allowed=True)),
    }


async def third(
    system: System, session: aiohttp.ClientSession, load: Load, added: Server, version: str
) -> dict[str, Any]:
    """One more replica appears in the configuration, is used, and is taken out again."""
    await asyncio.to_thread(added.wait_healthy)
    listed = time.monotonic()
    system.reconfigure([*system.replicas, added])
    ready = await system.wait_ready(session, version, [added.url])
    first = await _first_answer(load, added, version, listed)
    await asyncio.sleep(_PAUSE_SECONDS)
    removed = time.monotonic()
    system.reconfigure(system.replicas)
    await until(lambda: _is_gone(system, session, added.url), "the replica to be let go")
    gone = time.monotonic()
    await asyncio.sleep(_PAUSE_SECONDS)
    answered = [r for r in load.records if r.replica == added.url]
    return {
        "listed_to_ready_s": round(ready - listed, 2),
        "listed_to_first_answer_s": round(first - listed, 2),
        "answers": len(answered),
        "drained_s": round(gone - removed, 2),
        "failed_on_it": len(report.failures(answered)),
        "sent_after_it_was_gone": len([r for r in answered if r.begun > gone]),
    }


async def cache(
    system: System,
    session: aiohttp.ClientSession,
    questions: Questions,
    old: str,
    new: str,
    count: int = 10,
) -> dict[str, Any]:
    """The same prompts before and after a promotion, against each version's own answers.

    Its own answers are asked for with a salt, which keeps them apart in the prefix cache.
    """
    prompts = questions.domain[:count]
    before = [await _exact(session, DOMAIN, prompt) for prompt in prompts]
    await system.promote(session, new)
    await system.wait_ready(session, new)
    after = [await _exact(session, DOMAIN, prompt) for prompt in prompts]
    fresh = [await _exact(session, new, prompt, salt=f"new {prompt}") for prompt in prompts]
    stale = [await _exact(session, old, prompt, salt=f"old {prompt}") for prompt in prompts]
    found = list(zip(before, after, fresh, stale, strict=True))
    return {
        "n": len(found),
        "before_equal_to_old": sum(b.text == s.text for b, _, _, s in found),
        "answered_by_new": sum(a.model == new for _, a, _, _ in found),
        "equal_to_new": sum(a.text == f.text for _, a, f, _ in found),
        "versions_differ": sum(f.text != s.text for _, _, f, s in found),
        "equal_to_old": sum(a.text == s.text != f.text for _, a, f, s in found),
    }


async def cold(
    session: aiohttp.ClientSession, questions: Questions, versions: list[str], count: int = 30
) -> dict[str, Any]:
    """Versions asked for by name for the first time, and again at once; no prefix cache helps."""
    pairs: list[tuple[float, float]] = []
    failed: list[Record] = []
    for version, prompt in zip(versions[:count], questions.domain, strict=False):
        both = [await _pinned(session, version, prompt, salt) for salt in ("first", "again")]
        failed += [r for r in both if not r.complete or r.model != version or r.ttft is None]
        first, again = (record.ttft for record in both)
        if first is not None and again is not None:
            pairs.append((first, again))
    found = {
        "registered": len(versions),
        "n": len(pairs),
        "failed": len(failed),
        "problems": [record.told() for record in failed[:3]],
    }
    if len(pairs) < 2:
        return found
    fresh, resident = (Latency.of(seconds) for seconds in zip(*pairs, strict=True))
    return found | {
        "cold_ttft_s": fresh.as_json(),
        "resident_ttft_s": resident.as_json(),
        "ratio": fresh.over(resident),
        "added_median_s": round(median(first - again for first, again in pairs), 3),
    }


async def _pinned(session: aiohttp.ClientSession, version: str, prompt: str, salt: str) -> Record:
    """A short streamed answer of exactly this version."""
    return await ask(
        session,
        version,
        prompt,
        stream=True,
        max_tokens=8,
        min_tokens=2,
        cache_salt=f"{salt} {version}",
        **PLAIN,
    )


async def _exact(
    session: aiohttp.ClientSession, model: str, prompt: str, salt: str | None = None
) -> Record:
    extra = PLAIN if salt is None else {**PLAIN, "cache_salt": salt}
    record = await ask(
        session, model, prompt, stream=False, temperature=0, max_tokens=24, min_tokens=4, **extra
    )
    if not record.complete:
        raise NotSeen(record.told())
    return record


async def _first_answer(load: Load, replica: Server, version: str, since: float) -> float:
    """Wait for a real request, sent after `since`, that this replica answered with this version."""
    found: list[float] = []

    async def seen() -> bool:
        found[:] = [
            record.answered
            for record in load.records
            if record.begun >= since
            and record.replica == replica.url
            and record.model == version
            and record.answered is not None
        ]
        return bool(found)

    await until(seen, f"an answer of {version} from {replica.url}")
    return min(found)


async def _streams_on(replica: Server, load: Load) -> bool:
    """Whether a stream from this replica has begun and goes on."""
    return any(r.first is not None and r.replica == replica.url for r in load.under_way)


async def _is_gone(system: System, session: aiohttp.ClientSession, url: str) -> bool:
    return all(url not in places for places in (await system.states(session)).values())
