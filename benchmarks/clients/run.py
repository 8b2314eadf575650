"""One run: every check with every client, then their loads in turn, round by round."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.clients.checks import CHECKS
from benchmarks.clients.client import NAMES
from benchmarks.clients.environment import certificates, python_of, version_of
from benchmarks.gateway.questions import write_bodies
from benchmarks.gateway.tools import BASE_MODEL, GATEWAY_CORE, Tools, pinned
from benchmarks.installed import NotInstalled
from benchmarks.swap.servers import ROOT

OURS = NAMES[0]
_CHECK_SECONDS = 40  # for a whole process
# A stream's connection is nearly always waiting for its next event.
CONNECTIONS, STREAMS, PAUSE_MS = 32, 16, 5

Say = Callable[[str], None]


class SubjectFailed(Exception):
    """A client's process ended without figures; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How often and how long, and where foreign clients are installed."""

    rounds: int
    seconds: float
    home: Path
    checks: bool = True

    @property
    def steps(self) -> int:
        return len(NAMES) * (1 + self.rounds) + len(CHECKS) * self.checks


@dataclass(frozen=True, slots=True)
class Turn:
    """What one client did in one round, per second and in microseconds of its process's time."""

    rps: float
    us_per_request: float
    events_per_s: float
    us_per_event: float


@dataclass
class Report:
    """Verdicts by check and client, turns by client, and why a client is absent."""

    checks: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    turns: dict[str, list[Turn]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether our own client passed every check and stood every load."""
        verdicts = [found[OURS]["ok"] for found in self.checks.values() if OURS in found]
        return all(verdicts) and OURS not in self.errors

    def as_json(self) -> dict[str, Any]:
        rows = [_row(name, turns) for name, turns in self.turns.items()]
        rows += [{"client": name, "error": error} for name, error in self.errors.items()]
        return {"checks": self.checks, "rows": rows, "ratios": self._ratios()}

    def _ratios(self) -> dict[str, dict[str, dict[str, float]]]:
        """Ours over each other, round by round: more is better per second, less in microseconds."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for name, theirs in self.turns.items():
            if name == OURS or OURS not in self.turns:
                continue
            for figure in Turn.__slots__:
                rounds = [
                    getattr(a, figure) / getattr(b, figure)
                    for a, b in zip(self.turns[OURS], theirs, strict=True)
                ]
                found.setdefault(f"over_{name}", {})[figure] = _spread(rounds, 3)
        return found


def _row(name: str, turns: Sequence[Turn]) -> dict[str, Any]:
    figures = {
        figure: _spread([getattr(turn, figure) for turn in turns], 1) for figure in Turn.__slots__
    }
    return {"client": name, "version": version_of(name), **figures}


def _spread(values: Sequence[float], digits: int) -> dict[str, float]:
    parts = {"median": median(values), "least": min(values), "most": max(values)}
    return {name: round(value, digits) for name, value in parts.items()}


def run(plan: Plan, say: Say) -> Report:
    """Check, then measure. A client that fails is reported and left out.

    Raises NotBuilt where the mock cannot be compiled.
    """
    report = Report()
    tools = Tools.build(plan.home / "tools")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="turnout-bench-")))
        subjects = []
        for name in NAMES:
            say(f"preparing {name}")
            try:
                subjects.append(_Subject(name, python_of(name, plan.home)))
            except NotInstalled as exc:
                report.errors[name] = str(exc)
        if plan.checks:
            _check(subjects, certificates(folder / "tls"), report, say)
        replica = f"0:0:{PAUSE_MS}"
        (port,) = stack.enter_context(tools.upstream(replica))
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        loads = _Loads.write(url, folder, plan.seconds)
        for number in range(plan.rounds):
            # Backwards every other time: whoever comes first has no advantage of it.
            for subject in subjects[:: -1 if number % 2 else 1]:
                say(f"round {number + 1}: {subject.name}")
                _take(subject, loads, report)
    return report


@dataclass(frozen=True, slots=True)
class _Loads:
    """What each client is asked to do, as arguments of its process."""

    whole: Sequence[str]
    streams: Sequence[str]

    @classmethod
    def write(cls, url: str, folder: Path, seconds: float) -> "_Loads":
        def load(connections: int, kind: str) -> list[str]:
            bodies = write_bodies(
                folder / f"{kind}.jsonl", lambda q: q.body(BASE_MODEL), stream=kind == "streams"
            )
            return ["load", url, str(bodies), str(connections), str(seconds), kind]

        return cls(load(CONNECTIONS, "whole"), load(STREAMS, "streams"))


@dataclass(frozen=True, slots=True)
class _Subject:
    """A client and the interpreter that has it."""

    name: str
    python: Path

    def run(self, *arguments: str, seconds: float) -> dict[str, Any]:
        """One process; raises SubjectFailed when it ends without a figure, or not at all."""
        command = [str(self.python), "-m", "benchmarks.clients.subject", self.name, *arguments]
        try:
            done = subprocess.run(
                pinned(command, GATEWAY_CORE),
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as exc:
            raise SubjectFailed(f"not over after {seconds:g} s") from exc
        if done.returncode != 0:
            last = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            raise SubjectFailed(last[-1][:300])
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def _check(subjects: Sequence[_Subject], tls: Path, report: Report, say: Say) -> None:
    for check in CHECKS:
        say(check)
        verdicts = report.checks.setdefault(check, {})
        for subject in subjects:
            try:
                verdicts[subject.name] = subject.run(
                    "check", check, str(tls), seconds=_CHECK_SECONDS
                )
            except SubjectFailed as exc:
                verdicts[subject.name] = {"ok": False, "said": str(exc)}


def _take(subject: _Subject, loads: _Loads, report: Report) -> None:
    """One client's turn, unless it has failed before."""
    if subject.name in report.errors:
        return
    try:
        whole, streams = [
            subject.run(*load, seconds=_CHECK_SECONDS + float(load[4]))
            for load in (loads.whole, loads.streams)
        ]
    except SubjectFailed as exc:
        report.errors[subject.name] = str(exc)
        report.turns.pop(subject.name, None)
        return
    turn = Turn(
        rps=whole["per_second"],
        us_per_request=whole["microseconds"],
        events_per_s=streams["per_second"],
        us_per_event=streams["microseconds"],
    )
    report.turns.setdefault(subject.name, []).append(turn)
