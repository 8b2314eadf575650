"""Processes under test: vLLM replicas by `deploy/vllm/cpu.sh` or embedded engines, and a gateway in
front of them.

Knows how to start, await, kill and stop a process with all its children; knows nothing of adapters.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
VLLM_PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
SERVED_NAME = "smollm2-135m"
# A replica takes a minute alone and longer beside a load.
START_SECONDS = 300


class NotStarted(Exception):
    """A server could not be started; the message says why and what to do."""


class Server:
    """One process with its children, in a group of its own; it can be started again."""

    def __init__(
        self,
        name: str,
        url: str,
        health: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        self.name = name
        self.url = url
        self.log = log
        self._health = health
        self._command = list(command)
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and return at once; its output is appended to the log."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def wait_healthy(self, seconds: float = START_SECONDS) -> float:
        """Wait for the first 200 of its health page; returns that moment (`time.monotonic`).

        Raises NotStarted when the process ends or the time is over.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._healthy():
                return time.monotonic()
            if self._process is None or self._process.poll() is not None:
                raise NotStarted(f"{self.name} ended while starting; {self._last_words()}")
            time.sleep(0.05)
        raise NotStarted(f"{self.name} gave no sign within {seconds:g} s; {self._last_words()}")

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=5)
        with (
            contextlib.closing(connection),
            contextlib.suppress(OSError, http.client.HTTPException),
        ):
            connection.request("GET", self._health)
            return connection.getresponse().status == 200
        return False

    def kill(self) -> None:
        """`kill -9` of the process and all its children, at once."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def stop(self, seconds: float = 20) -> None:
        """SIGTERM, and SIGKILL to the whole group for what is left; harmless when nothing runs."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()
        self._process = None

    def _signal(self, sign: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"{self.log} ends with: {lines[-1] if lines else 'nothing'}"


def vllm_replica(
    model: Path, log: Path, *, python: Path = VLLM_PYTHON, **environment: str
) -> Server:
    """A replica on a free loopback port, by the command that operators use (deploy/vllm/cpu.sh).

    `environment` sets that command's variables, such as MAX_CPU_LORAS. Raises NotStarted where
    vLLM is not installed.
    """
    if not python.is_file():
        raise NotStarted(f"vLLM is not installed at {python}; `make setup-vllm` does it")
    port = free_port()
    variables = {"MODEL": str(model), "PORT": str(port), "SERVED_NAME": SERVED_NAME}
    return Server(
        f"vLLM on port {port}",
        f"http://127.0.0.1:{port}",
        "/health",
        [str(ROOT / "deploy" / "vllm" / "cpu.sh")],
        {**variables, "PYTHON": str(python), **environment},
        log,
    )


def embedded_engine(model: Path, log: Path) -> Server:
    """`turnout engine` on a free loopback port."""
    port = free_port()
    naming = ["--model", str(model), "--served-model-name", SERVED_NAME, "--port", str(port)]
    return Server(
        f"the embedded engine on port {port}",
        f"http://127.0.0.1:{port}",
        "/health",
        [sys.executable, "-m", "gateway", "engine", *naming],
        {},
        log,
    )


def gateway_process(config: Path, state: Path, log: Path, *, key: str, admin_port: int) -> Server:
    """`turnout serve` on a free loopback port; `key` is its first admin key."""
    port = free_port()
    places = ["--config", str(config), "--state", str(state)]
    ports = ["--port", str(port), "--admin-port", str(admin_port)]
    return Server(
        f"the gateway on port {port}",
        f"http://127.0.0.1:{port}",
        "/readyz",
        [sys.executable, "-m", "gateway", "serve", *ports, *places],
        {"TURNOUT_BOOTSTRAP_KEY": key},
        log,
    )


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
