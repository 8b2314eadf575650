"""One try of one request on one replica, up to its first byte and, once that is out, to its end.

However it ends, the replica's account is settled, and an exchange that is over is written down
before the last byte leaves.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import orjson
from msgspec import Struct

from adapters.engines.pool import Lease
from adapters.interactions import Outcome
from gateway.access import Role
from gateway.errors import EngineFailed, EngineRefused, EngineUnreachable, VersionLost
from gateway.protocols.answers import add_sources, annotations, source_list
from gateway.protocols.requests import Endpoint
from gateway.record import Exchange
from gateway.streaming import Relay, Stream, Tally
from gateway.upstream import Answer, Upstream

# An engine's verdict on the caller's request; everything else it says is ours to explain.
_CALLERS_FAULT = frozenset({400, 413, 422, 429})


class Reply(Struct, frozen=True):
    """What goes back: a body, or a stream, which must be read to its end or closed."""

    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    stream: Stream | None = None


class Attempt:
    """A request on its way to the replica of a lease, which this ends.

    Args:
        end: told of an answer that is over, before its last byte is handed out.
    """

    def __init__(
        self,
        exchange: Exchange,
        lease: Lease,
        upstream: Upstream,
        end: Callable[[Exchange, Outcome, str | None], None],
    ) -> None:
        self._exchange = exchange
        self._lease = lease
        self._upstream = upstream
        self._end = end
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
        self._end(self._exchange, Outcome.OK, None)
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
        exchange, passages = self._exchange, self._exchange.plan.passages
        grounded = passages and exchange.request.endpoint is Endpoint.CHAT
        relay = Relay(
            exchange.tally,
            wants_usage=exchange.request.wants_usage,
            sources={"annotations": annotations(passages), "sources": source_list(passages)}
            if grounded
            else None,
        )
        stream = Stream(answer, relay, exchange.tally, self._end_stream)
        await stream.begin()
        exchange.first_token = time.perf_counter()
        answer.wait(exchange.candidate.engine.timeout)
        return Reply(_headers(exchange), stream=stream)

    def _end_stream(self, outcome: Outcome, error: str | None) -> None:
        self._settle_stream(outcome)
        self._end(self._exchange, outcome, error)

    def _settle(self, exc: BaseException) -> None:
        """Tell the pool what a try without an answer says about the replica."""
        match exc:
            case EngineUnreachable():
                self._lease.refused()
            case VersionLost():
                self._lease.lost()
            # What only a shadow arm breaks on must not take the replica from callers.
            case EngineFailed() if self._exchange.shadow_of is None:
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
def _ascii(value: str) -> bytes:
    """A value that may stand in a header."""
    return quote(value, safe=" ;:=@-_.").encode()


def _headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """What the caller may want to know, as headers; values are ASCII."""
    plan = exchange.plan
    headers = [
        (b"x-turnout-route", _ascii(plan.decision.target)),
        (b"x-turnout-confidence", b"%.4f" % plan.decision.probability),
        (b"x-turnout-reason", _ascii(exchange.reason)),
        (b"x-turnout-overhead-ms", b"%.3f" % (exchange.overhead * 1e3)),
    ]
    if plan.assignment is not None:
        headers.append((b"x-turnout-experiment", _ascii(plan.assignment.experiment)))
        headers.append((b"x-turnout-arm", _ascii(plan.assignment.arm.name)))
    if exchange.request.debug and exchange.caller.role is Role.ADMIN:
        headers.append((b"x-turnout-debug", _account(exchange).encode()))
    if plan.passages:
        sources = ",".join(quote(p.id, safe="/#:@-_.") for p in plan.passages)
        headers.append((b"x-turnout-sources", sources.encode()))
    return headers


def _account(exchange: Exchange) -> str:
    """Which replica answered, why that one, and which were tried before it."""
    *before, last = exchange.tries
    url, why = last.split(" ")
    parts = {"replica": url, "choice": why, "tries": len(exchange.tries)}
    if before:
        parts["failed"] = ",".join(before).replace(" ", "/")
    return "; ".join(f"{name}={value}" for name, value in parts.items())
