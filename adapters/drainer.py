"""The process that carries the journal to the store, so that its work takes no time from requests.

In a thread of the gateway, parsing and inserting hold the interpreter's lock for milliseconds at a
time, which is where the slowest answers came from (benchmarks/RESULTS.md). It runs at the lowest
priority: the journal is there to wait.
"""

import gc
import signal
import sys
from pathlib import Path

from msgspec import DecodeError
from msgspec.json import decode, encode

from adapters.child import Child, step_back
from adapters.delivery import Delivered, Sink, deliver
from adapters.errors import AdapterError, StoreUnavailable
from adapters.intake import SqliteIntake

_END_SECONDS = 10
_SQLITE = "sqlite:///"


class Drainer:
    """Asks a child process for deliveries, one line of JSON each way. Blocks: for a thread."""

    def __init__(self, store_url: str) -> None:
        # What it had not committed when its time was over comes again.
        self._child = Child("adapters.drainer", store_url, grace=_END_SECONDS)

    def deliver(self, path: Path, start: int) -> Delivered:
        """Bring the next records of a segment to the store.

        Raises:
            StoreUnavailable: the store did not take them, or the child broke; try again later.
        """
        child = self._child.running()
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(encode([str(path.resolve()), start]) + b"\n")
            child.stdin.flush()
            answer = decode(child.stdout.readline(), type=Delivered | str)
        except (OSError, DecodeError) as exc:
            self.close()
            raise StoreUnavailable("the process that drains the journal has ended") from exc
        if isinstance(answer, str):
            raise StoreUnavailable(answer)
        return answer

    def close(self) -> None:
        """End the child, after the delivery it is at."""
        self._child.close()


def main() -> None:
    """Answer requests on stdin until it ends; the first line is the store's URL."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal: it is for the gateway
    step_back()
    # Rows come and go by the thousand without a cycle among them.
    gc.freeze()
    gc.set_threshold(100_000)
    store_url = decode(sys.stdin.buffer.readline(), type=str)
    sink: Sink | None = None
    for line in sys.stdin.buffer:
        path, start = decode(line, type=tuple[str, int])
        answer: Delivered | str
        try:
            sink = sink or _open(store_url)
            answer = deliver(Path(path), start, sink)
        except (AdapterError, OSError) as exc:
            answer = str(exc)
        sys.stdout.buffer.write(encode(answer) + b"\n")
        sys.stdout.buffer.flush()


def _open(store_url: str) -> Sink:
    """The store at this URL, whose schema the gateway has brought up to date."""
    if store_url.startswith(_SQLITE) and "?" not in store_url:
        return SqliteIntake(store_url.removeprefix(_SQLITE)).take
    # SQLAlchemy takes 25 MB and 0.3 s, which a plain file does not need.
    from adapters.store import Store

    return Store(store_url).take


if __name__ == "__main__":
    main()
