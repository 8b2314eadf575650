"""Who answers: what the caller named, else the first rule that fits, else the router's stages and
what policy makes of their decision.

Asks no engine, and knows nothing of arms' models and passages.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct
from msgspec.structs import replace

from adapters.errors import EngineError
from adapters.experiments.assignment import Enrolment, Subject, enrol, uniform
from adapters.experiments.design import ANY_TARGET
from gateway.access import Caller
from gateway.catalog import Catalog
from gateway.errors import BadRequest, Forbidden
from gateway.protocols.requests import InferenceRequest
from gateway.second_opinion import second_opinion
from gateway.telemetry import Telemetry
from router.conversation import Context, context_of, query_text, user_turns
from router.decision import GENERAL, Decision, Reason
from router.errors import RouterError
from router.policy import explored, permitted, preferred
from router.rules import Asked
from router.second.stage import Cascade

# Queries at the second stage at once. One takes milliseconds: whoever came next would wait for the
# better decision longer than it is worth.
_MOST_ASKED = 16
_OPENING_CHARACTERS = 500

# Seconds per token of an engine, by its name; 0 while nothing is measured.
Pace = Callable[[str], float]


class Routed(Struct, frozen=True):
    """The decision; for a pinned model, the exact version; and the part in an experiment between
    routers."""

    decision: Decision
    version: str | None = None
    enrolment: Enrolment | None = None


class Routing:
    """Decides by a catalog. One per event loop; `close` ends its thread."""

    def __init__(self, telemetry: Telemetry, pace: Pace = lambda _engine: 0.0) -> None:
        self._telemetry = telemetry
        self._pace = pace
        self._asked = 0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="second-stage")

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def decide(
        self, catalog: Catalog, request: InferenceRequest, subject: Subject, caller: Caller
    ) -> Routed:
        """Raises BadRequest for a model or domain nobody serves, Forbidden for one that this key
        may not use."""
        routed = _named(catalog, request)
        if routed is not None:
            caller.check(routed.decision.target)
        else:
            allowed = _allowed(catalog, caller)
            routed = _by_rule(catalog, request, subject, caller) or await self._routed(
                catalog, request, subject, caller, allowed
            )
        return replace(routed, decision=replace(routed.decision, asked=request.model))

    async def _routed(
        self,
        catalog: Catalog,
        request: InferenceRequest,
        subject: Subject,
        caller: Caller,
        allowed: Mapping[str, str],
    ) -> Routed:
        """By the arm's router where there is one that could be loaded."""
        enrolment = enrol(catalog.experiments.get(ANY_TARGET, ()), subject)
        cascade = catalog.cascade
        if enrolment is not None and enrolment.assignment is not None:
            cascade = catalog.routers.get(enrolment.assignment.arm.router or "", cascade)
        if cascade is None:
            decision = Decision(GENERAL, 1.0, reason=Reason.NO_ROUTER)
        else:
            decision = await self.judge(catalog, cascade, turns_of(request))
        decision = permitted(decision, tuple(allowed))
        if burdens := self._burdens(catalog, allowed):
            decision = preferred(decision, burdens)
        if rate := catalog.settings.router.exploration:
            known = {GENERAL, decision.target, *decision.probabilities}
            drawable = [label for label in allowed if label in known]
            decision = explored(decision, drawable, rate, _draw(request, subject))
        decision = replace(decision, target=allowed[decision.target])
        tiers = catalog.tier_choice
        if tiers is not None and caller.may_use(tiers.strong):
            decision = tiers.applied(decision, query_of(request))
        return Routed(decision, enrolment=enrolment)

    async def judge(self, catalog: Catalog, cascade: Cascade, turns: Sequence[str]) -> Decision:
        """About the last of the user's `turns`: the second stage's decision where the first is
        unsure, the second has room and answers; otherwise the first's."""
        router, served = cascade.first, catalog.domains.keys()
        context = context_of(router, turns)
        alone = router.decide(context.text, served)
        first = context.weighed(alone, router.thresholds, router.sure, served)
        asks = cascade.second or catalog.settings.router.second
        if not (first.unsure and alone.probabilities and asks):
            return first
        if self._asked >= _MOST_ASKED:
            self._telemetry.second_stage.add(1, "skipped")
            return first
        self._asked += 1
        try:
            decision = await self._by_second(catalog, cascade, context, alone)
        except (EngineError, RouterError):
            self._telemetry.second_stage.add(1, "failed")
            return first
        finally:
            self._asked -= 1
        self._telemetry.second_stage.add(1, "asked")
        return decision

    async def _by_second(
        self, catalog: Catalog, cascade: Cascade, context: Context, first: Decision
    ) -> Decision:
        """The configured endpoint's, else that of the router's own, in a thread; `first` is about
        the last turn alone."""
        served = catalog.domains.keys()
        if (endpoint := catalog.settings.router.second) is not None:
            choices, thresholds = _choices(catalog, first), cascade.first.thresholds
            decision = await second_opinion(endpoint, context.text, first, choices, thresholds)
        else:
            assert cascade.second is not None
            thresholds = cascade.second.thresholds
            decision = await asyncio.get_running_loop().run_in_executor(
                self._worker, cascade.second.decide, context.text, first, served
            )
        return context.weighed(decision, thresholds, allowed=served)

    def _burdens(self, catalog: Catalog, allowed: Mapping[str, str]) -> dict[str, float]:
        """What price and speed of each target count against its probability; empty where nothing
        does."""
        weights = catalog.settings.router
        if not weights.cost_weight and not weights.latency_weight:
            return {}
        prices = {label: catalog.price(target) for label, target in allowed.items()}
        costs = {label: price.input + price.output for label, price in prices.items()}
        paces = {label: self._pace(catalog.engine(t).name) for label, t in allowed.items()}
        dearest, slowest = max(costs.values()) or 1.0, max(paces.values()) or 1.0
        return {
            label: weights.cost_weight * costs[label] / dearest
            + weights.latency_weight * paces[label] / slowest
            for label in allowed
        }


def query_of(request: InferenceRequest) -> str:
    """The text that passages are searched for, and that rules look at."""
    return query_text(request.messages) if request.messages else request.prompt


def turns_of(request: InferenceRequest) -> Sequence[str]:
    """What the router reads."""
    return user_turns(request.messages) if request.messages else (request.prompt,)


def opening_of(request: InferenceRequest) -> str:
    """How the conversation begins, which all its turns share."""
    first = next((m for m in request.messages if m["role"] == "user"), None)
    return str(first.get("content") if first else request.prompt)[:_OPENING_CHARACTERS]


def _named(catalog: Catalog, request: InferenceRequest) -> Routed | None:
    """What the caller asks for by name; None for `auto`."""
    model = catalog.settings.aliases.get(request.model, request.model)
    domain = request.extras.domain
    if domain is not None and domain not in catalog.domains and domain not in catalog.tiers:
        known = ", ".join((*catalog.domains, *catalog.tiers))
        raise BadRequest(
            f"turnout.domain {domain!r} is not served; known are {known}", param="turnout.domain"
        )
    if model == ANY_TARGET:
        if domain is None:
            return None
        return Routed(Decision(domain, 1.0, reason=Reason.EXPLICIT_DOMAIN))
    if model in catalog.domains:
        return Routed(Decision(model, 1.0, reason=Reason.EXPLICIT_DOMAIN))
    if model in catalog.tiers:
        return Routed(Decision(model, 1.0, reason=Reason.EXPLICIT_MODEL))
    if catalog.is_servable(model):
        domain = catalog.versions[model].manifest.domain
        return Routed(Decision(domain, 1.0, reason=Reason.EXPLICIT_MODEL), model)
    raise BadRequest(
        f"the model {request.model!r} does not exist or is not served; "
        "GET /v1/models lists what is",
        param="model",
        code="model_not_found",
        status=404,
    )


def _by_rule(
    catalog: Catalog, request: InferenceRequest, subject: Subject, caller: Caller
) -> Routed | None:
    """A rule leads nobody where their key may not go."""
    if not catalog.rules:
        return None
    keys = (caller.key, caller.name)
    asked = Asked(query_of(request), request.model, keys, subject.metadata or {})
    for rule in catalog.rules:
        if caller.may_use(rule.target) and rule.fits(asked):
            return Routed(Decision(rule.target, 1.0, reason=Reason.RULE, rule=rule.name))
    return None


def _allowed(catalog: Catalog, caller: Caller) -> dict[str, str]:
    """The router's labels that this key may be sent to, each with its target: `general` is the
    first tier the key may use. Raises Forbidden where there is none."""
    tier = next(filter(caller.may_use, catalog.tiers), None)
    labels = {GENERAL: tier} if tier is not None else {}
    labels |= {domain: domain for domain in catalog.domains if caller.may_use(domain)}
    if not labels:
        raise Forbidden(
            f"key {caller.key} may use only {', '.join(caller.targets or ())}, "
            "none of which is served"
        )
    return labels


def _choices(catalog: Catalog, first: Decision) -> dict[str, str]:
    """The labels that are served, and what they stand for."""
    packs = (catalog.domains[t].pack for t in first.probabilities if t in catalog.domains)
    told = {pack.name: pack.description or pack.title for pack in packs}
    return {**told, GENERAL: "Anything else."}


def _draw(request: InferenceRequest, subject: Subject) -> float:
    """The same in every turn of a conversation."""
    conversation = subject.session or f"{subject.unit} {opening_of(request)}"
    return uniform("exploration", conversation)
