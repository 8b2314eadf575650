"""A process of ours beside the gateway's. It ends with its input, so it outlives neither `close`
nor a gateway that is killed."""

import os
import subprocess
import sys
from contextlib import suppress

from msgspec.json import encode


class Child:
    """Runs `python -m MODULE`, whose first line of input is `first` as JSON: not an argument, it
    may hold a password.

    Args:
        grace: seconds to finish what it is at when it is closed.
    """

    def __init__(self, module: str, first: object, *, grace: float) -> None:
        self._module = module
        self._first = first
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def running(self) -> subprocess.Popen[bytes]:
        """The process; a new one if there is none, or it has ended."""
        if self._process is not None and self.is_running:
            return self._process
        self.close()
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", self._module], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        process.stdin.write(encode(self._first) + b"\n")
        process.stdin.flush()
        return process

    def close(self) -> None:
        """End it; blocks."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(self._grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def step_back() -> None:
    """Run when nobody else wants to. Not in a session of its own: priorities count within one
    (sched(7), autogroup)."""
    if sys.platform == "linux":  # also lets whoever wakes up take the processor at once
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(19)
