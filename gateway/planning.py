"""From a request to a plan: target, arm, passages and the models to try in order. No engine is
asked, nothing is logged.

The dry run (`/v1/route`, `turnout route`) is exactly this.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from adapters.experiments.assignment import Assignment, Enrolment, Standing, Subject, enrol
from adapters.experiments.design import BASE_ARM, Arm
from adapters.interactions import unit_digest
from adapters.registry import Aliases
from gateway.access import Caller
from gateway.catalog import Catalog
from gateway.errors import BadRequest
from gateway.protocols.requests import Endpoint, InferenceRequest
from gateway.routing import Routing, opening_of, query_of
from gateway.settings import Engine
from retrieval.errors import IndexingError
from retrieval.passages import Passage
from retrieval.prompt import ground
from retrieval.retriever import Retriever
from router.decision import NONE, Decision


class Candidate(Struct, frozen=True):
    """A model to ask: an adapter version, or with `version` None the engine's base model."""

    engine: Engine
    version: str | None

    @property
    def model(self) -> str:
        return self.version or self.engine.model


class Plan(Struct, frozen=True):
    """What will happen to a request.

    Args:
        candidates: models in the order they are tried; the first is what was decided.
        pinned: the caller named the exact version, so it is worth waiting for.
        affinity: what should stay on one replica: the unit, or else how the conversation begins.
        enrolment: its part in an experiment; None where no experiment asks for this unit.
        as_assigned: the router, the first candidate and the passages are what the arm asks for.
        index_version: where the passages come from; None without passages.
    """

    decision: Decision
    candidates: tuple[Candidate, ...]
    pinned: bool = False
    affinity: str = ""
    enrolment: Enrolment | None = None
    as_assigned: bool = True
    passages: tuple[Passage, ...] = ()
    index_version: str | None = None
    system_prompt: str = ""
    seconds: Mapping[str, float] = NONE

    @property
    def assignment(self) -> Assignment | None:
        """The arm; None outside experiments, and for units that are in none of the arms."""
        return self.enrolment.assignment if self.enrolment is not None else None

    def body(self, request: InferenceRequest, candidate: Candidate) -> dict[str, Any]:
        """The engine's body: the caller's, with our model name and the grounded messages."""
        body = {**request.body, "model": candidate.model}
        if request.endpoint is Endpoint.CHAT:
            messages: list[dict[str, Any]] = request.messages
            if self.system_prompt and not any(
                m["role"] in ("system", "developer") for m in messages
            ):
                messages = [{"role": "system", "content": self.system_prompt}, *messages]
            body["messages"] = ground(messages, self.passages) if self.passages else messages
        if request.stream:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return body


class Planner:
    """Plans by a catalog: routing finds the target, the retriever passages. Knows nothing of
    replicas."""

    def __init__(self, retriever: Retriever, routing: Routing) -> None:
        self._retriever = retriever
        self._routing = routing

    async def plan(
        self, catalog: Catalog, request: InferenceRequest, subject: Subject, caller: Caller
    ) -> Plan:
        """Raises BadRequest for a model or domain nobody serves, Forbidden for one that this key
        may not use."""
        started = time.perf_counter()
        routed = await self._routing.decide(catalog, request, subject, caller)
        decision, version, enrolment = routed.decision, routed.version, routed.enrolment
        decided = time.perf_counter()
        if enrolment is None and version is None:
            enrolment = enrol(catalog.experiments.get(decision.target, ()), subject)
        arm = enrolment.assignment.arm if enrolment and enrolment.assignment else None
        assigned = time.perf_counter()
        seconds = {"route": decided - started, "assign": assigned - decided}
        passages: tuple[Passage, ...] = ()
        searched = None
        if decision.target in catalog.domains:
            passages, searched = self._passages(catalog, request, decision.target, arm)
            seconds["retrieve"] = time.perf_counter() - assigned
        return Plan(
            decision=decision,
            candidates=_candidates(catalog, decision.target, arm.model if arm else version),
            pinned=version is not None,
            affinity=_affinity(request),
            enrolment=enrolment,
            as_assigned=arm is None or _is_there(catalog, decision.target, arm, searched),
            passages=passages,
            index_version=searched if passages else None,
            system_prompt=_system_prompt(catalog, decision.target, arm),
            seconds=seconds,
        )

    def as_shadow(
        self, catalog: Catalog, request: InferenceRequest, seen: Plan, shadow: Assignment
    ) -> Plan:
        """What a shadow arm makes of a plan: with its own model and prompt and, unless it names an
        index, the same passages."""
        arm, unit = shadow.arm, seen.enrolment.unit if seen.enrolment else ""
        target, passages, searched = seen.decision.target, seen.passages, seen.index_version
        if arm.index is not None:
            passages, searched = self._passages(catalog, request, target, arm)
        return replace(
            seen,
            candidates=_candidates(catalog, target, arm.model)[:1],
            enrolment=Enrolment(shadow.experiment, Standing.SHADOW, unit, shadow),
            as_assigned=_is_there(catalog, target, arm, searched),
            passages=passages,
            index_version=searched if passages else None,
            system_prompt=_system_prompt(catalog, target, arm),
        )

    def _passages(
        self,
        catalog: Catalog,
        request: InferenceRequest,
        domain: str,
        arm: Arm | None,
    ) -> tuple[tuple[Passage, ...], str | None]:
        """Passages, and the version of the index that was searched: the caller's, else the arm's,
        else the current one, which is empty where there is none. None if nothing was searched."""
        pack, query = catalog.domains[domain].pack, query_of(request)
        top_k = pack.top_k if request.extras.top_k is None else request.extras.top_k
        if top_k == 0 or not query or request.endpoint is not Endpoint.CHAT:
            return (), None

        def found(version: str | None) -> tuple[Passage, ...]:
            return tuple(
                self._retriever.search(
                    domain, query, top_k=top_k, min_score=pack.min_score, version=version
                )
            )

        if (own := request.extras.index) is not None:
            try:
                return found(own), own
            except IndexingError as exc:
                raise BadRequest(str(exc), param="turnout.retrieval.index", status=404) from exc
        if arm is not None and arm.index is not None:
            with suppress(IndexingError):  # it is gone: the record says that the arm did not answer
                return found(arm.index), arm.index
        return found(None), self._retriever.versions().get(domain, "")


def unit_of(request: InferenceRequest, key: str) -> Subject:
    """Who is assigned: what the request names, else the key."""
    named = request.body.get("safety_identifier") or request.body.get("user")
    user = named if isinstance(named, str) else None
    # The request's unit is the first that is present: what is not the user names the session.
    session = request.unit if request.unit != user else request.extras.session
    metadata = request.body.get("metadata")
    return Subject(
        unit=unit_digest(request.unit or key),
        key=key,
        session=session,
        user=user,
        metadata=metadata if isinstance(metadata, dict) else None,
    )


def _affinity(request: InferenceRequest) -> str:
    """The unit; without one how the conversation begins."""
    return request.unit or opening_of(request)


def _system_prompt(catalog: Catalog, target: str, arm: Arm | None) -> str:
    if arm is not None and arm.prompt is not None:
        return arm.prompt
    domain = catalog.domains.get(target)
    return domain.pack.system_prompt if domain is not None else ""


def _candidates(catalog: Catalog, target: str, model: str | None) -> tuple[Candidate, ...]:
    """The assigned or pinned model; then of a tier the decided one, of a domain the champion, the
    one before it and the base (CONTRACT section 7)."""
    if target in catalog.tiers:
        decided = _of_tier(catalog, target)
        if model is None or model == target or model not in catalog.tiers:
            return (decided,)
        return _of_tier(catalog, model), decided
    engine = catalog.domains[target].engine
    if model == BASE_ARM:
        return (Candidate(engine, None),)
    aliases = catalog.aliases.get(target, Aliases())
    chain = dict.fromkeys((model, aliases.champion, aliases.previous))
    versions = [name for name in chain if name in catalog.versions]
    return tuple(Candidate(engine, name) for name in (*versions, None))


def _of_tier(catalog: Catalog, tier: str) -> Candidate:
    return Candidate(catalog.engine(tier), None)


def _is_there(catalog: Catalog, target: str, arm: Arm, searched: str | None) -> bool:
    """Whether all that the arm names still is there, and no other index was `searched`."""
    if arm.router is not None:
        return arm.router in catalog.routers
    if arm.index is not None and searched not in (None, arm.index):
        return False
    if target in catalog.tiers:
        return arm.model in catalog.tiers
    return arm.model == BASE_ARM or arm.model in catalog.versions
