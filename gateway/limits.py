"""How much feedback is taken: at what rate from a key, and how many pieces on an answer.

What it remembers is this process's, and of the keys and answers seen last.
"""

import math

from cachetools import LRUCache

from gateway.errors import BadRequest, RateLimited

_MOST_KEYS = 10_000
_MOST_ANSWERS = 4_096
_MINUTE = 60.0


class FeedbackLimits:
    """A token bucket for each key, which holds a minute's worth, and a cap for each answer."""

    def __init__(self, *, per_minute: int, per_answer: int) -> None:
        self._per_minute = per_minute
        self._per_answer = per_answer
        self._full: LRUCache[str, float] = LRUCache(_MOST_KEYS)
        self._lately: LRUCache[str, set[str]] = LRUCache(_MOST_ANSWERS)

    def spend(self, key: str, moment: float) -> None:
        """Take a token from the key's bucket at a `moment` (monotonic seconds).

        Raises RateLimited when there is none, with the seconds until there is.
        """
        each = _MINUTE / self._per_minute
        full = max(self._full.get(key, moment), moment) + each
        wait = full - moment - _MINUTE
        if wait > 1e-6:  # what adding up many parts of a minute may be off
            raise RateLimited(
                f"this key may give feedback {self._per_minute} times a minute "
                "(feedback.per_minute); send the rest later",
                math.ceil(wait),
            )
        self._full[key] = full

    def is_new(self, receipt: str, feedback: str, stored: frozenset[str]) -> bool:
        """Whether this piece of feedback is neither among those `stored` nor among those that were
        noted lately.

        Raises BadRequest for a new piece on an answer that has all it may have: waiting would not
        help, and clients repeat a 409 or a 429 by themselves.
        """
        known = stored | self._lately.get(receipt, frozenset())
        if feedback in known:
            return False
        if len(known) >= self._per_answer:
            raise BadRequest(
                f"{len(known)} pieces of feedback are on this answer, the most there may be "
                "(feedback.per_answer); none was added. A delivery that is repeated needs the "
                "same idempotency_key",
                param="id",
                code="too_much_feedback",
            )
        return True

    def note(self, receipt: str, feedback: str) -> None:
        """Remember a piece that was taken, until the store has it and longer."""
        self._lately.setdefault(receipt, set()).add(feedback)
