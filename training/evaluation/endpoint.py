"""Answers over HTTP from whatever speaks OpenAI's chat completions: gateway, engine, provider."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from training.errors import EndpointError
from training.evaluation.evaluate import Answers, Question
from training.evaluation.likelihood import Loss
from training.evaluation.speed import Meter
from training.rows import Row

_TIMEOUT = aiohttp.ClientTimeout(total=300)
# Errors that every further request would meet as well.
_HOPELESS = frozenset({401, 403, 404})
_NO_LOGPROBS = "the server gives no prompt_logprobs (vLLM does); measure perplexity in process"


@dataclass(frozen=True, slots=True)
class _Reply:
    """What a server answered, a JSON object, and after how long."""

    content: dict[str, Any]
    seconds: float


class Endpoint:
    """A server at `url`; `answers` gives the function that asks one of its models, greedily."""

    def __init__(
        self, url: str, *, key: str | None = None, concurrency: int = 8, retrieval: bool = False
    ) -> None:
        self._url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._concurrency, self._retrieval = concurrency, retrieval

    def answers(self, model: str, meter: Meter | None = None) -> Answers:
        """Greedy answers of `model`; None for a row whose request failed."""
        meter = meter or Meter()

        def ask(
            questions: Sequence[Question], on_progress: Callable[[int, int], None]
        ) -> list[str | None]:
            def body(question: Question) -> dict[str, Any]:
                return {
                    "model": model,
                    "messages": question.messages,
                    "max_tokens": question.max_tokens,
                    "temperature": 0,
                }

            began = time.monotonic()
            bodies = [body(one) for one in questions]
            replies = asyncio.run(self._post_all(bodies, on_progress, self._concurrency))
            meter.seconds += time.monotonic() - began
            return [_answer(reply, meter) for reply in replies]

        return ask

    def losses(
        self,
        model: str,
        rows: Sequence[Row],
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Loss | None]:
        """How unlikely `model` holds the expected answers to be; None where a request failed.

        One request at a time: a vLLM with adapters may end when it computes `prompt_logprobs`
        beside other requests (vLLM issues 16668 and 29955), whoever's they are.

        Raises EndpointError unless the server gives `prompt_logprobs`, as vLLM does and a gateway
        does not.
        """
        asked = [body for row in rows for body in _likelihood_bodies(model, row)]
        replies = asyncio.run(self._post_all(asked, on_progress, at_once=1))
        return [_loss(*pair) for pair in zip(replies[::2], replies[1::2], strict=True)]

    async def _post_all(
        self,
        bodies: Sequence[dict[str, Any]],
        on_progress: Callable[[int, int], None],
        at_once: int,
    ) -> list[_Reply | None]:
        gate = asyncio.Semaphore(at_once)
        done = 0
        async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=self._headers) as session:
            extras = await extras_of(session, self._url, retrieval=self._retrieval)

            async def one(body: dict[str, Any]) -> _Reply | None:
                nonlocal done
                async with gate:
                    reply = await self._post(session, body | extras)
                done += 1
                on_progress(done, len(bodies))
                return reply

            try:
                async with asyncio.TaskGroup() as group:
                    asked = [group.create_task(one(body)) for body in bodies]
            except* EndpointError as problems:
                raise problems.exceptions[0] from None
        return [task.result() for task in asked]

    async def _post(self, session: aiohttp.ClientSession, body: dict[str, Any]) -> _Reply | None:
        began = time.monotonic()
        try:
            async with session.post(f"{self._url}/v1/chat/completions", json=body) as answer:
                if answer.status in _HOPELESS:
                    raise EndpointError(
                        f"{self._url} refuses {body['model']!r}: {(await answer.text())[:300]}"
                    )
                if answer.status == 400 and "prompt_logprobs" in body:
                    raise EndpointError(f"{_NO_LOGPROBS}: {(await answer.text())[:300]}")
                if answer.status != 200:
                    return None
                content = await answer.json()
                if not isinstance(content, dict):
                    return None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
        return _Reply(content, time.monotonic() - began)


async def extras_of(
    session: aiohttp.ClientSession, url: str, *, retrieval: bool = False
) -> dict[str, Any]:
    """What only a Turnout gateway understands: no log, and no passages unless wanted. Raises
    EndpointError."""
    try:
        async with session.get(f"{url}/healthz") as answer:
            is_gateway = answer.status == 200
    except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
        raise EndpointError(f"{url} does not answer ({exc}); is it running?") from exc
    if not is_gateway:
        return {}
    return {"turnout": {"log": False} if retrieval else {"log": False, "retrieval": False}}


def _answer(reply: _Reply | None, meter: Meter) -> str | None:
    """The text of a chat completion, None if it is none; what it took is told to the meter."""
    if reply is None:
        return None
    try:
        text = reply.content["choices"][0]["message"]["content"]
    except (LookupError, TypeError):
        return None
    if not isinstance(text, str):
        return None
    meter.waited.append(reply.seconds)
    usage = reply.content.get("usage")
    told = usage if isinstance(usage, dict) else {}
    for name, counts in (("prompt_tokens", meter.asked), ("completion_tokens", meter.tokens)):
        if isinstance(tokens := told.get(name), int):
            counts.append(tokens)
    return text


def _likelihood_bodies(model: str, row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two requests: one tells where the answer begins, the other what its tokens are worth."""
    answer = {"role": "assistant", "content": row.answer}
    asked = {"model": model, "messages": row.messages, "max_tokens": 1, "temperature": 0}
    told = {"messages": [*row.messages, answer], "add_generation_prompt": False}
    return asked, asked | told | {"prompt_logprobs": 0}


def _loss(asked: _Reply | None, told: _Reply | None) -> Loss | None:
    """From both replies; what the template writes after the end of the turn is no answer."""
    if asked is None or told is None:
        return None
    if told.content.get("prompt_logprobs") is None:
        raise EndpointError(_NO_LOGPROBS)
    try:
        start = asked.content["usage"]["prompt_tokens"]
        said = [next(iter(token.values())) for token in told.content["prompt_logprobs"][start:]]
        while said and not said[-1]["decoded_token"].strip():
            said.pop()
        return Loss(-sum(float(token["logprob"]) for token in said), len(said))
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration):
        return None
