"""`POST /v1/route`: the dry run. The same plan as a real request, without an engine and without a
record."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from msgspec import to_builtins

from gateway.catalog import Catalog
from gateway.deps import CallerDep, PartsDep
from gateway.planning import Plan
from gateway.protocols.answers import source_list
from gateway.protocols.requests import Endpoint, InferenceRequest, parse_request
from gateway.routing import turns_of
from router.explain import explain as why

api = APIRouter(tags=["inference"])


@api.post("/v1/route")
async def route(
    request: Request, parts: PartsDep, caller: CallerDep, explain: bool = False
) -> dict[str, Any]:
    """What would happen to this chat request: target, probabilities, arm and passages; with
    `?explain=true` also why the router decides as it does."""
    parsed = parse_request(Endpoint.CHAT, await request.body(), dict(request.headers.raw))
    plan = await parts.pipeline.preview(parsed, caller)
    if not explain:
        return describe(plan)
    explanation = await asyncio.to_thread(explained, parts.catalog.now, parsed, plan)
    return {**describe(plan), "explanation": explanation}


def explained(catalog: Catalog, request: InferenceRequest, plan: Plan) -> dict[str, Any] | None:
    """What spoke for the target and against the runner-up, and the nearest examples; None where
    no router decided by words. Takes milliseconds."""
    cascade = catalog.routers.get(plan.decision.router_version)
    if cascade is None:
        return None
    found: dict[str, Any] | None = to_builtins(
        why(cascade.first, turns_of(request), cascade.second)
    )
    return found


def describe(plan: Plan) -> dict[str, Any]:
    """A plan in the shape of CONTRACT section 5, `route`."""
    decision, assignment = plan.decision, plan.assignment
    return {
        "target": decision.target,
        "probability": decision.probability,
        "probabilities": dict(decision.probabilities),
        "reason": str(decision.reason),
        "asked": decision.asked,
        "rule": decision.rule,
        "stage": decision.stage,
        "unsure": decision.unsure,
        "propensity": decision.propensity,
        "model": plan.candidates[0].model,
        "experiment": assignment.experiment if assignment else None,
        "arm": assignment.arm.name if assignment else None,
        "arm_propensity": assignment.propensity if assignment else 1.0,
        "sources": source_list(plan.passages),
        "router_version": decision.router_version,
        "index_version": plan.index_version,
    }
