"""The process that carries the journal to the store, so that its work takes no time from requests.

In a thread of the gateway, parsing and inserting hold the interpreter's lock for milliseconds at a
time, which is where the slowest answers came from (benchmarks/RESULTS.md). It runs at the lowest
priority: the journal is there to wait.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import orjson

from adapters.delivery import Delivered, deliver
from adapters.errors import AdapterError, StoreUnavailable
from adapters.store import Store

_END_SECONDS = 10


class Drainer:
    """Asks a child process for deliveries, one line of JSON each way. Blocks: for a thread.

    The child ends with its input, so it outlives neither `close` nor a gateway that is killed.
    """

    def __init__(self, store_url: str) -> None:
        self._url = store_url
        self._child: subprocess.Popen[bytes] | None = None

    def deliver(self, path: Path, start: int) -> Delivered:
        """Bring the next records of a segment to the store.

        Raises:
            StoreUnavailable: the store did not take them, or the child broke; try again later.
        """
        child = self._child = self._running()
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(orjson.dumps([str(path.resolve()), start]) + b"\n")
            child.stdin.flush()
            answer = orjson.loads(child.stdout.readline())
        except (OSError, orjson.JSONDecodeError) as exc:
            self.close()
            raise StoreUnavailable("the process that drains the journal has ended") from exc
        if isinstance(answer, str):
            raise StoreUnavailable(answer)
        return Delivered(*answer)

    def close(self) -> None:
        """End the child, after the delivery it is at."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None and child.stdout is not None
        with suppress(BrokenPipeError):
            child.stdin.close()
        try:
            child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()  # what it had not committed comes again
            child.wait()
        child.stdout.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None:
            if self._child.poll() is None:
                return self._child
            self.close()
        child = subprocess.Popen(
            [sys.executable, "-m", "adapters.drainer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdin is not None
        child.stdin.write(
            orjson.dumps(self._url) + b"\n"
        )  # not an argument: it may hold a password
        return child


def main() -> None:
    """Answer requests on stdin until it ends; the first line is the store's URL."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal: it is for the gateway
    # Not in a session of its own: priorities count within one (sched(7), autogroup).
    os.nice(19)
    store_url = orjson.loads(sys.stdin.buffer.readline())
    store: Store | None = None
    for line in sys.stdin.buffer:
        path, start = orjson.loads(line)
        answer: list[object] | str
        try:
            store = store or Store(store_url)
            answer = list(deliver(Path(path), start, partial(Store.take, store)))
        except (AdapterError, OSError) as exc:
            answer = str(exc)
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
