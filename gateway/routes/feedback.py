"""`POST /v1/feedback`: what a user or a system says of an answer, by its receipt."""

import asyncio
import hashlib
import time
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from adapters.errors import JournalFull, StoreUnavailable
from adapters.experiments.columns import FEEDBACK
from adapters.experiments.measures import CHECK, JUDGE
from adapters.interactions import Feedback
from adapters.store import OnRecord
from gateway.deps import CallerDep, Parts, PartsDep
from gateway.errors import BadRequest, Overloaded

api = APIRouter(tags=["inference"])

Receipt = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
Whole = Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]
LongText = Annotated[str, Field(max_length=100_000)]

_RESERVED = {
    JUDGE: "judges write it",
    CHECK: "it is computed from the answer",
    FEEDBACK: "experiments write it before the name of a metric; send the name alone",
}
_OURS = "fb-"  # before the ids that are made here; judges make others


class FeedbackBody(BaseModel):
    """CONTRACT section 4. `demonstration` is a corrected answer; `preferred_over` another answer's
    receipt."""

    model_config = ConfigDict(extra="forbid")

    id: Receipt
    metric: str = Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")
    value: (
        StrictBool
        | Whole
        | Annotated[StrictFloat, Field(allow_inf_nan=False)]
        | Annotated[StrictStr, Field(max_length=10_000)]
    )
    comment: LongText | None = None
    demonstration: LongText | None = None
    preferred_over: Receipt | None = None
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class Accepted(BaseModel):
    """The answer to feedback; `id` is the receipt it was given for."""

    id: str
    accepted: bool = True


@api.post("/v1/feedback", status_code=202)
async def give_feedback(body: FeedbackBody, parts: PartsDep, caller: CallerDep) -> Accepted:
    """Late, repeated and out-of-order feedback is accepted; unknown receipts get 404."""
    parts.limits.spend(caller.key, time.monotonic())
    for prefix, reason in _RESERVED.items():
        if body.metric.startswith(prefix):
            raise BadRequest(f"metric: {prefix!r} is reserved, {reason}", param="metric")
    answer = await _on_record(parts, body.id, "id")
    if body.preferred_over is not None:
        await _on_record(parts, body.preferred_over, "preferred_over")
    feedback = Feedback(
        id=_identity(body, caller.key),
        interaction_id=body.id,
        created=time.time(),
        metric=body.metric,
        value=body.value,
        comment=body.comment,
        demonstration=body.demonstration,
        preferred_over=body.preferred_over,
        key=caller.key,
    )
    stored = frozenset(one for one in answer.feedback if one.startswith(_OURS))
    if parts.limits.is_new(body.id, feedback.id, stored):
        _append(parts, feedback)
        parts.telemetry.count_feedback(body.metric, answer.arm or "")
    return Accepted(id=body.id)


def _append(parts: Parts, feedback: Feedback) -> None:
    try:
        parts.journal.append("feedback", feedback)
    except JournalFull as exc:
        parts.telemetry.journal_dropped.add(1)
        raise Overloaded("feedback cannot be stored now; send it again later") from exc
    parts.limits.note(feedback.interaction_id, feedback.id)


async def _on_record(parts: Parts, receipt: str, param: str) -> OnRecord:
    """What is known of an answer: nothing yet while a journal holds it. While the store is down,
    or lacks what a gateway left behind that was killed, every receipt is taken for one of an
    answer, as the feedback may not come again."""
    # The journals first: a record leaves one once the store has it, so it cannot slip through.
    held = (
        parts.journal.holds(receipt)
        or await _held_by_sibling(parts, receipt)
        or await asyncio.to_thread(parts.journal.has_orphans)
    )
    try:
        found = await asyncio.to_thread(parts.store.on_record, receipt)
    except StoreUnavailable:
        return OnRecord()
    if found is None and not held:
        raise BadRequest(
            f"no answer with the id {receipt!r} is on record",
            param=param,
            code="unknown_receipt",
            status=404,
        )
    return found or OnRecord()


async def _held_by_sibling(parts: Parts, receipt: str) -> bool:
    try:
        return parts.siblings is not None and await parts.siblings.hold(receipt)
    except TimeoutError as exc:
        raise Overloaded("whose answer this is cannot be told now; send it again later") from exc


def _identity(body: FeedbackBody, key: str) -> str:
    """Equal for deliveries that are the same feedback.

    With an idempotency key that is its word; without one, the same key saying the same of the same
    answer is a repeat.
    """
    said = body.idempotency_key or body.model_dump_json(exclude={"idempotency_key"})
    return _OURS + hashlib.sha256(f"{key}\0{body.id}\0{said}".encode()).hexdigest()[:40]
