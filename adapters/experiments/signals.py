"""What a recorded answer says of itself, without anybody's feedback: a number, or none.

Refusals are found by how answers begin, in English; the list is short on purpose, to miss some
rather than to take an honest "the notes do not say" for one.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import blake2b
from math import nan
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.checks import Check
from adapters.experiments.assignment import Standing
from adapters.interactions import Outcome

REFUSAL = re.compile(
    r"\W*(?:(?:i['’]?m |i am )?(?:very |so |really )?(?:sorry|afraid)\b[^.!?]{0,40}?\b)?(?:but )?"
    r"(?:"
    r"(?:i|we) (?:can(?:no|['’])?t|cannot|can not|won['’]t|will not)"
    r" (?:help|assist|answer|provide|do|comply|fulfil|fulfill|give|share|discuss|support|continue)"
    r"|(?:i['’]m|i am|we are|we['’]re) (?:unable|not able|not allowed|not permitted) to"
    r"|as an? (?:ai|artificial|language model)\b"
    r"|i must (?:decline|refuse)|i (?:decline|refuse) to"
    r")",
    re.IGNORECASE,
)
_REFUSAL_CHARACTERS = 300

REGENERATION_SECONDS = 600.0
REASK_SECONDS = 1800.0
_REASK_SIMILARITY = 0.6
_WORD = re.compile(r"\w+")
_MOST_CHARACTERS = 4000


class Request(Struct):
    """What is read of a recorded body."""

    messages: list[Raw] | None = None
    prompt: Raw | None = None
    metadata: Any = None
    user: Any = None
    safety_identifier: Any = None


class Answer(Struct):
    """What is read of an interaction's record for every answer."""

    id: str
    created: float
    unit: str
    key: str
    outcome: Outcome
    total_ms: float
    prompt_tokens: int
    completion_tokens: int
    model: str
    endpoint: str
    requested_model: str
    router_version: str
    arm: str | None = None
    arm_propensity: float = nan
    standing: str = ""
    experiment_unit: str | None = None
    exposed: bool = False
    session: str | None = None
    index_version: str | None = None
    first_token_ms: float | None = None
    shadow_of: str | None = None


class Said(Answer):
    """… and what is larger, for those signals and slices that need it."""

    request: Request = msgspec.field(default_factory=Request)
    response: Mapping[str, Any] = msgspec.field(default_factory=dict)
    sources: tuple[str, ...] = ()

    @property
    def text(self) -> str | None:
        """What a complete answer said; None of others, and of calls of a tool."""
        text = self.response.get("text")
        calls = self.response.get("finish_reason") == "tool_calls"
        ended = self.outcome is Outcome.OK and not calls
        return text if ended and isinstance(text, str) else None


class Asked(Struct):
    """What a unit asked last: of its next question, this says whether it is the same again."""

    position: int
    created: float
    session: str | None
    turns: int
    digest: bytes
    words: frozenset[str]


def asked(answer: Said, position: int) -> Asked:
    """An answer's question, and where it stands among all answers."""
    text, turns = _question(answer.request)
    return Asked(
        position=position,
        created=answer.created,
        session=answer.session,
        turns=turns,
        digest=blake2b(text.encode(), digest_size=8).digest(),
        words=frozenset(_WORD.findall(text[:_MOST_CHARACTERS].lower())),
    )


def is_regeneration(before: Asked, after: Asked) -> bool:
    """Whether the same unit asks the same again from the same place of the conversation."""
    soon = after.created - before.created <= REGENERATION_SECONDS
    return soon and after.turns == before.turns and after.digest == before.digest


def is_reask(before: Asked, after: Asked) -> bool:
    """Whether the next question of a session has mostly the words of the one before it, further
    on in the conversation: the answer did not do."""
    if after.session != before.session or after.turns <= before.turns:
        return False
    if after.created - before.created > REASK_SECONDS or not after.words or not before.words:
        return False
    common = len(after.words & before.words)
    return common / len(after.words | before.words) >= _REASK_SIMILARITY


def _first_token(answer: Answer) -> float:
    return nan if answer.first_token_ms is None else answer.first_token_ms


def _total(answer: Answer) -> float:
    return answer.total_ms if answer.outcome is Outcome.OK else nan


def _tokens(answer: Answer) -> float:
    return float(answer.completion_tokens) if answer.outcome is Outcome.OK else nan


def _refusal(answer: Answer) -> float:
    if answer.outcome is not Outcome.OK or not isinstance(answer, Said):
        return nan
    text = answer.response.get("text")
    return float(bool(isinstance(text, str) and REFUSAL.match(text[:_REFUSAL_CHARACTERS])))


def _error(answer: Answer) -> float:
    return float(answer.outcome is Outcome.ERROR)


def _fallback(answer: Answer) -> float:
    if answer.standing != Standing.ASSIGNED or answer.outcome is Outcome.ERROR:
        return nan
    return float(not answer.exposed)


Signal = Callable[[Answer], float]


def checked(check: Check) -> Signal:
    """What a pack's check says of an answer, as a signal."""

    def read(answer: Answer) -> float:
        if not isinstance(answer, Said) or answer.text is None:
            return nan
        metadata = answer.request.metadata
        task = metadata.get("task") if isinstance(metadata, dict) else None
        passes = check.passes(answer.text, task=task, passages=len(answer.sources))
        return nan if passes is None else float(passes)

    return read


# Of answers that the arm itself gave.
OF_EXPOSED: Mapping[str, Signal] = {
    "first_token_ms": _first_token,
    "total_ms": _total,
    "completion_tokens": _tokens,
    "refusal": _refusal,
}
# Of every request that was assigned: what the arm could not answer is the point.
OF_ASSIGNED: Mapping[str, Signal] = {"error": _error, "fallback": _fallback}
# Of answers, by what their unit asks next: 0 unless it is so.
BY_NEXT: Mapping[str, Callable[[Asked, Asked], bool]] = {
    "regeneration": is_regeneration,
    "reask": is_reask,
}
NEED_TEXT = frozenset({"refusal", *BY_NEXT})


def _question(request: Request) -> tuple[str, int]:
    """The last user message as JSON text, and how many messages there are."""
    messages = request.messages or []
    for raw in reversed(messages):
        message = msgspec.json.decode(raw)
        if isinstance(message, dict) and message.get("role") == "user":
            return msgspec.json.encode(message.get("content")).decode(), len(messages)
    return (bytes(request.prompt).decode() if request.prompt is not None else ""), len(messages)
