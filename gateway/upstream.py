"""The HTTP client towards engines: open an answer, read it, close it. Connections are kept per
replica.

It speaks HTTP/1.1 over TCP or TLS and does what engines need: it follows no redirects, keeps no
cookies, asks for no compression.
"""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Awaitable
from functools import partial

from gateway.connection import Connection, Origin, prepared, system_trust
from gateway.errors import EngineFailed, EngineUnreachable
from gateway.settings import Engine

# How often answers are looked at for being overdue, in seconds.
_SWEEP_SECONDS = 0.1
_PRUNE_SECONDS = 10.0
_END_SECONDS = 1.0  # for the end of an answer whose last event has been read
_OWN_HEADERS = (
    b"accept: application/json, text/event-stream\r\nx-request-id: %b\r\ncontent-length: %d\r\n\r\n"
)
_MOST_IDLE = 256  # connections kept per replica


class Answer:
    """An engine's answer whose status is known and whose body is still on its way."""

    def __init__(self, upstream: "Upstream", origin: Origin, connection: Connection) -> None:
        self._upstream = upstream
        self._origin = origin
        self._connection = connection
        self.status = connection.status

    def read(self) -> Awaitable[bytes]:
        """The whole body; raises EngineFailed when the engine breaks off."""
        return self._connection.read()

    def more(self) -> Awaitable[bytes]:
        """What of the body has arrived, b"" after its end; raises EngineFailed when the engine
        breaks off."""
        return self._connection.more()

    def wait(self, patience: float) -> None:
        """From now on the engine may be silent for so many seconds."""
        self._connection.patience = patience

    def close(self) -> None:
        """Keep the connection if the answer has ended, else cut it; the engine then stops
        computing. May be called twice."""
        self._upstream.put_back(self._origin, self._connection)

    def finish(self) -> None:
        """All that counts was read: keep the connection once the answer's last bytes are in."""
        self._upstream.await_end(self._origin, self._connection)


class Upstream:
    """Opens answers. One per event loop; `close` ends every connection.

    Args:
        tls: whom to trust; default: the system's certificates, or those of SSL_CERT_FILE.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._idle: defaultdict[Origin, list[Connection]] = defaultdict(list)
        self._busy: set[Connection] = set()
        self._tls = tls

    async def open(
        self, url: str, body: bytes, *, engine: Engine, request_id: str, patience: float
    ) -> Answer:
        """POST `body` to a replica of `engine` and return once the status is there; `patience` is
        for how many seconds it may be silent.

        Raises:
            EngineUnreachable: no connection could be made.
            EngineFailed: 504 when no byte came in time, 502 when the connection broke.
        """
        origin, head = prepared("POST", url, engine.bearer)
        head += _OWN_HEADERS % (request_id.encode("latin-1", "replace"), len(body))
        while (idle := self._take(origin)) is not None:
            try:
                return await self._ask(origin, idle, head, body, patience)
            except EngineFailed as exc:
                # An engine that closed a kept connection as the request was on its way has not
                # begun to answer, and a fresh connection will tell; one that is silent is not asked
                # twice.
                if idle.touched or exc.problem.status != 502:
                    raise
        fresh = await self._connect(origin, engine)
        return await self._ask(origin, fresh, head, body, patience)

    def put_back(self, origin: Origin, connection: Connection) -> None:
        """Take a connection back after an answer; one in the middle of it is cut."""
        if connection not in self._busy:
            return
        self._busy.discard(connection)
        if connection.idle and len(self._idle[origin]) < _MOST_IDLE:
            self._idle[origin].append(connection)
        else:
            connection.abort()

    def await_end(self, origin: Origin, connection: Connection) -> None:
        """Take a connection back as soon as its answer has ended, which is expected any moment."""
        if connection.complete or not connection.open or connection.unread:
            self.put_back(origin, connection)
        else:
            connection.patience = _END_SECONDS
            connection.ended = partial(self.put_back, origin, connection)

    async def sweep_forever(self) -> None:
        """End answers whose engine has been silent for too long, and drop what is closed."""
        loop = asyncio.get_running_loop()
        pruned = loop.time()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = loop.time()
            if now - pruned > _PRUNE_SECONDS:
                pruned = now
                self._prune()
            for connection in [c for c in self._busy if c.overdue(now)]:
                connection.fail(EngineFailed(504, f"no byte within {connection.patience:.3g} s"))

    def _prune(self) -> None:
        """Forget kept connections that their replicas have closed; some replicas never return."""
        for origin, kept in list(self._idle.items()):
            if alive := [connection for connection in kept if connection.open]:
                self._idle[origin] = alive
            else:
                del self._idle[origin]

    def close(self) -> None:
        """Cut every connection."""
        for connection in (*self._busy, *(c for kept in self._idle.values() for c in kept)):
            connection.abort()

    async def _ask(
        self, origin: Origin, connection: Connection, head: bytes, body: bytes, patience: float
    ) -> Answer:
        self._busy.add(connection)
        try:
            connection.send(head, body, patience)
            await connection.begun()
        except BaseException:
            self._busy.discard(connection)
            connection.abort()
            raise
        return Answer(self, origin, connection)

    def _take(self, origin: Origin) -> Connection | None:
        """The connection used last, which the engine is least likely to have closed."""
        kept = self._idle[origin]
        while kept:
            if (connection := kept.pop()).open:
                return connection
        return None

    async def _connect(self, origin: Origin, engine: Engine) -> Connection:
        loop = asyncio.get_running_loop()
        tls = (self._tls or system_trust()) if origin.tls else None
        try:
            async with asyncio.timeout(engine.connect_timeout):
                _, connection = await loop.create_connection(
                    Connection, origin.host, origin.port, ssl=tls
                )
        except TimeoutError as exc:
            raise EngineUnreachable(
                f"no connection to {origin.host}:{origin.port} within {engine.connect_timeout:g} s"
            ) from exc
        except OSError as exc:
            raise EngineUnreachable(f"{origin.host}:{origin.port}: {exc}") from exc
        return connection
