"""Which replica answers: the one a conversation is at home on, unless it is busier than its share;
then the next; else the least busy.

Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018): a replica that
comes or goes moves only its own share of conversations, and none gets more than `1 + BOUND` times
its share of requests. Engines keep the key-value cache of a conversation's beginning, so a
conversation that stays saves its prefill.
"""

import math
from bisect import bisect
from collections.abc import Iterator, Sequence
from hashlib import blake2b

from adapters.engines.replica import Replica

# How far above its fair share of requests a home may be before a conversation goes elsewhere.
BOUND = 0.25
# Points per replica: shares of the ring then differ by about a tenth.
_POINTS = 96
# A replica's measured speed counts for at most so much more or less than the others'.
_MOST_WEIGHT = 4.0


def position(text: str) -> int:
    """A point on the ring of 2**64."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


class Ring:
    """Replicas that all hold the same; made once for each set of them."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = tuple(replicas)
        points = sorted(
            (position(f"{replica.url} {number}"), index)
            for index, replica in enumerate(self.replicas)
            for number in range(_POINTS if len(self.replicas) > 1 else 0)
        )
        self._positions = [point for point, _ in points]
        self._owners = [index for _, index in points]
        self.weigh()

    def weigh(self) -> None:
        """Take up the replicas' weights."""
        self.weight = sum(replica.weight for replica in self.replicas)

    def walk(self, key: str) -> Iterator[Replica]:
        """Every replica once, in the order in which `key` prefers them."""
        start = bisect(self._positions, position(key))
        seen: set[int] = set()
        for step in range(len(self._owners)):
            owner = self._owners[(start + step) % len(self._owners)]
            if owner not in seen:
                seen.add(owner)
                yield self.replicas[owner]
                if len(seen) == len(self.replicas):
                    return


def choose(
    ring: Ring, key: str | None, *, requests: int, without: frozenset[str] = frozenset()
) -> tuple[Replica, str] | None:
    """A replica, and why: `only`, `affinity`, `bounded` (its home is too busy), `least_loaded`.

    None when every one was tried already.

    Args:
        key: what should stay together, a session or a prompt's beginning; None for neither.
        requests: on all replicas of the pool, this one not counted.
        without: URLs that were tried already.
    """
    if len(ring.replicas) == 1:
        (replica,) = ring.replicas
        return None if replica.url in without else (replica, "only")
    if key is not None:
        share = (1 + BOUND) * (requests + 1) / ring.weight
        why = "affinity"
        for replica in ring.walk(key):
            if (
                replica.load + 1 <= math.ceil(share * replica.weight)
                and replica.url not in without
                and replica.breaker.allows()
            ):
                return replica, why
            why = "bounded"
    left = [replica for replica in ring.replicas if replica.url not in without]
    # Where every circuit is open, trying is better than refusing everybody.
    fit = [replica for replica in left if replica.breaker.allows()] or left
    if not fit:
        return None
    return min(fit, key=lambda r: ((r.load + 1) / r.weight, r.served)), "least_loaded"


def weigh(replicas: Sequence[Replica]) -> None:
    """Set every replica's weight from its measured speed."""
    measured = [r.seconds_per_token for r in replicas if r.seconds_per_token]
    mean = sum(measured) / len(measured) if measured else 1.0
    for replica in replicas:
        faster = mean / (replica.seconds_per_token or mean)
        replica.weight = min(max(faster, 1 / _MOST_WEIGHT), _MOST_WEIGHT)
