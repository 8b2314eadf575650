"""Short questions to engines, each on a connection of its own: what the reconciler asks."""

import asyncio

from adapters.engines.client import Question
from adapters.errors import EngineError, EngineTimeout
from gateway.connection import Connection, prepared, system_trust
from gateway.errors import EngineFailed


async def ask(question: Question) -> tuple[int, bytes]:
    """The answer's status and body.

    Raises:
        EngineTimeout: it was not there in time.
        EngineError: no connection, or it broke.
    """
    try:
        async with asyncio.timeout(question.seconds):
            return await _asked(question)
    except TimeoutError as exc:
        raise EngineTimeout(f"{question.url}: no answer within {question.seconds:g} s") from exc
    except (OSError, EngineFailed) as exc:
        raise EngineError(f"{question.url}: {exc}") from exc


async def _asked(question: Question) -> tuple[int, bytes]:
    origin, head = prepared(question.method, question.url, question.key)
    head += b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(question.body)
    trust = system_trust() if origin.tls else None
    _, connection = await asyncio.get_running_loop().create_connection(
        Connection, origin.host, origin.port, ssl=trust
    )
    try:
        connection.send(head, question.body, question.seconds)
        await connection.begun()
        return connection.status, await connection.read()
    finally:
        connection.abort()
