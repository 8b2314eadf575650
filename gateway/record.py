"""One request's course from arrival to record: the clock, the tally, and what becomes of them in
journal and metrics."""

import logging
import random
import time

from msgspec import Struct, field

from adapters.errors import JournalFull
from adapters.experiments.assignment import Assignment, Standing, Subject
from adapters.experiments.design import HOLDOUT
from adapters.interactions import Interaction, Outcome
from adapters.journal import Journal
from gateway.access import Caller
from gateway.planning import Candidate, Plan
from gateway.protocols.requests import InferenceRequest
from gateway.settings import Price
from gateway.streaming import Tally
from gateway.telemetry import Telemetry

logger = logging.getLogger(__name__)


class Exchange(Struct):
    """A request, what was planned for it, and how far it came.

    Instants are `time.perf_counter` seconds. `tries` says which replicas were asked and why them;
    `broken` counts the tries that reached an engine and failed there. A shadow arm's exchange names
    in `shadow_of` the answer that was seen.
    """

    request: InferenceRequest
    caller: Caller
    unit: Subject
    plan: Plan
    request_id: str
    started: float
    price: Price
    dearest: Price
    candidate: Candidate
    asked: float = 0.0
    first_token: float | None = None
    fallback: str = ""
    tries: list[str] = field(default_factory=list)
    broken: int = 0
    tally: Tally = field(default_factory=Tally)
    shadow_of: str | None = None

    @property
    def receipt(self) -> str:
        """What the interaction is called: the answer's id, if there is one."""
        return self.tally.id or f"failed-{self.request_id}"

    @property
    def overhead(self) -> float:
        """Seconds from arrival until an engine was first asked."""
        return (self.asked or time.perf_counter()) - self.started

    @property
    def seconds_left(self) -> float:
        """Until the deadline by which an answer has to begin."""
        spent = time.perf_counter() - self.started
        return max(0.0, self.candidate.engine.deadline - spent)

    @property
    def reason(self) -> str:
        """The decision's reason, with the rule if one decided, and, if the first choice could not
        serve, what answered instead and why."""
        decision = self.plan.decision
        decided = f"{decision.reason}: {decision.rule}" if decision.rule else decision.reason
        return f"{decided}; {self.fallback}" if self.fallback else decided

    @property
    def arm_answers(self) -> bool:
        """Whether it is the assigned arm that is asked, not what it fell back to; true of the
        holdout as well, which has nothing to fall back from."""
        assignment = self.plan.assignment
        if assignment is None or not self.plan.as_assigned:
            return assignment is None
        # What a router decided stays its decision, whichever model could serve it.
        return assignment.arm.router is not None or self.candidate is self.plan.candidates[0]


def new_request_id() -> str:
    """32 hex digits in the order of time (as UUIDv7, RFC 9562), which indexes on disk are kept by:
    engines make it the answer's id."""
    return f"{time.time_ns() // 1_000_000:012x}{random.getrandbits(80):020x}"


class Recorder:
    """Writes the finished exchange down, before its last byte leaves. Never fails a request."""

    def __init__(self, journal: Journal, telemetry: Telemetry) -> None:
        self._journal = journal
        self._telemetry = telemetry

    def planned(self, exchange: Exchange) -> None:
        """Count a decision and an assignment."""
        telemetry, plan = self._telemetry, exchange.plan
        telemetry.decisions.add(1, plan.decision.target, plan.decision.reason)
        telemetry.route_confidence.observe(plan.decision.probability, plan.decision.target)
        telemetry.drift.observe(plan.decision)
        if plan.assignment is not None:
            telemetry.assignments.add(1, plan.assignment.experiment, plan.assignment.arm.name)
        elif plan.enrolment is not None and plan.enrolment.standing is Standing.HOLDOUT:
            telemetry.assignments.add(1, plan.enrolment.experiment, HOLDOUT)
        for component, seconds in plan.seconds.items():
            telemetry.overhead_seconds.observe(seconds, component)
        if "retrieve" in plan.seconds:
            telemetry.retrieval_seconds.observe(plan.seconds["retrieve"])
            telemetry.retrieval_hits.observe(len(plan.passages))

    def finished(self, exchange: Exchange, outcome: Outcome, error: str | None = None) -> None:
        """Append the interaction to the journal and count how it ended."""
        ended = time.perf_counter()
        exchange.tally.settle()
        self._count(exchange, outcome, ended)
        if not exchange.request.extras.log:
            return
        self._keep(exchange, outcome, error, ended)
        self._telemetry.overhead_seconds.observe(time.perf_counter() - ended, "log")

    def mirrored(self, shadow: Exchange, outcome: Outcome, error: str | None = None) -> None:
        """The same of a shadow arm's answer, which nobody asked for: it is counted apart."""
        ended = time.perf_counter()
        shadow.tally.settle()
        if (part := shadow.plan.assignment) is not None:
            self._telemetry.shadow_requests.add(1, part.experiment, part.arm.name, outcome)
        self._keep(shadow, outcome, error, ended)

    def dropped(self, shadow: Assignment) -> None:
        """Count a shadow arm that was not asked."""
        self._telemetry.shadow_requests.add(1, shadow.experiment, shadow.arm.name, "dropped")

    def _keep(self, exchange: Exchange, outcome: Outcome, error: str | None, ended: float) -> None:
        try:
            self._journal.append("interaction", _interaction(exchange, outcome, error, ended))
        except JournalFull as exc:
            self._telemetry.journal_dropped.add(1)
            logger.error("interaction %s is lost: %s", exchange.tally.id, exc)

    def _count(self, exchange: Exchange, outcome: Outcome, ended: float) -> None:
        telemetry, tally = self._telemetry, exchange.tally
        target, model = exchange.plan.decision.target, exchange.candidate.model
        endpoint = exchange.request.endpoint.label
        telemetry.requests.add(1, endpoint, target, model, outcome)
        telemetry.request_seconds.observe(ended - exchange.started, endpoint, target)
        telemetry.overhead_seconds.observe(exchange.overhead, "total")
        telemetry.tokens.add(tally.prompt_tokens, "input", target, model)
        telemetry.tokens.add(tally.completion_tokens, "output", target, model)
        cost = _cost(exchange.price, tally)
        telemetry.cost.add(cost, target, model)
        telemetry.cost_saved.add(max(0.0, _cost(exchange.dearest, tally) - cost))
        if exchange.first_token is not None:
            telemetry.first_token_seconds.observe(exchange.first_token - exchange.started, target)


def _cost(price: Price, tally: Tally) -> float:
    return (price.input * tally.prompt_tokens + price.output * tally.completion_tokens) / 1e6


def _interaction(
    exchange: Exchange, outcome: Outcome, error: str | None, ended: float
) -> Interaction:
    request, plan, tally = exchange.request, exchange.plan, exchange.tally
    enrolment, assignment = plan.enrolment, plan.assignment
    first = exchange.first_token
    answered = outcome is not Outcome.ERROR or first is not None
    return Interaction(
        id=exchange.receipt,
        created=time.time(),
        endpoint=request.endpoint.label,
        key=exchange.caller.key,
        unit=exchange.unit.unit,
        session=exchange.unit.session,
        requested_model=request.model,
        target=plan.decision.target,
        model=exchange.candidate.model,
        probability=plan.decision.probability,
        reason=exchange.reason,
        propensity=plan.decision.propensity,
        router_version=plan.decision.router_version,
        experiment=enrolment.experiment if enrolment else None,
        arm=assignment.arm.name if assignment else None,
        arm_propensity=assignment.propensity if assignment else 1.0,
        index_version=plan.index_version,
        sources=tuple(passage.id for passage in plan.passages),
        request=request.body,
        response={"text": tally.text, "finish_reason": tally.finish_reason},
        prompt_tokens=tally.prompt_tokens,
        completion_tokens=tally.completion_tokens,
        outcome=outcome,
        error=error,
        overhead_ms=exchange.overhead * 1e3,
        first_token_ms=None if first is None else (first - exchange.started) * 1e3,
        total_ms=(ended - exchange.started) * 1e3,
        train=request.extras.train,
        standing=enrolment.standing if enrolment else "",
        experiment_unit=enrolment.unit if enrolment else None,
        exposed=enrolment is not None and answered and exchange.arm_answers,
        shadow_of=exchange.shadow_of,
    )
