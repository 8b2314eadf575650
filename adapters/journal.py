"""The local journal: interactions and feedback reach this file before the caller has the whole
answer.

One JSON line and one `write(2)` per record: a process killed at any moment loses nothing it had
acknowledged, as the page cache is the kernel's. No record has an fsync of its own: a power failure
takes what came after the last `sync`, which is called every `journal.drain_seconds`, or up to 30 s
while the store is down. A drain delivers at least once, and ids make a second delivery change
nothing; a segment is deleted only after the store has committed it with an fsync.
"""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from msgspec.json import Encoder

from adapters.delivery import HEAD, Delivered
from adapters.errors import JournalFull

logger = logging.getLogger(__name__)


class Identified(Protocol):
    """A struct or dataclass with an `id`, by which a second delivery is known."""

    @property
    def id(self) -> str: ...


Deliver = Callable[[Path, int], Delivered]


class Journal:
    """Append-only segments in a folder. One writer per segment, marked by a lock the kernel drops
    with the process.

    `append` is for the event loop (tens of microseconds); `drain` and `sync` are for a thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = 16 * 2**20,
        limit_bytes: int = 4 * 2**30,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._limit_bytes = limit_bytes
        self._segment = _Segment.create(folder)
        self._finished: list[_Segment] = []
        self._waiting_ids: set[str] = set()
        self._encode = Encoder().encode
        self.dropped = 0

    @property
    def pending(self) -> int:
        """Records of this process that the store does not have yet."""
        return len(self._waiting_ids)

    def holds(self, record_id: str) -> bool:
        """Whether a record of this process still waits for the store."""
        return record_id in self._waiting_ids

    def has_orphans(self) -> bool:
        """Whether records of a process that is gone still wait for the store; blocks."""
        orphans = filter(None, map(_Segment.orphan, self._folder.glob("*.jsonl")))
        waiting = False
        for orphan in orphans:
            waiting = waiting or orphan.size > 0
            orphan.close()
        return waiting

    def append(self, kind: str, record: Identified) -> None:
        """Write one record; it survives `kill -9` once this returns.

        Raises:
            JournalFull: the disk is full or the limit is reached; nothing was written.
        """
        line = b"%b%b\n" % (HEAD % kind.encode(), self._encode(record)[1:])
        waiting = self._segment.size - self._segment.drained
        for finished in self._finished:
            waiting += finished.size - finished.drained
        if waiting + len(line) > self._limit_bytes:
            self.dropped += 1
            raise JournalFull(
                f"{waiting} bytes wait for the store, the limit is {self._limit_bytes}"
            )
        self._waiting_ids.add(record.id)
        try:
            self._segment.write(line)
        except OSError as exc:
            self._waiting_ids.discard(record.id)
            self.dropped += 1
            raise JournalFull(f"journal {self._folder}: {exc.strerror}") from exc
        if self._segment.size >= self._segment_bytes:
            self._rotate()

    def drain(self, deliver: Deliver) -> int:
        """Have every waiting record delivered, oldest first; returns how many were.

        `deliver` takes a segment and where to begin, and brings a batch to the store. What it
        raises ends the drain; the records stay and come again.
        """
        finished = list(self._finished)
        taken = self._drain_orphans(deliver)
        for segment in (*finished, self._segment):
            taken += self._deliver(segment, deliver)
        for segment in finished:
            segment.unlink()
            segment.close()
            self._finished.remove(segment)
        return taken

    def sync(self) -> None:
        """fsync what the store does not have: what was written before survives a power failure."""
        for segment in (*self._finished, self._segment):
            segment.sync()

    def close(self) -> None:
        """Release the live segment; what the store lacks is adopted by the next process."""
        self._segment.close()

    def _rotate(self) -> None:
        self._finished.append(self._segment)
        self._segment = _Segment.create(self._folder)

    def _drain_orphans(self, deliver: Deliver) -> int:
        """Deliver segments whose writer is gone, and delete them, unless another process does."""
        taken = 0
        with _only_one(self._folder) as alone:
            orphans = map(_Segment.orphan, sorted(self._folder.glob("*.jsonl")) if alone else [])
            for orphan in filter(None, orphans):
                try:
                    taken += self._deliver(orphan, deliver)
                    orphan.unlink()
                finally:
                    orphan.close()
        return taken

    def _deliver(self, segment: "_Segment", deliver: Deliver) -> int:
        taken = 0
        # What is appended meanwhile waits for the next drain.
        until = segment.size
        while segment.drained < until:
            delivered = deliver(segment.path, segment.drained)
            if delivered.end == segment.drained:
                break  # what is left is not a whole line
            self._waiting_ids.difference_update(delivered.ids)
            segment.drained = delivered.end
            taken += len(delivered.ids)
        return taken


@contextmanager
def _only_one(folder: Path) -> Iterator[bool]:
    """Whether the folder's lock could be taken; it is held meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _locked(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Segment:
    """One journal file. Its writer holds the exclusive lock; who looks whether that one is gone
    takes a shared one, so that nobody hides an orphan from another who looks."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self.drained = 0  # bytes that the store has

    @classmethod
    def create(cls, folder: Path) -> "_Segment":
        # Locked under a name the drain does not look at, then renamed: at no time is it an orphan.
        name = f"{time.time_ns():020d}-{os.getpid()}"
        hidden = folder / f".{name}"
        descriptor = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        path = folder / f"{name}.jsonl"
        hidden.rename(path)
        return cls(path, descriptor)

    @classmethod
    def orphan(cls, path: Path) -> "_Segment | None":
        """A segment whose writer is gone; None while it lives, or if the segment is gone too."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        if _locked(descriptor, fcntl.LOCK_SH):
            return cls(path, descriptor)
        os.close(descriptor)
        return None

    def write(self, line: bytes) -> None:
        """Append a whole line or nothing: a partial write (disk full) is cut off again."""
        try:
            written = os.write(self._descriptor, line)
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(line)

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def unlink(self) -> None:
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._descriptor)
