"""One engine as a set of replicas: which of them answers a request, and which versions are asked
for.

The pool decides by what the reconciler found out (`adapters/reconcile.py`) and never asks an engine
itself.
"""

import asyncio
import time
from collections.abc import Iterable

from msgspec import Struct

from adapters.engines.balance import Ring, choose, position, weigh
from adapters.engines.replica import Account, Replica, VersionState


class Lease(Struct, frozen=True):
    """A replica chosen for one request. Exactly one of its methods is called, once."""

    replica: Replica
    version: str | None
    why: str

    def succeeded(self, seconds_per_token: float | None = None) -> None:
        """It answered; the speed is taken into its weight."""
        self.replica.breaker.succeeded()
        if seconds_per_token is not None:
            self.replica.measured(seconds_per_token)
        self.replica.end(self.version)

    def failed(self) -> None:
        """It broke, timed out or answered 5xx."""
        self.replica.breaker.failed()
        self.replica.wake.set()
        self.replica.end(self.version)

    def refused(self) -> None:
        """Nothing listens there: it is down, until the reconciler sees it again."""
        self.replica.went_down("refuses connections")
        self.replica.wake.set()
        self.replica.end(self.version)

    def lost(self) -> None:
        """It does not know the version any more: it restarted, or somebody unloaded it."""
        if self.version is not None:
            self.replica.note(self.version, VersionState.PENDING, "lost; it is loaded again")
        self.replica.wake.set()
        self.released()

    def released(self) -> None:
        """The request ended without saying anything about the replica."""
        self.replica.breaker.abandoned()
        self.replica.end(self.version)


class Pool:
    """The replicas of one engine, by URL. Whoever finds them adds them (`engines/members.py`)."""

    def __init__(self) -> None:
        self.replicas: dict[str, Replica] = {}
        self.used: dict[str, float] = {}
        self._account = Account()
        self._waiting: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._weighed = 0.0
        # Who serves a version, None standing for the base; forgotten when any state changes.
        self._serving: dict[str | None, Ring | None] = {}
        self._rings: dict[tuple[str, ...], Ring] = {}

    def add(self, url: str) -> Replica:
        """A new replica; it takes no traffic until it is seen to be up."""
        self.replicas[url] = Replica(url, self._announce, self._account)
        return self.replicas[url]

    def remove(self, url: str) -> None:
        """Forget a replica."""
        self.replicas.pop(url).went_down("removed")
        self._rings.clear()

    def up(self) -> bool:
        """Whether any replica answers."""
        return any(replica.up for replica in self.replicas.values())

    def serves(self, version: str | None) -> bool:
        """Whether any replica takes a request for `version` now; None is the base model."""
        return self._ring(version) is not None

    def lease(
        self, version: str | None, *, key: str | None = None, without: frozenset[str] = frozenset()
    ) -> Lease | None:
        """Choose a replica that holds the version; None when there is none. End the lease by one of
        its methods.

        Args:
            key: what should stay on one replica: a session, a prompt's beginning.
            without: URLs that were tried already.
        """
        ring = self._ring(version)
        if ring is None:
            return None
        choice = choose(ring, key, requests=self._account.requests, without=without)
        if choice is None:
            return None
        replica, why = choice
        replica.begin(version)
        if version is not None:
            self.used[version] = time.monotonic()
        return Lease(replica, version, why)

    def weigh(self) -> None:
        """Let shares follow what was measured since the last time, at most once a second."""
        if time.monotonic() - self._weighed < 1:
            return
        self._weighed = time.monotonic()
        weigh(list(self.replicas.values()))
        for ring in self._rings.values():
            ring.weigh()

    async def demand(self, version: str, patience: float) -> bool:
        """Ask for a version that no replica holds, and wait until one does; False when none will,
        or not within `patience` seconds."""
        self.touch((version,))
        self._waiting[version] = self._waiting.get(version, 0) + 1
        try:
            async with asyncio.timeout(patience):
                while not self.serves(version):
                    home = self._home(version)
                    if home is None:
                        return False
                    home.wake.set()
                    await self._changed.wait()
            return True
        except TimeoutError:
            return False
        finally:
            self._waiting[version] -= 1
            if not self._waiting[version]:
                del self._waiting[version]

    def demanded(self, replica: Replica) -> list[str]:
        """Versions that requests wait for and that this replica should load: it is their home, and
        no other has them."""
        return [
            version
            for version in self._waiting
            if self._home(version) is replica or replica.serves(version)
        ]

    def touch(self, versions: Iterable[str]) -> None:
        """Versions are in use, by whomever."""
        self.used.update(dict.fromkeys(versions, time.monotonic()))

    def wake(self) -> None:
        """Have every replica looked at now."""
        for replica in self.replicas.values():
            replica.wake.set()

    def _home(self, version: str) -> Replica | None:
        """The replica that loads a version on demand: the first in its rendezvous order that is up
        and has not failed to."""
        able = [
            r
            for r in self.replicas.values()
            if r.up and not r.leaving and r.states.get(version) is not VersionState.FAILED
        ]
        return max(able, key=lambda r: position(f"{version} {r.url}"), default=None)

    def _ring(self, version: str | None) -> Ring | None:
        try:
            return self._serving[version]
        except KeyError:
            pass  # not asked for since the last change
        serving = [replica for replica in self.replicas.values() if replica.serves(version)]
        ring = None
        if serving:
            urls = tuple(replica.url for replica in serving)
            ring = self._rings.get(urls) or self._rings.setdefault(urls, Ring(serving))
        self._serving[version] = ring
        return ring

    def _announce(self) -> None:
        self._serving.clear()
        self._changed.set()
        self._changed = asyncio.Event()
