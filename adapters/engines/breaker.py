"""A circuit breaker: stops sending to a replica that keeps failing, and lets one request at a time
try again.

The pattern is Nygard's, Release It!, 2nd edition, section 5.2.
"""

import time
from collections.abc import Callable
from enum import StrEnum


class Circuit(StrEnum):
    """Closed lets everything through, open nothing, half-open one trial."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Opens after `failures` failures in a row. The pause before a trial doubles with every trial
    that fails, up to `most` seconds."""

    def __init__(
        self,
        *,
        failures: int = 3,
        pause: float = 1.0,
        most: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._first_pause = pause
        self._most = most
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget every failure: the replica is known to be a new one, or to be well."""
        self._failures = 0
        self._pause = self._first_pause
        self._opened: float | None = None
        self._trial = False

    @property
    def circuit(self) -> Circuit:
        if self._opened is None:
            return Circuit.CLOSED
        waited = self._clock() - self._opened >= self._pause
        return Circuit.HALF_OPEN if waited else Circuit.OPEN

    def allows(self) -> bool:
        """Whether a request may be sent now."""
        return self._opened is None or (self.circuit is Circuit.HALF_OPEN and not self._trial)

    def begin(self) -> None:
        """A request is sent; in a half-open circuit it is the trial."""
        self._trial = self._opened is not None and self.circuit is Circuit.HALF_OPEN

    def succeeded(self) -> None:
        """A request was answered, whatever the answer says of the request."""
        if self._failures:
            self.reset()

    def failed(self) -> None:
        """A request broke, timed out or got a 5xx."""
        self._failures += 1
        if self._opened is not None and self._trial:
            self._pause = min(self._pause * 2, self._most)
            self._opened = self._clock()
        elif self._opened is None and self._failures >= self._limit:
            self._opened = self._clock()
        self._trial = False

    def abandoned(self) -> None:
        """A request ended without a verdict: its caller left."""
        self._trial = False
