"""`POST /v1/decisions`: the router itself, in the shape of OpenAI's Decisions API."""

import time
from typing import Any

from fastapi import APIRouter

from adapters.experiments.design import ANY_TARGET
from adapters.interactions import Outcome
from gateway.deps import CallerDep, Parts, PartsDep
from gateway.errors import BadRequest
from gateway.protocols.decisions import DecisionBody, answer, messages_of
from router.conversation import user_turns
from router.decision import GENERAL, Decision
from router.errors import ArtefactError
from router.second.stage import Cascade

api = APIRouter(tags=["inference"])

_NO_TOKENS = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
}


@api.post("/v1/decisions")
async def decide(body: DecisionBody, parts: PartsDep, _caller: CallerDep) -> dict[str, Any]:
    """Which target the input is for: a choice between targets, or `Is this about TARGET?`.

    Probabilities are the router's own; rules, prices and exploration play no part. No tokens are
    used.
    """
    started = time.perf_counter()
    catalog = parts.catalog.now
    cascade = _router(parts, body.model)
    turns = user_turns(messages_of(body))
    decision = await parts.routing.judge(catalog, cascade, turns)
    targets = tuple(dict.fromkeys((*cascade.first.labels, GENERAL)))
    answers = [
        answer(position, question, decision.probabilities, targets)
        for position, question in enumerate(body.questions)
    ]
    _count(parts, decision, time.perf_counter() - started)
    return {"answers": answers, "model": decision.router_version, "usage": _NO_TOKENS}


def _router(parts: Parts, model: str) -> Cascade:
    catalog = parts.catalog.now
    if catalog.settings.aliases.get(model, model) != ANY_TARGET:
        raise BadRequest(
            f"the model {model!r} answers no decisions; ask for {ANY_TARGET!r}",
            param="model",
            code="model_not_found",
            status=404,
        )
    if catalog.cascade is None:
        raise ArtefactError("there is no router yet; make one with: turnout router fit")
    return catalog.cascade


def _count(parts: Parts, decision: Decision, seconds: float) -> None:
    telemetry, target = parts.telemetry, decision.target
    telemetry.requests.add(1, "decisions", target, "router", Outcome.OK)
    telemetry.request_seconds.observe(seconds, "decisions", target)
    telemetry.decisions.add(1, target, decision.reason)
    telemetry.route_confidence.observe(decision.probability, target)
