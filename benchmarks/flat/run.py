"""One run: for each dimension two gateways side by side, one under load at a time, in turn."""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters import tables
from benchmarks.flat.disconnect import measure_disconnect
from benchmarks.flat.interactions import NoRoom
from benchmarks.flat.report import Growth, Report, Slice
from benchmarks.flat.sides import Dimension, Side, Workshop, dimensions
from benchmarks.gateway.contender import Surroundings, WrongRun
from benchmarks.gateway.prepared import opened
from benchmarks.gateway.processes import GatewayProcess, Started
from benchmarks.gateway.questions import questions, write_bodies
from benchmarks.gateway.tools import LoadFailed, Tools
from benchmarks.swap.servers import NotStarted

DISCONNECT = "disconnect"
CONNECTIONS = 32
# The first load of all meets every key and every domain once; its figures are not kept.
_FIRST_SECONDS, WARM_UP_SECONDS, _IDLE_SECONDS = 5, 0.5, 5
_MOST_PORTS = 64  # of one mock
_LOOKED_AT = 6  # questions asked before the load, with their answers looked at


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, how often and how long; `home` keeps what takes long to make."""

    only: Sequence[str]
    rounds: int
    seconds: float
    interactions: int
    home: Path

    @property
    def steps(self) -> int:
        grown = [name for name in self.only if name != DISCONNECT]
        return len(grown) * (1 + self.rounds) + (DISCONNECT in self.only)


def run(plan: Plan, say: Callable[[str, int], None]) -> Report:
    """Measure; `say` gets what goes on, and 1 where that is a step. A dimension that fails is
    reported and left out.

    Raises NotBuilt where mock and load cannot be compiled, NotPrepared where no router can be
    fitted.
    """
    report = Report(about=_about(plan))
    tools = Tools.build(plan.home / "tools")
    plan.home.mkdir(parents=True, exist_ok=True)
    # Beside what is kept, which may be gigabytes to copy.
    with tempfile.TemporaryDirectory(prefix="flat-", dir=plan.home) as folder:
        workshop = Workshop(Path(folder), plan.home, lambda what: say(what, 0))
        for name, dimension in dimensions(plan.interactions).items():
            if name in plan.only:
                pair = _Pair(name, dimension, plan, tools, workshop, say)
                try:
                    report.growth[name] = pair.measured()
                except (NotStarted, WrongRun, LoadFailed, NoRoom) as exc:
                    report.errors[name] = str(exc)
        if DISCONNECT in plan.only:
            say("callers who leave", 1)
            try:
                report.disconnect = measure_disconnect(Path(folder) / DISCONNECT)
            except (NotStarted, WrongRun) as exc:
                report.errors[DISCONNECT] = str(exc)
    return report


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two gateways of a dimension."""

    name: str
    dimension: Dimension
    plan: Plan
    tools: Tools
    workshop: Workshop
    say: Callable[[str, int], None]

    def measured(self) -> Growth:
        """Start both, and load one after the other, `rounds` times; meanwhile the other is stopped,
        for polling 64 replicas is a load of its own.

        Raises NotStarted, LoadFailed, NoRoom, or WrongRun when an answer or the record is wrong.
        """
        sizes = (self.dimension.little, self.dimension.much)
        self.say(f"{self.name}: preparing {sizes[0]:,} and {sizes[1]:,}", 1)
        make = self.dimension.make
        little = make(self.workshop, f"{self.name}-little", sizes[0])
        much = make(self.workshop, f"{self.name}-much", sizes[1])
        growth = Growth(sizes)
        with ExitStack() as stack:
            a, b = [
                stack.enter_context(running(side, self.tools, self.workshop.base))
                for side in (little, much)
            ]
            for side in (a, b):
                side.load(_FIRST_SECONDS)
            for number in range(self.plan.rounds):
                self.say(f"{self.name}: round {number + 1} of {self.plan.rounds}", 1)
                # Whoever comes second in one round comes first in the next.
                for side, other in ((a, b), (b, a))[:: -1 if number % 2 else 1]:
                    with other.process.suspended():
                        found = side.load(self.plan.seconds)
                    (growth.little if side is a else growth.much).append(found)
            growth.idle_busy = _idle_busy(a.process, b.process)
            growth.memory_mb = tuple(side.process.memory_mb() for side in (a, b))
            growth.start_s = tuple(side.started.seconds for side in (a, b))
            for side in (a, b):
                side.check()
        return growth


@contextmanager
def running(side: Side, tools: Tools, base: Path) -> Iterator["Gateway"]:
    """A side with as many replicas of the mock as it has, until the block ends.

    Raises NotStarted, or WrongRun when it answers in another way than it should.
    """
    with ExitStack() as stack:
        ports: list[int] = []
        while missing := side.replicas - len(ports):
            replicas = ["0"] * min(missing, _MOST_PORTS)
            ports += stack.enter_context(tools.upstream(*replicas, root=base))
        with opened(side.state) as (store, _):
            before = store.count(tables.interactions)
        started = stack.enter_context(side.running(Surroundings(ports, side.folder)))
        asked = questions()[:_LOOKED_AT] if side.callers is None else []
        for question in asked:
            side.ask(started, question)
        bodies = write_bodies(side.folder / "bodies.jsonl", side.body, stream=False)
        yield Gateway(side, started, tools, bodies, before, len(asked))


@dataclass(slots=True)
class Gateway:
    """A side that runs. `before` it did there were so many interactions in its store."""

    side: Side
    started: Started
    tools: Tools
    bodies: Path
    before: int
    answered: int

    @property
    def process(self) -> GatewayProcess:
        return self.started.process

    def load(self, seconds: float) -> Slice:
        """One turn; over when the store has what was answered. Raises WrongRun, LoadFailed."""
        cpu = self.process.cpu_seconds()
        result = self.tools.run_load(
            self.started.port,
            self.side.path,
            self.bodies,
            headers=self.side.headers,
            callers=self.side.callers,
            connections=CONNECTIONS,
            seconds=seconds,
            warm_up=WARM_UP_SECONDS,
        )
        self.side.settle(self.started)
        if result.wrong or not result.answered:
            raise WrongRun(f"{self.side.label}: {dict(result.wrong)} {result.first_wrong}")
        self.answered += result.answered
        cost = (self.process.cpu_seconds() - cpu) * 1e6 / result.answered
        return Slice(result.rps, cost)

    def check(self) -> None:
        """Raise WrongRun unless every answer is in the store."""
        with opened(self.side.state) as (store, _):
            found = store.count(tables.interactions)
        if found != self.before + self.answered:
            expected = f"{self.before:,} and {self.answered:,}"
            raise WrongRun(f"{self.side.label}: {found:,} interactions, not {expected}")


def _idle_busy(*processes: GatewayProcess) -> tuple[float, ...]:
    """Shares of the core that they take while nobody asks them."""
    before = [process.cpu_seconds() for process in processes]
    time.sleep(_IDLE_SECONDS)
    pairs = zip(processes, before, strict=True)
    return tuple((process.cpu_seconds() - was) / _IDLE_SECONDS for process, was in pairs)


def _about(plan: Plan) -> dict[str, object]:
    """What a reader needs to judge the figures."""
    return {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "load_average_at_start": os.getloadavg()[0],
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "connections": CONNECTIONS,
    }
