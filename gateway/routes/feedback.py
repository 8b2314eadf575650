"""`POST /v1/feedback`: what a user or a system says of an answer, by its receipt."""

import asyncio
import hashlib
import time
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from adapters.errors import JournalFull, StoreUnavailable
from adapters.interactions import Feedback
from gateway.deps import CallerDep, Parts, PartsDep
from gateway.errors import BadRequest, Overloaded

api = APIRouter(tags=["inference"])

Receipt = Annotated[str, Field(min_length=1, max_length=128)]
LongText = Annotated[str, Field(max_length=100_000)]


class FeedbackBody(BaseModel):
    """CONTRACT section 4. `demonstration` is a corrected answer; `preferred_over` another answer's
    receipt."""

    model_config = ConfigDict(extra="forbid")

    id: Receipt
    metric: str = Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")
    value: (
        StrictBool
        | StrictInt
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
    for param, receipt in (("id", body.id), ("preferred_over", body.preferred_over)):
        if receipt is not None:
            await _require_known(parts, receipt, param)
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
    try:
        parts.journal.append("feedback", feedback)
    except JournalFull as exc:
        parts.telemetry.journal_dropped.add(1)
        raise Overloaded("feedback cannot be stored now; send it again later") from exc
    parts.telemetry.count_feedback(body.metric, await _arm(parts, body.id))
    return Accepted(id=body.id)


async def _arm(parts: Parts, receipt: str) -> str:
    """The arm for the metric's label; feedback counts as accepted also while the store is down."""
    try:
        return await asyncio.to_thread(parts.store.arm_of, receipt) or ""
    except StoreUnavailable:
        return ""


async def _require_known(parts: Parts, receipt: str, param: str) -> None:
    # The journals first: a record leaves one once the store has it, so it cannot slip through.
    if parts.journal.holds(receipt) or await _held_by_sibling(parts, receipt):
        return
    if not await asyncio.to_thread(parts.store.has_interaction, receipt):
        raise BadRequest(
            f"no answer with the id {receipt!r} is on record",
            param=param,
            code="unknown_receipt",
            status=404,
        )


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
    return "fb-" + hashlib.sha256(f"{key}\0{body.id}\0{said}".encode()).hexdigest()[:40]
