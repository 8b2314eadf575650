"""The gateway's side of the process that watches experiments (`watch`), which the gateway itself
never imports: it brings the statistics."""

from msgspec import Struct

from adapters.child import Child

_GRACE_SECONDS = 1.0  # every move is one transaction: what is cut off has not happened


class Places(Struct, frozen=True):
    """Where everything is, by URL and path; `every` is the seconds between looks."""

    store_url: str
    artifacts: str
    cache: str
    packs: tuple[str, ...]
    every: float


def watcher(places: Places) -> Child:
    """The process, not started yet."""
    return Child("adapters.experiments.watch", places, grace=_GRACE_SECONDS)
