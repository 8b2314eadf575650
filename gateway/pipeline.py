"""The story of a request, in the order it happens. No web types, so a test can run it directly.

plan (decide, ground, assign) → ask the candidates, each on one replica after another, until one
begins to answer → read or relay it → write it down, and have shadow arms answer the same → hand
over the last byte.
"""

import asyncio

import orjson

from adapters.engines.pool import Pool
from adapters.interactions import Outcome
from gateway.access import Caller
from gateway.attempt import Attempt, Reply
from gateway.catalog import Catalog, LiveCatalog
from gateway.errors import EngineFailed, EngineUnreachable, GatewayError, VersionLost
from gateway.fleet import Fleet
from gateway.mirror import Mirror
from gateway.planning import Plan, Planner, unit_of
from gateway.protocols.requests import InferenceRequest
from gateway.record import Exchange, Recorder
from gateway.settings import Price
from gateway.upstream import Upstream

# A request that broke so many tries may be the reason itself; asking more replicas would break
# those as well.
_MOST_BROKEN = 3


class Pipeline:
    """Answers inference requests. Built once, shared by all of them."""

    def __init__(
        self,
        *,
        catalog: LiveCatalog,
        planner: Planner,
        fleet: Fleet,
        upstream: Upstream,
        recorder: Recorder,
        mirror: Mirror,
    ) -> None:
        self._catalog = catalog
        self._planner = planner
        self._fleet = fleet
        self._upstream = upstream
        self._recorder = recorder
        self._mirror = mirror

    async def preview(self, request: InferenceRequest, caller: Caller) -> Plan:
        """What would happen to this request; nothing is generated or logged."""
        unit = unit_of(request, caller.key)
        return await self._planner.plan(self._catalog.now, request, unit, caller)

    async def answer(
        self, request: InferenceRequest, caller: Caller, *, started: float, request_id: str
    ) -> Reply:
        """Answer one request. `started` is when it arrived, in `time.perf_counter` seconds.

        Raises:
            GatewayError: nothing was sent yet; the error says what the caller is told.
        """
        exchange = await self._plan(request, caller, started, request_id)
        try:
            return await self._first_answer(exchange)
        except GatewayError as exc:
            self._recorder.finished(exchange, Outcome.ERROR, str(exc))
            raise
        except asyncio.CancelledError:
            self._recorder.finished(exchange, Outcome.CANCELLED)
            raise

    async def _plan(
        self, request: InferenceRequest, caller: Caller, started: float, request_id: str
    ) -> Exchange:
        catalog = self._catalog.now
        unit = unit_of(request, caller.key)
        plan = await self._planner.plan(catalog, request, unit, caller)
        exchange = Exchange(
            request=request,
            caller=caller,
            unit=unit,
            plan=plan,
            request_id=request_id,
            started=started,
            price=_price(catalog, plan),
            dearest=catalog.dearest_price,
            candidate=plan.candidates[0],
        )
        self._recorder.planned(exchange)
        return exchange

    async def _first_answer(self, exchange: Exchange) -> Reply:
        """Ask the candidates in order. A replica that fails before its first byte costs nothing but
        time; a request that breaks several is not tried on the rest."""
        problem: EngineFailed | None = None
        plan = exchange.plan
        for position, candidate in enumerate(plan.candidates):
            exchange.candidate = candidate
            pool = self._fleet.pool(candidate.engine)
            if not pool.serves(candidate.version):
                await _make_ready(pool, exchange, position)
            body = orjson.dumps(plan.body(exchange.request, candidate))
            tried: frozenset[str] = frozenset()
            while lease := pool.lease(candidate.version, key=plan.affinity, without=tried):
                tried |= {lease.replica.url}
                try:
                    return await Attempt(exchange, lease, self._upstream, self._end).reply(body)
                except EngineFailed as exc:
                    problem = exc
                    exchange.broken += not isinstance(exc, EngineUnreachable | VersionLost)
                    if exchange.broken >= _MOST_BROKEN or not exchange.seconds_left:
                        raise
            exchange.fallback = f"fallback: {candidate.model} is not available"
        raise problem or EngineFailed(503, "no engine can answer this request now")

    def _end(self, exchange: Exchange, outcome: Outcome, error: str | None) -> None:
        self._recorder.finished(exchange, outcome, error)
        if exchange.plan.enrolment is not None and outcome is Outcome.OK:
            self._mirror.reflect(exchange)


def _price(catalog: Catalog, plan: Plan) -> Price:
    """What is asked costs: the decided target's price, or that of the tier that is an arm."""
    tier = plan.assignment.arm.model if plan.assignment is not None else ""
    return catalog.price(tier if tier in catalog.tiers else plan.decision.target)


async def _make_ready(pool: Pool, exchange: Exchange, position: int) -> None:
    """Wait for a version that no replica holds to be loaded, if the caller named it or nothing but
    the base could answer instead."""
    plan = exchange.plan
    candidate, rest = plan.candidates[position], plan.candidates[position + 1 :]
    if candidate.version is None:
        return
    instead = any(other.version and pool.serves(other.version) for other in rest)
    if position == 0 and (plan.pinned or not instead):
        patience = min(candidate.engine.load_timeout, exchange.seconds_left)
        await pool.demand(candidate.version, patience)
    else:
        pool.touch((candidate.version,))
