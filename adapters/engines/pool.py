"""One engine as a set of replicas: who is up, who holds a version, who is least busy."""

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.reconcile import Reconciler, Replica


@dataclass(frozen=True, slots=True)
class Lease:
    """A replica chosen for one request; give it back with `Pool.release`."""

    url: str


class Pool:
    """Chooses replicas of one engine. A pool without a reconciler is a remote provider: always up,
    no adapters."""

    def __init__(self, urls: tuple[str, ...], reconciler: Reconciler | None) -> None:
        self._urls = tuple(url.rstrip("/") for url in urls)
        self._reconciler = reconciler
        self._outstanding = dict.fromkeys(self._urls, 0)

    @property
    def replicas(self) -> Mapping[str, Replica]:
        """The latest picture of every replica, by URL."""
        if self._reconciler is None:
            return {url: Replica(url, up=True) for url in self._urls}
        return self._reconciler.replicas

    def up(self) -> bool:
        """Whether any replica answers."""
        return any(replica.up for replica in self.replicas.values())

    def serves(self, version: str) -> bool:
        """Whether any replica may be asked for `version`."""
        return any(replica.ready(version) for replica in self.replicas.values())

    def lease(self, version: str | None, *, without: frozenset[str] = frozenset()) -> Lease | None:
        """The least busy replica that is up and, for a version, holds it; None when there is
        none."""
        fit = [
            url
            for url, replica in self.replicas.items()
            if url not in without and (replica.up if version is None else replica.ready(version))
        ]
        if not fit:
            return None
        url = min(fit, key=self._outstanding.__getitem__)
        self._outstanding[url] += 1
        return Lease(url)

    def release(self, lease: Lease) -> None:
        """The request on this replica is over, however it ended."""
        self._outstanding[lease.url] -= 1
