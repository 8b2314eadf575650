"""A prompt that begins as another did need not be computed again: its keys and values are copied
from the row that has them.

Prompts mostly differ in their last words only: after the same instructions, the same examples or
the conversation so far. This is vLLM's automatic prefix caching (vllm/v1/core/kv_cache_manager.py)
with whole rows for blocks: a row is remembered, finished or not, until another sequence needs it.
"""

import weakref
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from adapters.engines.embedded.lora import Adapter

# Fewer tokens are computed as quickly as they are looked for; a block of vLLM's cache is as long.
_LEAST = 16


@dataclass(slots=True)
class Held:
    """The tokens of which a row holds keys and values, and the adapter they were computed with."""

    # Weak: an unloaded adapter's memory is not kept for what may never be asked again.
    adapter: weakref.ref[Adapter] | None = None
    tokens: list[int] = field(default_factory=list)

    @classmethod
    def by(cls, adapter: Adapter | None, tokens: Items[int]) -> "Held":
        """Tokens computed with an adapter; None is the base model."""
        return cls(None if adapter is None else weakref.ref(adapter), list(tokens))

    def first(self, length: int) -> "Held":
        """The same, of the first `length` tokens."""
        return Held(self.adapter, self.tokens[:length])

    def shared(self, other: "Held") -> int:
        """Tokens at the beginning of both, computed with the same adapter."""
        if self.adapter != other.adapter:
            return 0
        # By halves, as lists are compared in C.
        low, high = 0, min(len(self.tokens), len(other.tokens))
        while low < high:
            middle = (low + high + 1) // 2
            if self.tokens[low:middle] == other.tokens[low:middle]:
                low = middle
            else:
                high = middle - 1
        return low


def longest(rows: Items[Held], wanted: Held) -> tuple[int, int]:
    """The row that begins with most of what is wanted, and how many tokens; 0 if not worth it."""
    lengths = [row.shared(wanted) for row in rows]
    most = max(lengths)
    return lengths.index(most), most if most >= _LEAST else 0
