"""aiohttp, behind the interface of the comparison."""

import ssl
from collections.abc import AsyncGenerator

import aiohttp

from benchmarks.clients.client import HEADERS, SILENCE_SECONDS, ClientFailed


class Client:
    def __init__(self, cafile: str | None = None) -> None:
        tls = ssl.create_default_context(cafile=cafile)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=SILENCE_SECONDS),
            headers=HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def whole(self, url: str, body: bytes) -> tuple[int, bytes]:
        try:
            async with self._session.post(url, data=body) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise ClientFailed(repr(exc)) from exc

    async def stream(self, url: str, body: bytes) -> AsyncGenerator[bytes, None]:
        try:
            async with self._session.post(url, data=body) as answer:
                async for piece in answer.content.iter_any():
                    yield piece
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise ClientFailed(repr(exc)) from exc

    async def close(self) -> None:
        await self._session.close()
