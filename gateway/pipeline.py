"""The story of a request, in the order it happens. No web types, so a test can run it directly.

plan (decide, ground, assign) → open an answer → read or relay it → write it down → hand over the
last byte.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from adapters.engines.pool import Lease, Pool
from adapters.interactions import Outcome
from gateway.access import Caller
from gateway.catalog import LiveCatalog
from gateway.errors import EngineFailed, EngineRefused, GatewayError
from gateway.planning import Plan, Planner, unit_of
from gateway.protocols.answers import add_sources, annotations, source_list
from gateway.protocols.requests import Endpoint, InferenceRequest
from gateway.record import Exchange, Recorder
from gateway.streaming import DONE, error_event, events, relay
from gateway.upstream import Answer, Upstream

# An engine's verdict on the caller's request; everything else it says is ours to explain.
_CALLERS_FAULT = frozenset({400, 413, 422, 429})


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back: a body, or for a stream its events. `events` must be iterated or closed."""

    headers: Mapping[str, str]
    body: bytes = b""
    events: AsyncIterator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class _Opened:
    """An engine's answer on its way; `close` ends it and frees the replica."""

    answer: Answer
    pool: Pool
    lease: Lease

    def close(self) -> None:
        self.answer.close()
        self.pool.release(self.lease)


class Pipeline:
    """Answers inference requests. Built once, shared by all of them."""

    def __init__(
        self,
        *,
        catalog: LiveCatalog,
        planner: Planner,
        pools: Mapping[str, Pool],
        upstream: Upstream,
        recorder: Recorder,
    ) -> None:
        self._catalog = catalog
        self._planner = planner
        self._pools = pools
        self._upstream = upstream
        self._recorder = recorder

    def preview(self, request: InferenceRequest, key: str) -> Plan:
        """What would happen to this request; nothing is generated or logged."""
        return self._planner.plan(self._catalog.now, request, unit_of(request, key))

    async def answer(
        self, request: InferenceRequest, caller: Caller, *, started: float, request_id: str
    ) -> Reply:
        """Answer one request. `started` is when it arrived, in `time.perf_counter` seconds.

        Raises:
            GatewayError: nothing was sent yet; the error says what the caller is told.
        """
        exchange = self._plan(request, caller, started, request_id)
        try:
            opened = await self._open(exchange)
            if request.stream:
                return await self._begin_stream(exchange, opened)
            return await self._whole(exchange, opened)
        except GatewayError as exc:
            self._recorder.finished(exchange, Outcome.ERROR, str(exc))
            raise
        except asyncio.CancelledError:
            self._recorder.finished(exchange, Outcome.CANCELLED)
            raise

    def _plan(
        self, request: InferenceRequest, caller: Caller, started: float, request_id: str
    ) -> Exchange:
        catalog = self._catalog.now
        unit = unit_of(request, caller.key)
        plan = self._planner.plan(catalog, request, unit)
        exchange = Exchange(
            request=request,
            caller=caller,
            unit=unit,
            plan=plan,
            request_id=request_id,
            started=started,
            price=catalog.price(plan.decision.target),
            dearest=catalog.dearest_price,
            candidate=plan.candidates[0],
        )
        self._recorder.planned(exchange)
        return exchange

    async def _open(self, exchange: Exchange) -> _Opened:
        """Ask the candidates in order; a replica that fails before its first byte costs nothing but
        time."""
        problem: GatewayError = EngineFailed(503, "no engine can answer this request now")
        for candidate in exchange.plan.candidates:
            exchange.candidate = candidate
            body = orjson.dumps(exchange.plan.body(exchange.request, candidate))
            pool = self._pools[candidate.engine.name]
            tried: frozenset[str] = frozenset()
            while lease := pool.lease(candidate.version, without=tried):
                tried |= {lease.url}
                try:
                    return await self._ask(exchange, pool, lease, body)
                except EngineFailed as exc:
                    problem = exc
            exchange.fallback = f"fallback: {candidate.model} is not available"
        raise problem

    async def _ask(self, exchange: Exchange, pool: Pool, lease: Lease, body: bytes) -> _Opened:
        """One try on one replica; raises EngineRefused for the caller's faults, EngineFailed for
        all others."""
        engine = exchange.candidate.engine
        exchange.asked = time.perf_counter()
        answer = None
        try:
            answer = await self._upstream.open(
                lease.url + exchange.request.endpoint,
                body,
                key=engine.key.get_secret_value() if engine.key else None,
                request_id=exchange.request_id,
                patience=engine.timeout,
            )
            if answer.status == 200:
                return _Opened(answer, pool, lease)
            said = await answer.read()
            if answer.status in _CALLERS_FAULT:
                raise EngineRefused(answer.status, _parsed(said))
            raise EngineFailed(502, f"engine {engine.name} answered {answer.status}")
        except BaseException:
            if answer is not None:
                answer.close()
            pool.release(lease)
            raise

    async def _whole(self, exchange: Exchange, opened: _Opened) -> Reply:
        try:
            body = _parsed(await opened.answer.read())
        finally:
            opened.close()
        if not isinstance(body, dict) or not body.get("choices"):
            raise EngineFailed(502, f"engine {exchange.candidate.engine.name} sent no answer")
        exchange.tally.add_whole(body)
        if exchange.plan.passages:
            add_sources(body, exchange.plan.passages)
        self._recorder.finished(exchange, Outcome.OK)
        return Reply(_headers(exchange), orjson.dumps(body))

    async def _begin_stream(self, exchange: Exchange, opened: _Opened) -> Reply:
        """Wait for the first event: until then a failure can still be told by a status."""
        passages = exchange.plan.passages
        sources = {"annotations": annotations(passages), "sources": source_list(passages)}
        grounded = passages and exchange.request.endpoint is Endpoint.CHAT
        stream = relay(
            events(opened.answer.chunks()),
            exchange.tally,
            wants_usage=exchange.request.wants_usage,
            sources=sources if grounded else None,
        )
        try:
            first = await anext(stream, b"")
        except BaseException:
            opened.close()
            raise
        exchange.first_token = time.perf_counter()
        return Reply(_headers(exchange), events=self._stream(exchange, opened, first, stream))

    async def _stream(
        self, exchange: Exchange, opened: _Opened, first: bytes, rest: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """Relay to the end; whatever happens, the exchange is written down before the last event
        leaves."""
        outcome, last = Outcome.CANCELLED, DONE
        error = None
        try:
            yield first
            async for event in rest:
                yield event
            outcome = Outcome.OK
        except EngineFailed as exc:
            outcome, error, last = Outcome.ERROR, str(exc), error_event(exc.problem)
        finally:
            opened.close()
            self._recorder.finished(exchange, outcome, error)
        yield last


def _parsed(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _headers(exchange: Exchange) -> dict[str, str]:
    """What the caller may want to know, as headers; values are ASCII."""
    plan = exchange.plan
    experiment, arm, _ = exchange.assigned_arm
    headers = {
        "x-turnout-route": plan.decision.target,
        "x-turnout-confidence": f"{plan.decision.probability:.4f}",
        "x-turnout-reason": quote(exchange.reason, safe=" ;:=@-_."),
        "x-turnout-overhead-ms": f"{exchange.overhead * 1e3:.3f}",
    }
    if experiment and arm:
        headers |= {"x-turnout-experiment": experiment, "x-turnout-arm": arm}
    if plan.passages:
        headers["x-turnout-sources"] = ",".join(quote(p.id, safe="/#:@-_.") for p in plan.passages)
    return headers
