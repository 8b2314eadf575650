"""A model that writes, behind OpenAI's chat completions: patient with a server that is busy, and
strict about what it may spend."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from random import uniform

import aiohttp
import msgspec
from msgspec import Struct

from training.errors import EndpointError
from training.evaluation.endpoint import extras_of

TRIES = 5
_LONGEST_PAUSE = 60.0  # seconds
_TIMEOUT = aiohttp.ClientTimeout(total=300)
_MOST_BYTES = 2**22
_CHARACTERS_PER_TOKEN = 2  # at the least: what is reserved is never too little


class _Said(Struct):
    content: str | None = None


class _Choice(Struct):
    message: _Said


class _Usage(Struct):
    total_tokens: int = 0


class _Completion(Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


_completion = msgspec.json.Decoder(_Completion).decode


class Spent(Exception):
    """What is left of the budget does not suffice for another request."""


class Provider:
    """One model at `url`. Whoever opened the session closes it.

    `tokens` counts what was spent, `retries` requests that had to be made again. `most` is the
    budget in tokens; a request begins only if it cannot go beyond it.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        model: str,
        *,
        key: str | None = None,
        most: int | None = None,
        max_tokens: int = 1024,
    ) -> None:
        self._session, self._model, self._most = session, model, most
        self._server = url.rstrip("/").removesuffix("/v1")
        self._url = f"{self._server}/v1/chat/completions"
        self._extras: dict[str, object] = {}
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._max_tokens = max_tokens
        self._reserved = 0
        self.tokens = 0
        self.retries = 0

    async def connect(self) -> None:
        """Find out what is there; raises EndpointError if nothing is."""
        self._extras = await extras_of(self._session, self._server)

    async def ask(self, messages: Sequence[Mapping[str, str]], seed: int) -> str | None:
        """The reply; None if the server does not give one however often it is asked.

        Raises:
            EndpointError: every other request would fail as well.
            Spent: the budget does not allow the request.
        """
        text = sum(len(message["content"]) for message in messages)
        dearest = self._max_tokens + math.ceil(text / _CHARACTERS_PER_TOKEN)
        if self._most is not None and self.tokens + self._reserved + dearest > self._most:
            raise Spent
        self._reserved += dearest
        try:
            return await self._patiently(messages, seed, dearest)
        finally:
            self._reserved -= dearest

    async def _patiently(
        self, messages: Sequence[Mapping[str, str]], seed: int, dearest: int
    ) -> str | None:
        body = {
            "model": self._model,
            "messages": list(messages),
            "max_tokens": self._max_tokens,
            "temperature": 0.8,
            "seed": seed,
            **self._extras,
        }
        for attempt in range(TRIES):
            if attempt:
                self.retries += 1
            pause: float = 2**attempt / 2
            try:
                async with self._session.post(
                    self._url,
                    json=body,
                    headers=self._headers,
                    allow_redirects=False,
                    timeout=_TIMEOUT,
                ) as response:
                    if response.status == 200:
                        return self._reply(await _bounded(response), dearest)
                    if response.status != 429 and response.status < 500:
                        told = (await _bounded(response))[:300].decode(errors="replace")
                        raise EndpointError(f"{self._url}: {response.status} {told}")
                    pause = _asked_for(response.headers.get("retry-after"), pause)
                    problem = f"status {response.status}"
            except (aiohttp.ClientError, TimeoutError) as exc:
                problem = str(exc) or type(exc).__name__
            if attempt + 1 < TRIES:
                await asyncio.sleep(min(pause, _LONGEST_PAUSE))
        if self.tokens == 0:
            raise EndpointError(f"{self._url} gives no answer ({problem}); is it running?")
        return None

    def _reply(self, raw: bytes, dearest: int) -> str:
        try:
            completion = _completion(raw)
            text = completion.choices[0].message.content or ""
        except (msgspec.DecodeError, IndexError) as exc:
            raise EndpointError(f"{self._url}: not a chat completion ({exc})") from exc
        known = completion.usage.total_tokens if completion.usage else 0
        self.tokens += known if known > 0 else dearest
        return text


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > _MOST_BYTES:
            raise EndpointError(f"{response.url}: a reply of more than {_MOST_BYTES} bytes")
    return bytes(raw)


def _asked_for(header: str | None, otherwise: float) -> float:
    """Seconds that a server wants to be left alone; dates are not read."""
    try:
        seconds = float(header or "")
    except ValueError:
        seconds = math.nan
    if math.isfinite(seconds) and seconds >= 0:
        return seconds
    return otherwise * uniform(0.5, 1.5)  # not all at once again
