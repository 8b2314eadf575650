"""Several workers on one address (`server.workers`): starts them, starts them again, ends them.

    python -m gateway.workers COUNT COMMAND…

It takes the place of the `turnout serve` that asked for workers, imports nothing of ours and
answers nothing, so it stays small. What workers share is in one folder, by place: a worker that
takes over from one that died takes its place.
"""

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_TICK_SECONDS = 0.2
_GRACE_SECONDS = 45  # 30 for requests under way, then the journal's delivery that was under way
_SETTLED_SECONDS = 60
_LONGEST_PAUSE = 30
_MOST_FAILED_STARTS = 3


@dataclass(frozen=True, slots=True)
class Place:
    """One of the places that workers take, and its files in the folder they share."""

    folder: Path
    number: int

    @property
    def counts(self) -> Path:
        """What was counted here, by everybody who has had this place."""
        return self.folder / f"{self.number}.json"

    @property
    def door(self) -> Path:
        """The socket at which the worker answers its siblings; there once it serves."""
        return self.folder / f"{self.number}.socket"

    def everybody(self) -> list[Path]:
        """The counts of every place."""
        return sorted(self.folder.glob("*.json"))

    def siblings(self) -> list[Path]:
        """The doors of the others."""
        return [door for door in self.folder.glob("*.socket") if door != self.door]


class Workers:
    """Keeps one process in each place. The first starts alone: it applies migrations, and what
    cannot serve says so once."""

    def __init__(self, places: Sequence[Place], command: Sequence[str]) -> None:
        self._workers = [_Worker(place, command) for place in places]
        self._wanted = self._workers[:1]

    def run(self) -> int:
        """Until SIGTERM or SIGINT; returns the exit code: a worker's own, where none can start."""
        try:
            while True:
                for worker in self._wanted:
                    worker.start()
                told = signal.sigtimedwait(_SIGNALS, _TICK_SECONDS)
                if told is not None and told.si_signo != signal.SIGCHLD:
                    return 0
                for worker in self._wanted:
                    code = worker.look()
                    if code is not None and self._hopeless():
                        return max(code, 1)
                if self._workers[0].serves:
                    self._wanted = self._workers
        finally:
            self._end()

    def _hopeless(self) -> bool:
        most = _MOST_FAILED_STARTS if self._wanted is self._workers else 1
        return all(worker.failed_starts >= most for worker in self._wanted)

    def _end(self) -> None:
        """Let every worker finish; SIGINT once more ends them at once."""
        running = [worker.process for worker in self._workers if worker.process is not None]
        for process in running:
            process.terminate()
        until = time.monotonic() + _GRACE_SECONDS
        while any(process.poll() is None for process in running) and time.monotonic() < until:
            told = signal.sigtimedwait(_SIGNALS, _TICK_SECONDS)
            if told is not None and told.si_signo == signal.SIGINT:
                break
        for process in running:
            process.kill()
            process.wait()


class _Worker:
    """Whoever is in one place. Its stdin ends with this process, and it ends with its stdin, so
    none outlives a supervisor that is killed."""

    def __init__(self, place: Place, command: Sequence[str]) -> None:
        self._place = place
        self._command = [*command, "--place", str(place.folder), str(place.number)]
        self.process: subprocess.Popen[bytes] | None = None
        self.serves = False
        self.failed_starts = 0  # since one last served here
        self._began = self._due = 0.0
        self._pause = 0

    def start(self) -> None:
        """Start a process, unless there is one or the pause is not over."""
        if self.process is not None or time.monotonic() < self._due:
            return
        self._place.door.unlink(missing_ok=True)
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            # A terminal's Ctrl-C is for the supervisor, which tells each worker once.
            process_group=0,
            preexec_fn=_unblock_signals,
        )

    def look(self) -> int | None:
        """Notice that the process serves, or that it has ended: then its exit code, once."""
        if self.process is None:
            return None
        if not self.serves and self._place.door.exists():
            self.serves, self.failed_starts = True, 0
            logger.info("worker %d serves (process %d)", self._place.number, self.process.pid)
        code = self.process.poll()
        if code is not None:
            self._rest(self.process, code)
        return code

    def _rest(self, ended: subprocess.Popen[bytes], code: int) -> None:
        lived = time.monotonic() - self._began
        longer = min(max(1, 2 * self._pause), _LONGEST_PAUSE)
        self._pause = 1 if lived > _SETTLED_SECONDS else longer
        self._due = time.monotonic() + self._pause
        self.failed_starts += not self.serves
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        logger.error(
            "worker %d (process %d) ended after %.0f s with %s, again in %d s",
            *(self._place.number, ended.pid, lived, how, self._pause),
        )
        assert ended.stdin is not None
        ended.stdin.close()
        self.process, self.serves = None, False


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def main() -> None:
    """Supervise COUNT processes of COMMAND; exit code 0 when told to end."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    count, *command = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    with TemporaryDirectory(prefix="turnout-") as folder:
        places = [Place(Path(folder), number) for number in range(int(count))]
        sys.exit(Workers(places, command).run())


if __name__ == "__main__":
    main()
