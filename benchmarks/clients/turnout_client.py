"""The gateway's own client, behind the interface of the comparison."""

import ssl
from collections.abc import AsyncGenerator

from benchmarks.clients.client import SILENCE_SECONDS, ClientFailed
from gateway.errors import EngineFailed
from gateway.settings import Engine
from gateway.upstream import Answer, Upstream

_ENGINE = Engine(name="bench", urls=("http://127.0.0.1",), model="bench")


class Client:
    def __init__(self, cafile: str | None = None) -> None:
        self._upstream = Upstream(ssl.create_default_context(cafile=cafile))

    async def whole(self, url: str, body: bytes) -> tuple[int, bytes]:
        try:
            answer = await self._open(url, body)
            try:
                return answer.status, await answer.read()
            finally:
                answer.close()
        except EngineFailed as exc:
            raise ClientFailed(str(exc)) from exc

    async def stream(self, url: str, body: bytes) -> AsyncGenerator[bytes, None]:
        try:
            answer = await self._open(url, body)
            try:
                while piece := await answer.more():
                    yield piece
            finally:
                answer.close()
        except EngineFailed as exc:
            raise ClientFailed(str(exc)) from exc

    async def close(self) -> None:
        self._upstream.close()

    async def _open(self, url: str, body: bytes) -> Answer:
        return await self._upstream.open(
            url, body, engine=_ENGINE, request_id="bench", patience=SILENCE_SECONDS
        )
