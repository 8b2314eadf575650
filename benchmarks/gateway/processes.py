"""A gateway's processes: started on its own core, their processor time and their memory."""

import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.gateway.tools import GATEWAY_CORE, pinned
from benchmarks.swap.servers import NotStarted, Server, free_port

_TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 90


class GatewayProcess(Server):
    """A server under test, with its children."""

    @property
    def pids(self) -> list[int]:
        """The process and all that descend from it."""
        if self._process is None:
            raise NotStarted(f"{self.name} is not running")
        return [self._process.pid, *_descendants(self._process.pid)]

    def _healthy(self) -> bool:
        """A server without a health page is well when it takes connections."""
        if self._health:
            return super()._healthy()
        address = urlsplit(self.url)
        try:
            socket.create_connection((address.hostname, address.port), timeout=5).close()
        except OSError:
            return False
        return True

    def wait_for_metrics(self, *wanted: str, seconds: float = 60) -> None:
        """Wait until `/metrics` has these lines; raises NotStarted when the time is over."""
        deadline = time.monotonic() + seconds
        missing = set(wanted)
        while missing:
            try:
                with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
                    missing -= set(answer.read().decode().splitlines())
            except OSError as exc:
                raise NotStarted(f"{self.name} has stopped answering: {exc}") from exc
            if time.monotonic() > deadline:
                raise NotStarted(f"{self.name}: no {min(missing)!r} within {seconds:g} s")
            time.sleep(0.1)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Stopped by the kernel until the block ends: it takes no processor time at all."""
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in self.pids:
                os.kill(pid, signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """User and system time so far, children that have ended included."""
        return sum(_cpu_ticks(pid) for pid in self.pids) / _TICKS

    def memory_mb(self) -> float:
        """Proportional set size; where that is not readable, resident set size."""
        return sum(_memory_kb(pid) for pid in self.pids) / 1024


@dataclass(frozen=True, slots=True)
class Started:
    """A gateway that answers, and how long it took from its start to its first sign of health."""

    process: GatewayProcess
    seconds: float

    @property
    def port(self) -> int:
        return urlsplit(self.process.url).port or 0


def serve_command(config: Path, state: Path, port: int) -> list[str]:
    """Turnout's gateway, on this port and a free one for its admin listener."""
    places = ["--config", str(config), "--state", str(state)]
    ports = ["--port", str(port), "--admin-port", str(free_port())]
    return [sys.executable, "-m", "gateway", "serve", *places, *ports]


@contextmanager
def started(
    name: str,
    command: Sequence[str],
    *,
    port: int,
    health: str,
    log: Path,
    environment: Mapping[str, str],
    port_file: Path | None = None,
) -> Iterator[Started]:
    """Run a gateway on its core until the block ends; raises NotStarted with its last words.

    `health` may be empty: then taking connections is the first sign. A gateway that chooses its
    port itself writes it to `port_file`.
    """
    url = f"http://127.0.0.1:{port}"
    server = GatewayProcess(name, url, health, pinned(command, GATEWAY_CORE), environment, log)
    begun = time.monotonic()
    server.start()
    try:
        if port_file is not None:
            server.url = f"http://127.0.0.1:{_written_port(port_file)}"
        yield Started(server, server.wait_healthy(START_SECONDS) - begun)
    finally:
        server.stop()


def _written_port(path: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise NotStarted(f"no port in {path} after {START_SECONDS} s; see log.txt beside it")
        time.sleep(0.02)
    return path.read_text(encoding="utf-8")


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in map(int, children.read_text().split()):
                found += [child, *_descendants(child)]
        except OSError:
            continue  # the thread has just ended
    return found


def _cpu_ticks(pid: int) -> int:
    """utime, stime, cutime and cstime of proc(5)."""
    try:
        # The second field, the program's name, may hold blanks and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(field) for field in fields[11:15])


def _memory_kb(pid: int) -> int:
    for file, name in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(name):
                return int(line.split()[1])
    return 0
