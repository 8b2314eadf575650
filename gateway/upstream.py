"""The HTTP client towards engines: open an answer, read it, close it. Translates transport failures
once."""

from collections.abc import AsyncIterator

import aiohttp

from gateway.errors import EngineFailed, EngineUnreachable
from gateway.settings import Engine


class Answer:
    """An engine's answer whose status is known and whose body is still on its way."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status

    async def read(self) -> bytes:
        """The whole body; raises EngineFailed when the engine breaks off."""
        try:
            return await self._response.read()
        except TimeoutError as exc:
            raise EngineFailed(504, "the engine stopped answering") from exc
        except aiohttp.ClientError as exc:
            raise EngineFailed(502, f"the engine broke off its answer: {exc}") from exc

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; raises EngineFailed when the engine breaks off."""
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except TimeoutError as exc:
            raise EngineFailed(504, "the engine stopped answering") from exc
        except aiohttp.ClientError as exc:
            raise EngineFailed(502, f"the engine broke off its answer: {exc}") from exc

    def close(self) -> None:
        """Drop the connection unless the body was read to its end; the engine then stops
        computing."""
        self._response.close()


class Upstream:
    """Opens answers. One per application; its session pools connections per replica."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def open(self, url: str, body: bytes, *, engine: Engine, request_id: str) -> Answer:
        """POST `body` to a replica of `engine` and return once the status is there.

        Raises:
            EngineUnreachable: no connection could be made.
            EngineFailed: 504 when no byte came in time, 502 when the connection broke.
        """
        headers = {"content-type": "application/json", "x-request-id": request_id}
        if key := engine.bearer:
            headers["authorization"] = f"Bearer {key}"
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=engine.connect_timeout, sock_read=engine.timeout
        )
        try:
            return Answer(
                await self._session.post(
                    url, data=body, headers=headers, timeout=limits, allow_redirects=False
                )
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise EngineUnreachable(f"no engine answers at {url}") from exc
        except TimeoutError as exc:
            raise EngineFailed(504, f"no answer within {engine.timeout:g} s") from exc
        except aiohttp.ClientError as exc:
            raise EngineFailed(502, f"the engine broke the connection: {exc}") from exc
