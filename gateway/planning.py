"""From a request to a plan: target, arm, passages and the models to try in order. Pure: no engine
is asked, nothing is logged.

The dry run (`/v1/route`, `turnout route`) is exactly this.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from adapters.experiments.assignment import Assignment, Enrolment, Standing, Subject, enrol
from adapters.experiments.design import ANY_TARGET, BASE_ARM, Arm
from adapters.interactions import unit_digest
from adapters.registry import Aliases
from gateway.catalog import Catalog
from gateway.errors import BadRequest
from gateway.protocols.requests import Endpoint, InferenceRequest
from gateway.settings import Engine
from retrieval.errors import IndexingError
from retrieval.passages import Passage
from retrieval.prompt import ground
from retrieval.retriever import Retriever
from router.decision import NONE, Decision, Reason
from router.policy import query_text

_AFFINITY_CHARACTERS = 500


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
    """Decides by a catalog. Needs the retriever for passages; knows nothing of replicas."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever

    def plan(self, catalog: Catalog, request: InferenceRequest, subject: Subject) -> Plan:
        """Raises BadRequest for a model or domain nobody serves."""
        started = time.perf_counter()
        query = query_text(request.messages) if request.messages else request.prompt
        decision, version, enrolment = _decide(catalog, request, query, subject)
        routed = time.perf_counter()
        if enrolment is None and version is None:
            enrolment = enrol(catalog.experiments.get(decision.target, ()), subject)
        arm = enrolment.assignment.arm if enrolment and enrolment.assignment else None
        assigned = time.perf_counter()
        seconds = {"route": routed - started, "assign": assigned - routed}
        passages: tuple[Passage, ...] = ()
        searched = None
        if decision.target in catalog.domains:
            passages, searched = self._passages(catalog, request, decision.target, query, arm)
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
            query = query_text(request.messages) if request.messages else request.prompt
            passages, searched = self._passages(catalog, request, target, query, arm)
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
        query: str,
        arm: Arm | None,
    ) -> tuple[tuple[Passage, ...], str | None]:
        """Passages, and the version of the index that was searched: the caller's, else the arm's,
        else the current one, which is empty where there is none. None if nothing was searched."""
        pack = catalog.domains[domain].pack
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
    """The unit; without one the first user message, which all turns of a conversation share."""
    if request.unit:
        return request.unit
    first = next((m for m in request.messages if m["role"] == "user"), None)
    return str(first.get("content") if first else request.prompt)[:_AFFINITY_CHARACTERS]


def _decide(
    catalog: Catalog, request: InferenceRequest, query: str, subject: Subject
) -> tuple[Decision, str | None, Enrolment | None]:
    """The decision; for a pinned model, the exact version; and the part in an experiment between
    routers."""
    model = catalog.settings.aliases.get(request.model, request.model)
    domain = request.extras.domain
    if domain is not None and domain not in catalog.domains and domain not in catalog.tiers:
        known = ", ".join((*catalog.domains, *catalog.tiers))
        raise BadRequest(
            f"turnout.domain {domain!r} is not served; known are {known}", param="turnout.domain"
        )
    if model == ANY_TARGET:
        if domain is not None:
            return Decision(domain, 1.0, reason=Reason.EXPLICIT_DOMAIN), None, None
        enrolment = enrol(catalog.experiments.get(ANY_TARGET, ()), subject)
        return _route(catalog, query, enrolment), None, enrolment
    if model in catalog.domains:
        return Decision(model, 1.0, reason=Reason.EXPLICIT_DOMAIN), None, None
    if model in catalog.tiers:
        return Decision(model, 1.0, reason=Reason.EXPLICIT_MODEL), None, None
    if catalog.is_servable(model):
        domain = catalog.versions[model].manifest.domain
        return Decision(domain, 1.0, reason=Reason.EXPLICIT_MODEL), model, None
    raise BadRequest(
        f"the model {request.model!r} does not exist or is not served; "
        "GET /v1/models lists what is",
        param="model",
        code="model_not_found",
        status=404,
    )


def _route(catalog: Catalog, query: str, enrolment: Enrolment | None) -> Decision:
    """By the arm's router where there is one that could be loaded."""
    router = catalog.router
    if enrolment is not None and enrolment.assignment is not None:
        router = catalog.routers.get(enrolment.assignment.arm.router or "", router)
    if router is None:
        return Decision(catalog.general.name, 1.0, reason=Reason.NO_ROUTER)
    decision = router.decide(query, allowed=catalog.domains.keys())
    if decision.target in catalog.domains:
        return decision
    return Decision(
        target=catalog.general.name,
        probability=decision.probability,
        probabilities=decision.probabilities,
        reason=decision.reason,
        router_version=decision.router_version,
    )


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
    return Candidate(catalog.settings.engine(catalog.tiers[tier].engine), None)


def _is_there(catalog: Catalog, target: str, arm: Arm, searched: str | None) -> bool:
    """Whether all that the arm names still is there, and no other index was `searched`."""
    if arm.router is not None:
        return arm.router in catalog.routers
    if arm.index is not None and searched not in (None, arm.index):
        return False
    if target in catalog.tiers:
        return arm.model in catalog.tiers
    return arm.model == BASE_ARM or arm.model in catalog.versions
