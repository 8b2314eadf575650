"""How far a domain's questions are from those before its champion was made.

The signals are the router's (`router.reference`): what its first stage makes of a question.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from adapters.interactions import JudgedInteraction
from adapters.registry import Aliases, Registry
from adapters.store import Store, instant
from router.conversation import text_of, user_turns
from router.errors import RouterError
from router.quality.drift import FEWEST, most_moved
from router.reference import WINDOW
from router.router import Router, current_folder

_SECONDS = 600.0  # between two looks at the log of one domain


class DomainDrift:
    """Call it with a domain: the largest index beyond noise, None where it cannot be told."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        routers: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._registry = registry
        self._routers = routers
        self._clock = clock
        self._known: dict[str, tuple[float, float | None]] = {}

    def __call__(self, domain: str) -> float | None:
        until, value = self._known.get(domain, (0.0, None))
        if self._clock() >= until:
            value = self._measure(domain)
            self._known[domain] = self._clock() + _SECONDS, value
        return value

    def _measure(self, domain: str) -> float | None:
        champion = self._registry.aliases().get(domain, Aliases()).champion
        try:
            folder = current_folder(self._routers)
            router = None if folder is None else Router.load(folder)
        except RouterError:
            return None
        if champion is None or router is None:
            return None
        made = instant(self._registry.version(champion).manifest.created)
        then = _last_questions(self._store.judged(domain, until=made))
        now = _last_questions(self._store.judged(domain, made))
        if min(len(then), len(now)) < FEWEST:
            return None
        return most_moved(router, then, now)


def _last_questions(answered: Iterable[JudgedInteraction]) -> list[str]:
    texts: deque[str] = deque(maxlen=WINDOW)
    for item in answered:
        messages = item.interaction.request.get("messages")
        if item.interaction.shadow_of is None and isinstance(messages, list):
            if turns := user_turns(messages):
                texts.append(text_of(tuple(turns)))
    return list(texts)
