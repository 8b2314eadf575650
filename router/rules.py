"""Rules that go before the router: who asks, and which words stand in the question."""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from router.features import shortened


class Asked(Struct, frozen=True):
    """What rules look at: `text` is what the router would read, `keys` are the id and the name of
    the caller's key, `model` is as the caller sent it."""

    text: str
    model: str
    keys: tuple[str, ...]
    metadata: Mapping[str, object]


class Rule(Struct, frozen=True):
    """All conditions must hold; an empty one holds of everything."""

    name: str
    target: str
    keys: frozenset[str] = frozenset()
    metadata: tuple[tuple[str, str], ...] = ()
    keywords: re.Pattern[str] | None = None
    models: frozenset[str] = frozenset()

    def fits(self, asked: Asked) -> bool:
        """Of a long text the same beginning and end count as for the router."""
        return (
            (not self.keys or not self.keys.isdisjoint(asked.keys))
            and (not self.models or asked.model in self.models)
            and all(asked.metadata.get(name) == value for name, value in self.metadata)
            and (self.keywords is None or bool(self.keywords.search(shortened(asked.text))))
        )


def any_of(keywords: Iterable[str]) -> re.Pattern[str] | None:
    """Finds one of these as whole words, in any case and with any space between; None of none."""
    escaped = [r"\s+".join(map(re.escape, keyword.split())) for keyword in keywords]
    return re.compile(rf"(?<!\w)(?:{'|'.join(escaped)})(?!\w)", re.I) if escaped else None
