"""One try of one request on one replica, up to its first byte and, once that is out, to its end.

However it ends, the replica's account is settled, and an exchange that is over is written down
before the last byte leaves.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import orjson

from adapters.engines.pool import Lease
from adapters.interactions import Outcome
from gateway.access import Role
from gateway.errors import EngineFailed, EngineRefused, EngineUnreachable, VersionLost
from gateway.protocols.answers import add_sources, annotations, source_list
from gateway.protocols.requests import Endpoint
from gateway.record import Exchange, Recorder
from gateway.streaming import DONE, Tally, error_event, events, relay
from gateway.upstream import Answer, Upstream

# An engine's verdict on the caller's request; everything else it says is ours to explain.
_CALLERS_FAULT = frozenset({400, 413, 422, 429})


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back: a body, or for a stream its events. `events` must be iterated or closed."""

    headers: Mapping[str, str]
    body: bytes = b""
    events: AsyncGenerator[bytes, None] | None = None


class Attempt:
    """A request on its way to the replica of a lease, which this ends."""

    def __init__(
        self, exchange: Exchange, lease: Lease, upstream: Upstream, recorder: Recorder
    ) -> None:
        self._exchange = exchange
        self._lease = lease
        self._upstream = upstream
        self._recorder = recorder
        self._asked = time.perf_counter()
        exchange.tries.append(f"{lease.replica.url} {lease.why}")
        exchange.asked = exchange.asked or self._asked
        exchange.tally = Tally()

    async def reply(self, body: bytes) -> Reply:
        """Send the engine `body` and return its answer, or the beginning of its stream.

        Raises:
            EngineRefused: the request itself is at fault.
            EngineFailed: this replica could not answer; another may.
        """
        answer = None
        try:
            answer = await self._open(body)
            if self._exchange.request.stream:
                return await self._begin_stream(answer)
            reply = await self._whole(answer)
        except BaseException as exc:
            if answer is not None:
                answer.close()
            self._settle(exc)
            raise
        answer.close()
        self._lease.succeeded(self._seconds_per_token())
        self._recorder.finished(self._exchange, Outcome.OK)
        return reply

    async def _open(self, body: bytes) -> Answer:
        candidate = self._exchange.candidate
        answer = await self._upstream.open(
            self._lease.replica.url + self._exchange.request.endpoint,
            body,
            engine=candidate.engine,
            request_id=self._exchange.request_id,
            patience=min(candidate.engine.timeout, self._exchange.seconds_left),
        )
        if answer.status == 200:
            return answer
        try:
            said = _parsed(await answer.read())
        finally:
            answer.close()
        if answer.status in _CALLERS_FAULT:
            raise EngineRefused(answer.status, said)
        if answer.status == 404 and candidate.version is not None:
            raise VersionLost(f"engine {candidate.engine.name} has lost {candidate.version}")
        raise EngineFailed(502, f"engine {candidate.engine.name} answered {answer.status}")

    async def _whole(self, answer: Answer) -> Reply:
        exchange = self._exchange
        body = _parsed(await answer.read())
        if not isinstance(body, dict) or not body.get("choices"):
            raise EngineFailed(502, f"engine {exchange.candidate.engine.name} sent no answer")
        exchange.tally.add_whole(body)
        if exchange.plan.passages:
            add_sources(body, exchange.plan.passages)
        return Reply(_headers(exchange), orjson.dumps(body))

    async def _begin_stream(self, answer: Answer) -> Reply:
        """Wait for the first event: until then a failure can still be mended elsewhere."""
        exchange = self._exchange
        passages = exchange.plan.passages
        sources = {"annotations": annotations(passages), "sources": source_list(passages)}
        grounded = passages and exchange.request.endpoint is Endpoint.CHAT
        stream = relay(
            events(answer.chunks()),
            exchange.tally,
            wants_usage=exchange.request.wants_usage,
            sources=sources if grounded else None,
        )
        first = await anext(stream, b"")
        exchange.first_token = time.perf_counter()
        answer.wait(exchange.candidate.engine.timeout)
        return Reply(_headers(exchange), events=self._relay(answer, first, stream))

    async def _relay(
        self, answer: Answer, first: bytes, rest: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        """Pass the stream on; once its first byte is out, a failure is one event and the end."""
        outcome, last, error = Outcome.CANCELLED, DONE, None
        try:
            yield first
            async for event in rest:
                yield event
            outcome = Outcome.OK
        except EngineFailed as exc:
            outcome, error, last = Outcome.ERROR, str(exc), error_event(exc.problem)
        finally:
            answer.close()
            self._settle_stream(outcome)
            self._recorder.finished(self._exchange, outcome, error)
        yield last

    def _settle(self, exc: BaseException) -> None:
        """Tell the pool what a try without an answer says about the replica."""
        match exc:
            case EngineUnreachable():
                self._lease.refused()
            case VersionLost():
                self._lease.lost()
            case EngineFailed():
                self._lease.failed()
            case EngineRefused():
                self._lease.succeeded()
            case _:
                self._lease.released()

    def _settle_stream(self, outcome: Outcome) -> None:
        match outcome:
            case Outcome.OK:
                self._lease.succeeded(self._seconds_per_token())
            case Outcome.ERROR:
                self._lease.failed()
            case Outcome.CANCELLED:
                self._lease.released()

    def _seconds_per_token(self) -> float | None:
        """The replica's speed in this try, waiting and prefill included."""
        tokens = self._exchange.tally.completion_tokens
        return (time.perf_counter() - self._asked) / tokens if tokens else None


def _parsed(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


@lru_cache(maxsize=1024)
def _ascii(value: str) -> str:
    """A value that may stand in a header."""
    return quote(value, safe=" ;:=@-_.")


def _headers(exchange: Exchange) -> dict[str, str]:
    """What the caller may want to know, as headers; values are ASCII."""
    plan = exchange.plan
    experiment, arm, _ = exchange.assigned_arm
    headers = {
        "x-turnout-route": plan.decision.target,
        "x-turnout-confidence": f"{plan.decision.probability:.4f}",
        "x-turnout-reason": _ascii(exchange.reason),
        "x-turnout-overhead-ms": f"{exchange.overhead * 1e3:.3f}",
    }
    if experiment and arm:
        headers |= {"x-turnout-experiment": experiment, "x-turnout-arm": arm}
    if exchange.request.debug and exchange.caller.role is Role.ADMIN:
        headers["x-turnout-debug"] = _account(exchange)
    if plan.passages:
        headers["x-turnout-sources"] = ",".join(quote(p.id, safe="/#:@-_.") for p in plan.passages)
    return headers


def _account(exchange: Exchange) -> str:
    """Which replica answered, why that one, and which were tried before it."""
    *before, last = exchange.tries
    url, why = last.split(" ")
    parts = {"replica": url, "choice": why, "tries": len(exchange.tries)}
    if before:
        parts["failed"] = ",".join(before).replace(" ", "/")
    return "; ".join(f"{name}={value}" for name, value in parts.items())
