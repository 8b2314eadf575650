"""Which adapter versions a replica should hold, when there may be more than it has room for.

Pinned versions stay. What room is left goes to the versions used last: an engine loads a cold one
on demand in a fraction of a second, so little is lost by letting it go. Where not even the pinned
ones fit, they take turns in the same way.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.registry import Version


@dataclass(frozen=True, slots=True)
class Desired:
    """What a pool should serve.

    Args:
        pinned: held by every replica and never evicted, most important first.
        standby: held by every replica that has room.
        servable: everything that may be asked for, the above included, by name.
        retired: registered, and not to be served again.
    """

    pinned: tuple[str, ...] = ()
    standby: tuple[str, ...] = ()
    servable: Mapping[str, Version] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()


def residents(
    desired: Desired,
    *,
    busy: Collection[str],
    demanded: Sequence[str],
    held: Collection[str],
    used: Mapping[str, float],
    capacity: int,
) -> list[str]:
    """The versions one replica should hold, most important first.

    Args:
        busy: versions that are answering here.
        demanded: versions that requests wait for here, longest first.
        held: versions that are loaded now; a cold one stays while nobody needs its place.
        used: when each version was last asked for, in monotonic seconds.
        capacity: how many versions the replica may hold.
    """
    fits = len(desired.pinned) <= capacity
    fixed = desired.pinned if fits else ()
    cold = (*desired.pinned, *desired.standby, *sorted(held))
    # Stable: among versions never asked for, the order above decides.
    recent = sorted(cold, key=lambda version: -used.get(version, 0.0))
    ranked = dict.fromkeys((*fixed, *sorted(busy), *demanded, *recent))
    return [version for version in ranked if version in desired.servable][:capacity]
