"""One turn of one gateway: closed loop, open loop at fixed rates, streams, and what they cost."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gateway.tools import GATEWAY_CORE, LoadResult, Quantiles, Tools

# A rate nearer to a gateway's capacity than this measures its queue, not its work; and a rate of
# which less was answered in time was not kept up with.
_MOST_OF_CAPACITY, _KEPT_UP = 0.9, 0.95


@dataclass(frozen=True, slots=True)
class Workload:
    """How long and how hard. A stream's connection is nearly always waiting for its next event."""

    seconds: float = 3
    warm_up: float = 0.5
    rates: tuple[int, ...] = (100, 300, 1_000, 3_000)
    connections: int = 32
    open_connections: int = 128
    stream_connections: int = 16


@dataclass(frozen=True, slots=True)
class Target:
    """What a load is aimed at.

    Args:
        cpu: the gateway's processor time so far, in seconds; 0 where there is no gateway.
        settle: waits for the work that requests left behind.
    """

    port: int
    path: str
    headers: Mapping[str, str]
    whole: Path
    streams: Path
    cpu: Callable[[], float] = lambda: 0.0
    settle: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Figures:
    """What one turn found. Rates that the gateway did not keep up with are absent from `open`.

    `others_busy` is the share of the gateway's core that other processes took.
    """

    rps: float = 0
    us_per_request: float = 0
    open: dict[int, Quantiles] = field(default_factory=dict)
    first_event: Quantiles = Quantiles(0, 0)
    events_per_s: float = 0
    us_per_event: float = 0
    memory_mb: float = 0
    start_seconds: float = 0
    others_busy: float = 0
    answered: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    first_wrong: str = ""

    def count(self, result: LoadResult) -> None:
        self.answered += result.answered
        self.wrong.update(result.wrong)
        self.first_wrong = self.first_wrong or result.first_wrong


def measure(tools: Tools, target: Target, workload: Workload) -> Figures:
    """Run the whole workload against `target`; what was answered and what was wrong is counted."""
    found = Figures()
    begun, busy, own = time.monotonic(), _core_seconds(), target.cpu()
    closed, cost = _load(tools, target, workload, connections=workload.connections)
    found.count(closed)
    found.rps, found.us_per_request = closed.rps, _micro(cost, closed.answered)
    for rate in workload.rates:
        if rate > _MOST_OF_CAPACITY * closed.rps:
            continue
        result, _ = _load(tools, target, workload, rate=rate, connections=workload.open_connections)
        found.count(result)
        if not result.unsent and result.rps >= _KEPT_UP * rate:
            found.open[rate] = result.latency
    streamed, cost = _load(
        tools, target, workload, streams=True, connections=workload.stream_connections
    )
    found.count(streamed)
    found.first_event, found.events_per_s = streamed.first_event, streamed.events_per_s
    found.us_per_event = _micro(cost, streamed.events)
    elapsed, own = time.monotonic() - begun, target.cpu() - own
    found.others_busy = max(0.0, (_core_seconds() - busy - own) / elapsed)
    return found


def _load(
    tools: Tools,
    target: Target,
    workload: Workload,
    *,
    connections: int,
    rate: int = 0,
    streams: bool = False,
) -> tuple[LoadResult, float]:
    """One load, and the processor seconds that it and what it left behind took."""
    before = target.cpu()
    result = tools.run_load(
        target.port,
        target.path,
        target.streams if streams else target.whole,
        headers=target.headers,
        connections=connections,
        seconds=workload.seconds,
        warm_up=workload.warm_up,
        rate=rate,
        streams=streams,
    )
    target.settle()
    return result, target.cpu() - before


def _micro(seconds: float, count: int) -> float:
    return seconds * 1e6 / count if count else 0.0


def _core_seconds() -> float:
    """Seconds for which the gateway's core was busy so far, by whomever."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{GATEWAY_CORE}":
            user, nice, system, _idle, _iowait, irq, softirq = map(int, ticks[:7])
            return (user + nice + system + irq + softirq) / 100
    return 0.0
