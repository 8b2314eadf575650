"""The bare-ASGI door: takes inference requests before FastAPI sees them, and keeps the two
listeners apart.

FastAPI's routing and dependencies cost more than the whole pipeline (benchmarks/RESULTS.md); this
file does for the hot
paths what they would do: read the body once, find the caller, call one method, write the answer.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from gateway.attempt import Reply
from gateway.deps import Parts, parts_of
from gateway.errors import BadRequest, Overloaded, explain
from gateway.protocols.requests import Endpoint, parse_request
from gateway.record import new_request_id
from gateway.streaming import error_event

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_Headers = list[tuple[bytes, bytes]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HOT = {endpoint.value: endpoint for endpoint in Endpoint}
# A refused body is read to its end, within reason, so that the caller gets the answer and not a
# reset connection.
_DISCARD_BYTES = 64 * 2**20
_LOOK_SECONDS = 0.02  # how often callers who wait are looked for, to be watched for leaving


class Front:
    """Sends each request to the hot path, to `public`, or, when it came in on the admin port, to
    `admin`."""

    def __init__(self, public: App, admin: App, admin_port: int) -> None:
        self._public = public
        self._admin = admin
        self._admin_port = admin_port
        self._inflight = 0
        self._unwatched: set[_Departure] = set()
        self._looking = False

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
        catalog = parts.catalog.now
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = headers.get(b"x-request-id", b"")[:128] or new_request_id().encode()
        door = _Door(send, request_id)
        self._inflight += 1
        try:
            if self._inflight > catalog.settings.server.max_inflight:
                raise Overloaded("too many requests at once; try again in a second")
            caller = catalog.keys.caller(headers.get(b"authorization", b""))
            raw = await _read_body(receive, headers, catalog.settings.server.max_body_bytes)
            request = parse_request(endpoint, raw, headers)
            with self._departure(receive):
                reply = await parts.pipeline.answer(
                    request, caller, started=started, request_id=request_id.decode("latin-1")
                )
                await door.write(reply)
        except Exception as exc:  # the outermost loop: every failure becomes an answer
            await self._fail(door, parts, endpoint, exc)
        finally:
            self._inflight -= 1

    def _departure(self, receive: Receive) -> "_Departure":
        """For the time of an answer. Watching takes a task, and most answers are quicker than one
        is made, so now and then those are watched that are not."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)
        return _Departure(receive, self._unwatched)

    def _look(self) -> None:
        self._looking = False
        for departure in self._unwatched:
            departure.watch()
        self._unwatched.clear()

    async def _fail(self, door: "_Door", parts: Parts, endpoint: Endpoint, exc: Exception) -> None:
        problem, error_type = explain(exc)
        if error_type == "gateway_internal":
            logger.error("request %s failed", door.request_id.decode("latin-1"), exc_info=exc)
        parts.telemetry.errors.add(1, error_type)
        if door.begun:
            await door.end(error_event(problem))
        else:
            headers = [(n.encode(), v.encode()) for n, v in problem.headers().items()]
            await door.whole(problem.status, headers, problem.body())


class _Door:
    """Writes one response; knows whether its first byte has left."""

    def __init__(self, send: Send, request_id: bytes) -> None:
        self._send = send
        self.request_id = request_id
        self.begun = False

    async def write(self, reply: Reply) -> None:
        if reply.stream is None:
            await self.whole(200, reply.headers, reply.body)
            return
        try:
            headers = [*reply.headers, (b"cache-control", b"no-cache")]
            await self._begin(200, headers, b"text/event-stream")
            while events := await reply.stream.more():
                await self._send({"type": "http.response.body", "body": events, "more_body": True})
        finally:
            reply.stream.close()
        await self.end(b"")

    async def whole(self, status: int, headers: _Headers, body: bytes) -> None:
        length = (b"content-length", b"%d" % len(body))
        await self._begin(status, [*headers, length], b"application/json")
        await self.end(body)

    async def end(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _begin(self, status: int, headers: _Headers, kind: bytes) -> None:
        self.begun = True
        own = ((b"content-type", kind), (b"x-request-id", self.request_id))
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [*headers, *own]}
        )


async def _read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
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
        told = headers.get(b"content-length", b"more than %d" % limit).decode("latin-1")
        raise BadRequest(
            f"the body has {told} bytes, the limit is {limit} (server.max_body_bytes)",
            code="body_too_large",
            status=413,
        )
    return b"".join(chunks)


class _Departure:
    """Cancels the current task when its caller disconnects, and with it everything under way for
    it."""

    def __init__(self, receive: Receive, unwatched: "set[_Departure]") -> None:
        self._receive = receive
        self._unwatched = unwatched
        self._watcher: asyncio.Task[None] | None = None
        self._gone = False

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._unwatched.add(self)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        """Ends quietly when it was the caller's leaving that cancelled the task."""
        self._unwatched.discard(self)
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone and self._task is not None:
            self._task.uncancel()
        return self._gone and kind is asyncio.CancelledError

    def watch(self) -> None:
        self._watcher = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._gone = True
            self._task.cancel()
