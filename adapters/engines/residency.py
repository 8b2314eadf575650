"""Which adapter versions a replica should hold, when there may be more than it has room for.

Pinned versions stay. What room is left goes to the versions used last: an engine loads a cold one
on demand in a fraction of a second, so little is lost by letting it go. Where not even the pinned
ones fit, they take turns in the same way.
"""

from collections.abc import Collection, Mapping
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
    demanded: Collection[str],
    held: Collection[str],
    used: Mapping[str, float],
    capacity: int,
) -> list[str]:
    """The versions one replica should hold, most important first.

    Args:
        demanded: versions that requests wait for here.
        held: versions that are loaded now; a cold one stays while nobody needs its place.
        used: when each version was last asked for, in monotonic seconds.
        capacity: how many versions the replica may hold.
    """
    fits = len(desired.pinned) <= capacity
    fixed = desired.pinned if fits else ()
    others = (*desired.pinned, *desired.standby, *demanded, *sorted(held))
    rest = dict.fromkeys(v for v in others if v in desired.servable and v not in fixed)
    # Stable: among versions never asked for, the order above decides.
    recent = sorted(rest, key=lambda version: -used.get(version, 0.0))
    return [*fixed, *recent[: capacity - len(fixed)]]
