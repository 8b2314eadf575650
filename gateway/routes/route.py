"""`POST /v1/route`: the dry run. The same plan as a real request, without an engine and without a
record."""

from typing import Any

from fastapi import APIRouter, Request

from gateway.deps import CallerDep, PartsDep
from gateway.planning import Plan
from gateway.protocols.answers import source_list
from gateway.protocols.requests import Endpoint, parse_request

api = APIRouter(tags=["inference"])


@api.post("/v1/route")
async def route(request: Request, parts: PartsDep, caller: CallerDep) -> dict[str, Any]:
    """What would happen to this chat request: target, probabilities, arm and passages."""
    parsed = parse_request(Endpoint.CHAT, await request.body(), dict(request.headers.raw))
    return describe(parts.pipeline.preview(parsed, caller.key))


def describe(plan: Plan) -> dict[str, Any]:
    """A plan in the shape of CONTRACT section 5, `route`."""
    decision, assignment = plan.decision, plan.assignment
    return {
        "target": decision.target,
        "probability": decision.probability,
        "probabilities": dict(decision.probabilities),
        "reason": str(decision.reason),
        "model": plan.candidates[0].model,
        "experiment": assignment.experiment if assignment else None,
        "arm": assignment.arm.name if assignment else None,
        "propensity": assignment.propensity if assignment else 1.0,
        "sources": source_list(plan.passages),
        "router_version": decision.router_version,
        "index_version": plan.index_version,
    }
