"""The process that works on the queue: one job at a time, on one accelerator, each try in a child.

It holds the leases, watches over the child, and looks whether something triggers a run. It imports
no PyTorch, so an idle one costs little.
"""

import logging
import math
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from adapters.child import Child
from adapters.errors import AdapterError
from adapters.job import TRIGGER, JobError, TrainingJob
from adapters.store import Store
from training.service.attempt import TRY_LATER, Order, Places
from training.service.queue import Queue
from training.service.succession import Succession
from training.service.triggers import Triggers

logger = logging.getLogger(__name__)

_BEAT_SECONDS = 1.0
_LOOK_SECONDS = 30.0
# Longer than a child that is stopped may take, so that nobody works on a job beside it.
LEASE_SECONDS = 30.0
_GRACE_SECONDS = 12.0
_TRIGGERS_LEASE = "training-triggers"


@dataclass(frozen=True, slots=True)
class _Work:
    """A try under way."""

    job: TrainingJob
    child: Child
    process: subprocess.Popen[bytes]


class Worker:
    """Works on jobs until it is closed.

    Args:
        accelerator: what one job at a time may use; by default all that this host shows.
        triggers: None where nothing is to be trained by itself.
        succession: None where no rollout is to begin by itself.
        lease_seconds: how long a lost worker's job waits for another.
    """

    def __init__(
        self,
        store: Store,
        places: Places,
        *,
        accelerator: str = "",
        triggers: Triggers | None = None,
        succession: Succession | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        host = socket.gethostname()[:32]
        self._store = store
        self._places = places
        self._lease = f"train:{accelerator or f'{host}:{_visible_devices()}'}"[:64]
        self._holder = f"{host}:{os.getpid()}:{secrets.token_hex(3)}"
        self._seconds = lease_seconds
        self._queue = Queue(store, self._holder, lease_seconds)
        self._triggers = triggers
        self._succession = succession
        self._look_at = 0.0
        self._work: _Work | None = None
        self._beat_at = 0.0

    def rounds(self, wait: Callable[[float], bool]) -> Iterator[str]:
        """Beat after beat, through times when the store is down; says what it does. `wait` gets the
        seconds until the next and says whether there shall be none."""
        while not wait(_BEAT_SECONDS):
            try:
                yield from self._beat()
            except AdapterError as exc:
                logger.warning("training waits for the store: %s", exc)

    def close(self) -> None:
        """Stop the job, back into the queue, and let another worker have the accelerator."""
        if self._work is not None:
            self._end(self._work, "its worker was stopped")
        self._store.release(self._lease, self._holder)

    def _beat(self) -> Iterator[str]:
        holds = self._store.lease(self._lease, self._holder, self._seconds)
        if self._work is not None:
            yield from self._watch(self._work, holds)
        elif holds:
            yield from self._look()
            yield from self._take()

    def _look(self) -> Iterator[str]:
        """See from time to time, of all workers as the only one, what should happen by itself."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_SECONDS
        if not self._store.lease(_TRIGGERS_LEASE, self._holder, 2 * _LOOK_SECONDS):
            return
        if self._succession is not None:
            for design in self._succession.look():
                yield f"experiment {design.name} began"
        if self._triggers is not None:
            for job in self._triggers.look():
                yield f"{job.id}: {job.request.domain} was triggered"

    def _take(self) -> Iterator[str]:
        minutes = math.inf if self._triggers is None else self._triggers.minutes()
        job = self._queue.claim(triggered=minutes > 0)
        if job is None:
            return
        limited = job.owner == TRIGGER and math.isfinite(minutes)
        order = Order(
            job=job.id,
            holder=self._holder,
            seconds=self._seconds,
            minutes=minutes if limited else None,
            places=self._places,
        )
        child = Child("training.service.attempt", order, grace=_GRACE_SECONDS)
        self._work = _Work(job, child, child.running())
        self._beat_at = time.monotonic()
        yield f"{job.id}: training {job.request.domain}"

    def _watch(self, work: _Work, holds: bool) -> Iterator[str]:
        code = work.process.poll()
        now = time.monotonic()
        kept = self._queue.keep(work.job.id, now - self._beat_at)
        self._beat_at = now
        if code is not None:
            self._ended(work, code)
            yield f"{work.job.id}: ended"
        elif not (kept and holds):
            self._end(work, "its accelerator is another worker's")
            yield f"{work.job.id}: stopped"

    def _ended(self, work: _Work, code: int) -> None:
        """The child is gone; see to it that the job does not hang, if it did not settle it."""
        name = work.job.id
        if code == 0:
            self._queue.let_go(name, "its process ended early")
        elif code == TRY_LATER:
            self._queue.let_go(name, "the store or the artifact root did not answer", died=True)
        elif code < 0:
            words = f"its process was ended by signal {-code}; perhaps memory is short"
            self._queue.let_go(name, words, died=True)
        else:
            words = f"its process broke with exit code {code}; the worker's log says where"
            self._queue.fail(name, JobError("internal_error", words))
            self._queue.let_go(name, words)
        self._forget(work)

    def _end(self, work: _Work, reason: str) -> None:
        work.child.close()
        self._queue.let_go(work.job.id, reason)
        self._forget(work)

    def _forget(self, work: _Work) -> None:
        work.child.close()
        self._work = None


def _visible_devices() -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all")
