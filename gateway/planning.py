"""From a request to a plan: target, arm, passages and the models to try in order. Pure: no engine
is asked, nothing is logged.

The dry run (`/v1/route`, `turnout route`) is exactly this.
"""

import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from adapters.experiments.assignment import Assignment, Enrolment, Subject, enrol
from adapters.experiments.design import BASE_ARM
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
    """

    decision: Decision
    candidates: tuple[Candidate, ...]
    pinned: bool = False
    affinity: str = ""
    enrolment: Enrolment | None = None
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
        decision, version = _decide(catalog, request, query)
        routed = time.perf_counter()
        if decision.target not in catalog.domains:
            engine = catalog.settings.engine(catalog.tiers[decision.target].engine)
            return Plan(
                decision,
                (Candidate(engine, None),),
                affinity=_affinity(request),
                seconds={"route": routed - started},
            )
        passages = self._passages(catalog, request, decision.target, query)
        retrieved = time.perf_counter()
        splits = () if version else catalog.experiments.get(decision.target, ())
        enrolment = enrol(splits, subject) if splits else None
        assignment = enrolment.assignment if enrolment is not None else None
        return Plan(
            decision=decision,
            candidates=_candidates(catalog, decision.target, version, assignment),
            pinned=version is not None,
            affinity=_affinity(request),
            enrolment=enrolment,
            passages=passages,
            index_version=self._retriever.versions().get(decision.target) if passages else None,
            system_prompt=_system_prompt(catalog, decision.target, assignment),
            seconds={
                "route": routed - started,
                "retrieve": retrieved - routed,
                "assign": time.perf_counter() - retrieved,
            },
        )

    def _passages(
        self, catalog: Catalog, request: InferenceRequest, domain: str, query: str
    ) -> tuple[Passage, ...]:
        pack = catalog.domains[domain].pack
        top_k = pack.top_k if request.extras.top_k is None else request.extras.top_k
        if top_k == 0 or not query or request.endpoint is not Endpoint.CHAT:
            return ()
        version = request.extras.index
        try:
            return tuple(
                self._retriever.search(
                    domain, query, top_k=top_k, min_score=pack.min_score, version=version
                )
            )
        except IndexingError as exc:
            if version is None:
                raise
            raise BadRequest(str(exc), param="turnout.retrieval.index", status=404) from exc


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


def _decide(catalog: Catalog, request: InferenceRequest, query: str) -> tuple[Decision, str | None]:
    """The decision and, for a pinned model, the exact version."""
    model = catalog.settings.aliases.get(request.model, request.model)
    domain = request.extras.domain
    if domain is not None and domain not in catalog.domains and domain not in catalog.tiers:
        known = ", ".join((*catalog.domains, *catalog.tiers))
        raise BadRequest(
            f"turnout.domain {domain!r} is not served; known are {known}", param="turnout.domain"
        )
    if model == "auto":
        if domain is not None:
            return Decision(domain, 1.0, reason=Reason.EXPLICIT_DOMAIN), None
        return _route(catalog, query), None
    if model in catalog.domains:
        return Decision(model, 1.0, reason=Reason.EXPLICIT_DOMAIN), None
    if model in catalog.tiers:
        return Decision(model, 1.0, reason=Reason.EXPLICIT_MODEL), None
    if catalog.is_servable(model):
        domain = catalog.versions[model].manifest.domain
        return Decision(domain, 1.0, reason=Reason.EXPLICIT_MODEL), model
    raise BadRequest(
        f"the model {request.model!r} does not exist or is not served; "
        "GET /v1/models lists what is",
        param="model",
        code="model_not_found",
        status=404,
    )


def _route(catalog: Catalog, query: str) -> Decision:
    if catalog.router is None:
        return Decision(catalog.general.name, 1.0, reason=Reason.NO_ROUTER)
    decision = catalog.router.decide(query, allowed=catalog.domains.keys())
    if decision.target in catalog.domains:
        return decision
    return Decision(
        target=catalog.general.name,
        probability=decision.probability,
        probabilities=decision.probabilities,
        reason=decision.reason,
        router_version=decision.router_version,
    )


def _system_prompt(catalog: Catalog, domain: str, assignment: Assignment | None) -> str:
    if assignment is not None and assignment.arm.prompt is not None:
        return assignment.arm.prompt
    return catalog.domains[domain].pack.system_prompt


def _candidates(
    catalog: Catalog, domain: str, version: str | None, assignment: Assignment | None
) -> tuple[Candidate, ...]:
    """The decided model, then the champion and the one before it, then the base (CONTRACT section
    7)."""
    engine = catalog.domains[domain].engine
    if assignment is not None and assignment.arm.model == BASE_ARM:
        return (Candidate(engine, None),)
    aliases = catalog.aliases.get(domain, Aliases())
    first = assignment.arm.model if assignment else version
    chain = dict.fromkeys((first, aliases.champion, aliases.previous))
    versions = [name for name in chain if name in catalog.versions]
    return tuple(Candidate(engine, name) for name in (*versions, None))
