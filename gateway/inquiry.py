"""Short questions to engines, each on a connection of its own: what the reconciler asks."""

import asyncio
import ssl
from functools import cache
from urllib.parse import urlsplit

from adapters.engines.client import Question
from adapters.errors import EngineError, EngineTimeout
from gateway.connection import Connection
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
    parts = urlsplit(question.url)
    tls = _tls() if parts.scheme == "https" else None
    host, port = parts.hostname or "", parts.port or (443 if tls else 80)
    _, connection = await asyncio.get_running_loop().create_connection(
        Connection, host, port, ssl=tls
    )
    try:
        connection.send(_head(question, parts.netloc, parts.path), question.body, question.seconds)
        await connection.begun()
        return connection.status, await connection.read()
    finally:
        connection.abort()


def _head(question: Question, host: str, path: str) -> bytes:
    lines = [
        f"{question.method} {path} HTTP/1.1",
        f"host: {host.rpartition('@')[2]}",
        f"content-length: {len(question.body)}",
        "content-type: application/json",
        "connection: close",
    ]
    if question.key:
        lines.append(f"authorization: Bearer {question.key}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
