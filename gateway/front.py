"""The bare-ASGI door: takes inference requests before FastAPI sees them, and keeps the two
listeners apart.

FastAPI's routing and dependencies cost more than the whole pipeline (benchmarks/RESULTS.md); this
file does for the hot
paths what they would do: read the body once, find the caller, call one method, write the answer.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing
from typing import Any

from gateway.attempt import Reply
from gateway.deps import Parts, parts_of
from gateway.errors import BadRequest, Overloaded, explain
from gateway.protocols.requests import Endpoint, parse_request
from gateway.streaming import error_event

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HOT = {endpoint.value: endpoint for endpoint in Endpoint}
# A refused body is read to its end, within reason, so that the caller gets the answer and not a
# reset connection.
_DISCARD_BYTES = 64 * 2**20
_PATIENCE = 0.02  # seconds before an answer's caller is watched for leaving


class Front:
    """Sends each request to the hot path, to `public`, or, when it came in on the admin port, to
    `admin`."""

    def __init__(self, public: App, admin: App, admin_port: int) -> None:
        self._public = public
        self._admin = admin
        self._admin_port = admin_port
        self._inflight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["server"][1] == self._admin_port:
            await self._admin(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in _HOT:
            await self._infer(_HOT[scope["path"]], scope, receive, send)
        else:
            await self._public(scope, receive, send)

    async def _infer(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless the caller leaves first: then everything under way for it is cancelled."""
        started = time.perf_counter()
        parts = parts_of(scope)
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        request_id = headers.get("x-request-id", "")[:128] or f"{random.getrandbits(128):032x}"
        door = _Door(send, request_id)
        self._inflight += 1
        try:
            if self._inflight > parts.catalog.now.settings.server.max_inflight:
                raise Overloaded("too many requests at once; try again in a second")
            caller = parts.catalog.now.keys.caller(headers.get("authorization"))
            raw = await _read_body(
                receive, headers, parts.catalog.now.settings.server.max_body_bytes
            )
            request = parse_request(endpoint, raw, headers)
            with _Departure(receive):
                reply = await parts.pipeline.answer(
                    request, caller, started=started, request_id=request_id
                )
                await door.write(reply)
        except Exception as exc:  # the outermost loop: every failure becomes an answer
            await self._fail(door, parts, endpoint, exc)
        finally:
            self._inflight -= 1

    async def _fail(self, door: "_Door", parts: Parts, endpoint: Endpoint, exc: Exception) -> None:
        problem, error_type = explain(exc)
        if error_type == "gateway_internal":
            logger.error("request %s failed", door.request_id, exc_info=exc)
        parts.telemetry.errors.add(1, error_type)
        if door.begun:
            await door.end(error_event(problem))
        else:
            await door.whole(problem.status, problem.headers(), problem.body())


class _Door:
    """Writes one response; knows whether its first byte has left."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.begun = False

    async def write(self, reply: Reply) -> None:
        if reply.events is None:
            await self.whole(200, reply.headers, reply.body)
            return
        # The generator is entered before anything else is awaited: from here on it closes what it
        # holds.
        async with aclosing(reply.events) as events:
            async for event in events:
                if not self.begun:
                    await self._begin(
                        200, {**reply.headers, "cache-control": "no-cache"}, b"text/event-stream"
                    )
                await self._send({"type": "http.response.body", "body": event, "more_body": True})
        await self.end(b"")

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        await self._begin(
            status, {**headers, "content-length": str(len(body))}, b"application/json"
        )
        await self.end(body)

    async def end(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _begin(self, status: int, headers: Mapping[str, str], kind: bytes) -> None:
        self.begun = True
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        raw += [(b"content-type", kind), (b"x-request-id", self.request_id.encode("latin-1"))]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})


async def _read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    """The whole body; raises BadRequest (413) when it is longer than `limit` bytes."""
    chunks: list[bytes] = []
    size = 0
    more = True
    while more and size <= _DISCARD_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the caller left before the body was complete", status=400)
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        more = message.get("more_body", False)
    if size > limit:
        told = headers.get("content-length", f"more than {limit}")
        raise BadRequest(
            f"the body has {told} bytes, the limit is {limit} (server.max_body_bytes)",
            code="body_too_large",
            status=413,
        )
    return b"".join(chunks)


class _Departure:
    """Cancels the current task when its caller disconnects, and with it everything under way for
    it. Looks only after a moment: most answers are quicker than a task is made."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._gone = False

    def __enter__(self) -> "_Departure":
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._soon = loop.call_later(_PATIENCE, lambda: self._begin(loop))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        """Ends quietly when it was the caller's leaving that cancelled the task."""
        self._soon.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone and self._task is not None:
            self._task.uncancel()
        return self._gone and kind is asyncio.CancelledError

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watcher = loop.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._gone = True
            self._task.cancel()
