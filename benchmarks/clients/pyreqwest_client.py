"""pyreqwest (reqwest and hyper, in Rust), behind the interface of the comparison."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

# It is in an environment of its own.
from pyreqwest.client import ClientBuilder  # type: ignore[import-not-found]
from pyreqwest.exceptions import PyreqwestError  # type: ignore[import-not-found]

from benchmarks.clients.client import HEADERS, SILENCE_SECONDS, ClientFailed


class Client:
    def __init__(self, cafile: str | None = None) -> None:
        builder = ClientBuilder().default_headers(HEADERS).no_proxy()
        builder = builder.read_timeout(timedelta(seconds=SILENCE_SECONDS))
        if cafile is not None:
            builder = builder.add_root_certificate_pem(Path(cafile).read_bytes())
        self._client = builder.build()

    async def whole(self, url: str, body: bytes) -> tuple[int, bytes]:
        try:
            answer = await self._client.post(url).body_bytes(body).build().send()
            return answer.status, bytes(await answer.bytes())
        except PyreqwestError as exc:
            raise ClientFailed(repr(exc)) from exc

    async def stream(self, url: str, body: bytes) -> AsyncGenerator[bytes, None]:
        # Without the limit it holds back events until so many bytes are there.
        request = self._client.post(url).body_bytes(body).streamed_read_buffer_limit(0)
        try:
            async with request.build_streamed() as answer:
                while (piece := await answer.body_reader.read_chunk()) is not None:
                    yield bytes(piece)
        except PyreqwestError as exc:
            raise ClientFailed(repr(exc)) from exc

    async def close(self) -> None:
        await self._client.close()
