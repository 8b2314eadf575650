"""The full record of one answered request, and the feedback that refers to it.

Plain values: how they travel is the journal's business, where they end is the store's.
"""

import hashlib
from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict


def unit_digest(sender: str) -> str:
    """A unit of assignment as 32 hex digits: equal for equal senders, and not readable as one."""
    return hashlib.blake2b(sender.encode(), digest_size=16).hexdigest()


class Outcome(StrEnum):
    """How a request ended, as the caller saw it."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"


class Interaction(Struct, frozen=True):
    """One answered request; `id` is the response's id, the receipt for feedback. Times: unix
    seconds, milliseconds.

    `standing` is the request's part in `experiment` (assigned, holdout, ineligible, shadow), and
    `experiment_unit` what was assigned; `exposed` says that the arm itself gave the answer, not
    what the request fell back to. A shadow's answer, which nobody saw, names the one that was seen
    in `shadow_of`.
    """

    id: str
    created: float
    endpoint: str
    key: str
    unit: str
    session: str | None
    requested_model: str
    target: str
    model: str
    probability: float
    reason: str
    propensity: float
    router_version: str
    experiment: str | None
    arm: str | None
    arm_propensity: float
    index_version: str | None
    sources: tuple[str, ...]
    request: dict[str, Any]
    response: dict[str, Any]
    prompt_tokens: int
    completion_tokens: int
    outcome: Outcome
    error: str | None
    overhead_ms: float
    first_token_ms: float | None
    total_ms: float
    train: bool
    standing: str = ""
    experiment_unit: str | None = None
    exposed: bool = False
    shadow_of: str | None = None

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready dictionary; `from_record` is its inverse."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Interaction":
        values = dict(record)
        values["sources"] = tuple(values["sources"])
        values["outcome"] = Outcome(values["outcome"])
        return cls(**values)


class Feedback(Struct, frozen=True):
    """What a user or a system said of one answer. `id` makes repeated deliveries one."""

    id: str
    interaction_id: str
    created: float
    metric: str
    value: bool | float | str | None
    comment: str | None = None
    demonstration: str | None = None
    preferred_over: str | None = None
    key: str = ""

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready dictionary; `from_record` is its inverse."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Feedback":
        return cls(**record)


class JudgedInteraction(Struct, frozen=True):
    """An interaction with all feedback on it, oldest first."""

    interaction: Interaction
    feedback: tuple[Feedback, ...] = ()
