"""Mock upstream and load: the C programs of this folder, compiled once per change and run on one
core."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCES = {"mock": ("mock.c", "mock_server.c"), "load": ("load.c",)}
BASE_MODEL = "bench-base"
# What benchmarks build, install and keep from run to run.
HOME = Path("~/.cache/turnout/bench")
# The gateway has a core of its own; what stands around it shares the other.
GATEWAY_CORE, TOOLS_CORE = 0, 1


class LoadFailed(Exception):
    """The load could not be run to its end; the message holds its last words."""


class NotBuilt(Exception):
    """The C programs could not be compiled; the message says why."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Milliseconds."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one load saw. `answered` and `events` are of the whole run, warm-up included.

    `unsent` requests were due and never sent: the server was far from keeping up with the rate.
    """

    rps: float
    answered: int
    latency: Quantiles
    events: int
    events_per_s: float
    first_event: Quantiles
    unsent: int
    wrong: Mapping[str, int]
    first_wrong: str = ""

    @classmethod
    def parse(cls, raw: Mapping[str, Any], said: str) -> "LoadResult":
        """From the load's output, and what it said of the first wrong answer."""
        wrong = {**raw["wrong"], "unanswered": raw["unanswered"]}
        return cls(
            rps=raw["rps"],
            answered=raw["answered"],
            latency=_quantiles(raw["latency_ms"]),
            events=raw["events_answered"],
            events_per_s=raw["events_per_s"],
            first_event=_quantiles(raw["first_event_ms"]),
            unsent=raw["unsent"],
            wrong={name: count for name, count in wrong.items() if count},
            first_wrong=said.strip(),
        )


@dataclass(frozen=True, slots=True)
class Tools:
    """The compiled programs."""

    mock: Path
    load: Path

    @classmethod
    def build(cls, folder: Path) -> "Tools":
        """Compile into `folder`, unless these very sources were compiled there; raises NotBuilt."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise NotBuilt("no C compiler: apt-get install gcc libc6-dev")
        folder.mkdir(parents=True, exist_ok=True)
        sources = sorted((*HERE.glob("*.c"), *HERE.glob("*.h")))
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
        programs = {name: folder / f"{name}-{digest}" for name in SOURCES}
        for name, program in programs.items():
            if not program.exists():
                aside = program.with_name(f".{program.name}-{os.getpid()}")
                files = [str(HERE / file) for file in SOURCES[name]]
                command = [compiler, "-O2", "-std=c11", "-o", str(aside), *files]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    raise NotBuilt(f"{name} does not compile: {done.stderr.strip()}")
                aside.rename(program)
        return cls(programs["mock"], programs["load"])

    @contextmanager
    def upstream(
        self,
        *replicas: str,
        root: Path = Path("/nowhere"),
        events: int = 64,
        fail_every: int = 0,
    ) -> Iterator[list[int]]:
        """The mock with these replicas (`PORT[:DELAY_MS[:PAUSE_MS]]`); yields their ports."""
        options = ["-m", BASE_MODEL, "-r", str(root), "-n", str(events), "-f", str(fail_every)]
        command = pinned([str(self.mock), *options, *replicas], TOOLS_CORE)
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            ports: list[int] = json.loads(process.stdout.readline())["ports"]
            yield ports
        finally:
            process.kill()
            process.communicate()

    def run_load(
        self,
        port: int,
        path: str,
        bodies: Path,
        *,
        headers: Mapping[str, str],
        callers: Path | None = None,
        connections: int = 32,
        seconds: float = 3,
        warm_up: float = 0.5,
        rate: float = 0,
        streams: bool = False,
        most: int = 0,
    ) -> LoadResult:
        """Load `port` and wait for the end; `rate` 0 is a closed loop, `most` 0 no limit. `callers`
        holds one header a line, which requests take in turn, as they take their bodies.

        Raises LoadFailed when the server stops taking connections.
        """
        options = ["-c", connections, "-d", seconds, "-w", warm_up, "-r", rate, "-b", bodies]
        options += ["-n", most] if most else []
        options += ["-k", callers] if callers else []
        options += ["-s"] if streams else []
        for name, value in headers.items():
            options += ["-H", f"{name}: {value}"]
        command = [str(part) for part in (self.load, *options, "-p", port, path)]
        done = subprocess.run(
            pinned(command, TOOLS_CORE), capture_output=True, check=False, text=True
        )
        if done.returncode != 0:
            raise LoadFailed(f"load on port {port}: {done.stderr.strip()}")
        return LoadResult.parse(json.loads(done.stdout), done.stderr)


def pinned(command: Sequence[str], core: int) -> list[str]:
    """The command on one core, where there are two to choose from."""
    if shutil.which("taskset") is None or not {GATEWAY_CORE, TOOLS_CORE} <= os.sched_getaffinity(0):
        return list(command)
    return ["taskset", "-c", str(core), *command]


def _quantiles(raw: Mapping[str, float]) -> Quantiles:
    return Quantiles(raw["p50"], raw["p99"])
