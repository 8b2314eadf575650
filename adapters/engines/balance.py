"""Which replica answers: the one a conversation is at home on, unless it is busier than its share;
else the least busy.

Homes are found by rendezvous hashing (Thaler and Ravishankar, 1998): a replica that comes or goes
moves only its own share of conversations. The bound on load is that of Mirrokni, Thorup and
Zadimoghaddam, Consistent Hashing with Bounded Loads (2018). Engines keep the key-value cache of a
conversation's prefix, so a conversation that stays saves its prefill.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from adapters.engines.replica import Replica

# How far above its fair share of requests a home may be before a conversation goes elsewhere.
BOUND = 0.25
# A replica's measured speed counts for at most so much more or less than the others'.
_MOST_WEIGHT = 4.0


@dataclass(frozen=True, slots=True)
class Choice:
    """A replica, and why it was chosen: `only`, `affinity`, `bounded` (its home is too busy) or
    `least_loaded`."""

    replica: Replica
    why: str


def rank(url: str, key: str) -> bytes:
    """A replica's rendezvous rank for a key; the home is where it is highest."""
    return blake2b(f"{key}\0{url}".encode(), digest_size=8).digest()


def choose(replicas: Sequence[Replica], key: str | None) -> Choice:
    """Choose among replicas that all hold what is asked for.

    Args:
        key: what should stay together, a session or a prompt's beginning; None for neither.
    """
    if len(replicas) == 1:
        return Choice(replicas[0], "only")
    weights = _weights(replicas)
    if key is not None:
        total = sum(replica.load for replica in replicas) + 1
        homes = sorted(replicas, key=lambda replica: rank(replica.url, key), reverse=True)
        for replica in homes:
            share = weights[replica.url] / sum(weights.values())
            if replica.load + 1 <= math.ceil((1 + BOUND) * total * share):
                return Choice(replica, "affinity" if replica is homes[0] else "bounded")
    least = min(replicas, key=lambda r: ((r.load + 1) / weights[r.url], r.served))
    return Choice(least, "least_loaded")


def _weights(replicas: Sequence[Replica]) -> dict[str, float]:
    """Relative speed by URL, around 1: measured seconds per token against their mean."""
    measured = [r.seconds_per_token for r in replicas if r.seconds_per_token]
    mean = sum(measured) / len(measured) if measured else 1.0
    return {
        replica.url: min(
            max(mean / (replica.seconds_per_token or mean), 1 / _MOST_WEIGHT), _MOST_WEIGHT
        )
        for replica in replicas
    }
