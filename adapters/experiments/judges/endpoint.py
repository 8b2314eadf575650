"""The model server behind one judge: asks it, and again where that helps. Knows nothing of what is
judged."""

import asyncio
from collections.abc import Mapping, Sequence
from random import uniform

import aiohttp
import msgspec
from msgspec import Struct

from adapters.errors import EngineError, EngineTimeout
from adapters.experiments.design import Judge

PAUSES = (1.0, 4.0)  # seconds before the second and the third try
SECONDS = 60.0  # for one answer
_MOST_BYTES = 2**20
_MOST_TOKENS = 1024  # room for a model that thinks before it speaks

Message = Mapping[str, str]


class _Said(Struct):
    content: str | None = None


class _Choice(Struct):
    message: _Said


class _Usage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


_completion = msgspec.json.Decoder(_Completion).decode


class JudgeEndpoint:
    """A judge's `POST /chat/completions`; whoever opened the session closes it. Counts the tokens,
    where the endpoint tells."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        judge: Judge,
        key: str | None = None,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._session = session
        self._url = f"{judge.url.rstrip('/')}/chat/completions"
        self._model = judge.model
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._pauses = pauses
        self.prompt_tokens = 0
        self.completion_tokens = 0

    async def ask(self, messages: Sequence[Message]) -> str:
        """The judge's reply. 429 and 5xx are tried again; raises EngineError with the last status,
        0 where no answer came."""
        for pause in self._pauses:
            try:
                return await self._once(messages)
            except EngineError as exc:
                if exc.status != 429 and exc.status < 500:
                    raise
                await asyncio.sleep(pause * uniform(0.5, 1.5))  # not all at once again
        return await self._once(messages)

    async def _once(self, messages: Sequence[Message]) -> str:
        body = {
            "model": self._model,
            "messages": list(messages),
            "temperature": 0,
            "max_completion_tokens": _MOST_TOKENS,
        }
        try:
            async with self._session.post(
                self._url,
                json=body,
                headers=self._headers,
                allow_redirects=False,  # the key and the users' words go to nobody else
                timeout=aiohttp.ClientTimeout(total=SECONDS),
            ) as response:
                status, raw = response.status, await self._read(response)
        except TimeoutError as exc:
            raise EngineTimeout(f"{self._url}: no answer within {SECONDS:g} s") from exc
        except aiohttp.ClientError as exc:
            raise EngineError(f"{self._url}: {exc or type(exc).__name__}") from exc
        if status != 200:
            told = raw[:300].decode(errors="replace")
            raise EngineError(f"{self._url}: {status} {told}", status)
        return self._reply(raw)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        raw = bytearray()
        async for chunk in response.content.iter_any():
            raw += chunk
            if len(raw) > _MOST_BYTES:
                raise EngineError(f"{self._url}: an answer of more than {_MOST_BYTES} bytes")
        return bytes(raw)

    def _reply(self, raw: bytes) -> str:
        try:
            completion = _completion(raw)
            text = completion.choices[0].message.content
        except (msgspec.DecodeError, IndexError) as exc:
            raise EngineError(f"{self._url}: not a chat completion ({exc})") from exc
        if completion.usage is not None:
            self.prompt_tokens += completion.usage.prompt_tokens
            self.completion_tokens += completion.usage.completion_tokens
        return text or ""
