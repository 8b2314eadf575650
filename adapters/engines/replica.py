"""What is known of one replica: whether it answers, what it holds, how busy and how fast it is.

Only the event loop's thread touches it: the reconciler writes what it found, the pool what it sent.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from adapters.engines.breaker import Breaker

_SMOOTHING = 0.2  # weight of the newest measurement in the moving average of speed
_MOST_PAUSE = 60.0


class VersionState(StrEnum):
    """Where a version stands on a replica. Only READY takes new requests."""

    PENDING = "pending"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class _Attempts:
    """Failed attempts to load a version, and when the next one is due."""

    count: int = 0
    due: float = 0.0


@dataclass(slots=True)
class Account:
    """Requests on all replicas of a pool together."""

    requests: int = 0


class Replica:
    """One engine process at `url`. `problem` says why it is not up, `problems` why versions are not
    ready; `weight` is its measured speed, relative to the pool's mean."""

    def __init__(
        self,
        url: str,
        changed: Callable[[], None] = lambda: None,
        account: Account | None = None,
    ) -> None:
        self.url = url
        self.weight = 1.0
        self.up = False
        self.leaving = False
        self.problem = "not seen yet"
        self.states: dict[str, VersionState] = {}
        self.problems: dict[str, str] = {}
        self.breaker = Breaker()
        self.wake = asyncio.Event()
        self.served = 0
        self.seconds_per_token: float | None = None
        self.outstanding = 0  # requests of this gateway that it is answering
        self._changed = changed
        self._account = account or Account()
        self._outstanding: dict[str | None, int] = {}
        self._elsewhere = 0
        self._generating: frozenset[str] = frozenset()
        self._attempts: dict[str, _Attempts] = {}

    @property
    def load(self) -> int:
        """Requests on it: ours as of now, others' as of the last look at its metrics."""
        return self.outstanding + self._elsewhere

    def serves(self, version: str | None) -> bool:
        """Whether a new request may be sent to it; None is the base model."""
        if not self.up or self.leaving:
            return False
        return version is None or self.states.get(version) is VersionState.READY

    def begin(self, version: str | None) -> None:
        """A request was sent."""
        self.breaker.begin()
        self.served += 1
        self.outstanding += 1
        self._account.requests += 1
        self._outstanding[version] = self._outstanding.get(version, 0) + 1

    def end(self, version: str | None) -> None:
        """A request is over, however it ended."""
        self.outstanding -= 1
        self._account.requests -= 1
        self._outstanding[version] -= 1
        if not self._outstanding[version]:
            del self._outstanding[version]
            if self.states.get(version or "") is VersionState.DRAINING or self.leaving:
                self.wake.set()

    def busy_with(self, version: str) -> bool:
        """Whether a request, ours or another gateway's, is still answered by `version` here."""
        return version in self._outstanding or version in self._generating

    def measured(self, seconds_per_token: float) -> None:
        """Take one request's speed into the moving average."""
        old = self.seconds_per_token
        self.seconds_per_token = (
            seconds_per_token
            if old is None
            else (1 - _SMOOTHING) * old + _SMOOTHING * seconds_per_token
        )

    def reported(self, requests: int, generating: frozenset[str]) -> None:
        """What it says itself: requests running or waiting, of which those that are not ours are
        somebody else's, and versions that are generating."""
        self._count_elsewhere(max(0, requests - self.outstanding))
        self._generating = generating

    def came_up(self) -> None:
        """It answers; if it did not before, its failures belong to another life."""
        if not self.up:
            self.breaker.reset()
            self.up, self.problem = True, ""
            self._changed()

    def went_down(self, problem: str) -> None:
        """It does not answer; what it held is unknown until it does."""
        self.up, self.problem = False, problem
        self._count_elsewhere(0)
        for version in self.states:
            self.states[version] = VersionState.PENDING
        self._changed()

    def leave(self, leaving: bool) -> None:
        """It gets no new requests, or does again."""
        if leaving is not self.leaving:
            self.leaving = leaving
            self._changed()

    def _count_elsewhere(self, requests: int) -> None:
        self._account.requests += requests - self._elsewhere
        self._elsewhere = requests

    def note(self, version: str, state: VersionState, problem: str = "") -> None:
        """A version's state here, and why it is not better."""
        before = self.states.get(version)
        self.states[version] = state
        self.problems.pop(version, None)
        if problem:
            self.problems[version] = problem
        if state is VersionState.READY:
            self._attempts.pop(version, None)
        if state is not before:
            self._changed()

    def forget(self, version: str) -> None:
        """A version is neither wanted nor held here."""
        if self.states.pop(version, None) is not None:
            self._changed()
        self.problems.pop(version, None)
        self._attempts.pop(version, None)

    def failed(self, version: str, problem: str) -> None:
        """A version could not be loaded; the next attempt waits 1, 2, 4 … 60 s."""
        count = self._attempts.get(version, _Attempts()).count
        due = time.monotonic() + min(2.0**count, _MOST_PAUSE)
        self.note(version, VersionState.FAILED, problem)
        self._attempts[version] = _Attempts(count + 1, due)

    def may_load(self, version: str) -> bool:
        """Whether an attempt to load is due."""
        return time.monotonic() >= self._attempts.get(version, _Attempts()).due
