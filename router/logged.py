"""A routed query as the log has it: what was decided, how likely that was, and how it went. Whoever
keeps the log makes these; nothing here knows where it is kept."""

from collections.abc import Mapping

from msgspec import Struct

from router.conversation import text_of


class Logged(Struct, frozen=True):
    """One answered request.

    Args:
        turns: the user's last turns as the router read them, oldest first; a prompt is one.
        target: where it went; `general` for every general tier.
        propensity: the chance `target` had of being chosen.
        probability: of the classifier's best label.
        reason: the decision's `Reason`, as text; a log may be older than this code.
        created: unix seconds.
        unit: who asked, as a digest: the user if the request names one, else the session or key.
        ok: it was answered, by what was decided and not by what stood in.
        rewards: the newest feedback by metric as numbers, praise and True as 1, blame and False 0.
        demonstrated: somebody wrote the answer it should have been.
        cost: in the unit of the configured prices; None where the target has none.
        train: may be learned from; otherwise it may be counted, no more.
    """

    turns: tuple[str, ...]
    target: str
    propensity: float
    probability: float
    reason: str
    router_version: str
    created: float
    unit: str
    session: str | None
    ok: bool
    rewards: Mapping[str, float]
    demonstrated: bool
    cost: float | None
    total_ms: float
    train: bool

    @property
    def text(self) -> str:
        """The last turn, a short one with the one before it."""
        return text_of(self.turns)
