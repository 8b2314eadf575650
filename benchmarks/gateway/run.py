"""One run of the benchmark: prepare what is asked for, then every gateway once a round."""

import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.gateway.contender import Contender, Surroundings, WrongRun
from benchmarks.gateway.measure import Figures, Target, Workload, measure
from benchmarks.gateway.peers import PEERS
from benchmarks.gateway.prepared import prepare, write_base
from benchmarks.gateway.questions import questions, write_bodies
from benchmarks.gateway.report import Report
from benchmarks.gateway.tools import BASE_MODEL, LoadFailed, Tools
from benchmarks.gateway.turnout_gateway import EmptyAsgi, FullTurnout, Turnout
from benchmarks.installed import NotInstalled
from benchmarks.swap.prepare import NotPrepared
from benchmarks.swap.servers import NotStarted

MODES = ("pass", "full", "full+retrieval", "asgi")
# Questions asked one by one before each load, with their answers looked at.
_LOOKED_AT = 12

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compare, how often, and where peers are installed.

    `delay_ms` passes before the mock answers, `pause_ms` between the events of its streams.
    """

    peers: Sequence[str]
    modes: Sequence[str]
    rounds: int
    workload: Workload
    home: Path
    delay_ms: float = 0
    pause_ms: float = 5

    @property
    def turns(self) -> int:
        return self.rounds * (1 + len(self.peers) + len(self.modes))


def run(plan: Plan, say: Say) -> Report:
    """Measure; `say` is called before every turn. A gateway that fails is reported and left out.

    Raises NotBuilt where mock and load cannot be compiled.
    """
    report = Report(about=_about(plan))
    tools = Tools.build(plan.home / "tools")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="turnout-bench-")))
        base = write_base(folder / "base")
        contenders = _prepared(_contenders(plan, folder, base), report, say)
        replica = f"0:{plan.delay_ms}:{plan.pause_ms}"
        upstreams = stack.enter_context(tools.upstream(replica, replica, root=base))
        turns = _Turns(plan, tools, upstreams, report, folder, say)
        for number in range(plan.rounds):
            turns.direct(number)
            for contender in contenders:
                turns.take(contender, number)
    return report


def _contenders(plan: Plan, folder: Path, base: Path) -> list[Contender]:
    prepared = cache(lambda: prepare(folder / "prepared", base))
    own: dict[str, Callable[[], Contender]] = {
        "pass": Turnout,
        "full": lambda: FullTurnout(prepared, retrieval=False),
        "full+retrieval": lambda: FullTurnout(prepared, retrieval=True),
        "asgi": EmptyAsgi,
    }
    return [*(own[mode]() for mode in plan.modes), *(PEERS[peer](plan.home) for peer in plan.peers)]


def _prepared(contenders: Sequence[Contender], report: Report, say: Say) -> list[Contender]:
    ready = []
    for contender in contenders:
        say(f"preparing {contender.label}")
        try:
            contender.prepare()
        except (NotInstalled, NotPrepared) as exc:
            report.errors[contender.name, contender.mode] = str(exc)
        else:
            ready.append(contender)
    return ready


@dataclass(slots=True)
class _Turns:
    """Measures one gateway after another against the same mock."""

    plan: Plan
    tools: Tools
    upstreams: Sequence[int]
    report: Report
    folder: Path
    say: Say

    def direct(self, number: int) -> None:
        """The mock without a gateway: what `added` is counted from."""
        self.say(f"round {number + 1}: mock alone")
        bodies = {
            stream: write_bodies(
                self.folder / f"direct-{stream}.jsonl", lambda q: q.body(BASE_MODEL), stream=stream
            )
            for stream in (False, True)
        }
        target = Target(self.upstreams[0], "/v1/chat/completions", {}, bodies[False], bodies[True])
        self.report.direct.append(measure(self.tools, target, self.plan.workload))

    def take(self, contender: Contender, number: int) -> None:
        """One contender's turn, unless it has failed before."""
        name = (contender.name, contender.mode)
        if name in self.report.errors:
            return
        self.say(f"round {number + 1}: {contender.label}")
        around = Surroundings(self.upstreams, self.folder / f"{number}-{'-'.join(name)}")
        around.folder.mkdir()
        try:
            figures = self._measured(contender, around)
        except (NotStarted, WrongRun, LoadFailed) as exc:
            self.report.errors[name] = str(exc)
            self.report.turns.pop(name, None)
        else:
            self.report.turns.setdefault(name, []).append(figures)

    def _measured(self, contender: Contender, around: Surroundings) -> Figures:
        whole = write_bodies(around.folder / "whole.jsonl", contender.body, stream=False)
        streams = write_bodies(around.folder / "streams.jsonl", contender.body, stream=True)
        with contender.running(around) as running:
            asked = questions()[:_LOOKED_AT]
            for question in asked:
                contender.ask(running, question)
            target = Target(
                running.port,
                contender.path,
                contender.headers,
                whole,
                streams,
                cpu=running.process.cpu_seconds,
                settle=lambda: contender.settle(running),
            )
            figures = measure(self.tools, target, self.plan.workload)
            figures.memory_mb = running.process.memory_mb()
            figures.start_seconds = running.seconds
            contender.check(running, around, figures.answered + len(asked))
            return figures


def _about(plan: Plan) -> dict[str, object]:
    """What a reader needs to judge the figures."""
    cores = sorted(os.sched_getaffinity(0))
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": len(cores),
        "pinned": {0, 1} <= set(cores),
        "python": platform.python_version(),
        "load_average_at_start": os.getloadavg()[0],
        "rounds": plan.rounds,
        "seconds": plan.workload.seconds,
        "connections": plan.workload.connections,
        "stream_connections": plan.workload.stream_connections,
        "upstream": {"delay_ms": plan.delay_ms, "pause_ms": plan.pause_ms},
    }
