"""Answers over HTTP from whatever speaks OpenAI's chat completions: gateway, engine, provider."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp

from training.errors import EndpointError
from training.evaluation.evaluate import Answers, Question

_TIMEOUT = aiohttp.ClientTimeout(total=300)
# Errors that every further request would meet as well.
_HOPELESS = frozenset({401, 403, 404})


class Endpoint:
    """A server at `url`; `answers` gives the function that asks one of its models, greedily."""

    def __init__(
        self, url: str, *, key: str | None = None, concurrency: int = 8, retrieval: bool = False
    ) -> None:
        self._url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._concurrency, self._retrieval = concurrency, retrieval

    def answers(self, model: str) -> Answers:
        """Greedy answers of `model`; None for a row whose request failed."""

        def ask(
            questions: Sequence[Question], on_progress: Callable[[int, int], None]
        ) -> list[str | None]:
            return asyncio.run(self._ask_all(model, questions, on_progress))

        return ask

    async def _ask_all(
        self, model: str, questions: Sequence[Question], on_progress: Callable[[int, int], None]
    ) -> list[str | None]:
        gate = asyncio.Semaphore(self._concurrency)
        done = 0
        async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=self._headers) as session:
            extras = await self._extras(session)

            async def one(question: Question) -> str | None:
                nonlocal done
                async with gate:
                    text = await self._ask(session, model, question, extras)
                done += 1
                on_progress(done, len(questions))
                return text

            try:
                async with asyncio.TaskGroup() as group:
                    asked = [group.create_task(one(question)) for question in questions]
            except* EndpointError as problems:
                raise problems.exceptions[0] from None
        return [task.result() for task in asked]

    async def _extras(self, session: aiohttp.ClientSession) -> dict[str, Any]:
        """What only a Turnout gateway understands: no log, and no passages unless wanted."""
        try:
            async with session.get(f"{self._url}/healthz") as answer:
                is_gateway = answer.status == 200
        except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
            raise EndpointError(f"{self._url} does not answer ({exc}); is it running?") from exc
        if not is_gateway:
            return {}
        return {
            "turnout": {"log": False} if self._retrieval else {"log": False, "retrieval": False}
        }

    async def _ask(
        self, session: aiohttp.ClientSession, model: str, question: Question, extras: dict[str, Any]
    ) -> str | None:
        body = {
            "model": model,
            "messages": question.messages,
            "max_tokens": question.max_tokens,
            "temperature": 0,
            **extras,
        }
        try:
            async with session.post(f"{self._url}/v1/chat/completions", json=body) as answer:
                if answer.status in _HOPELESS:
                    raise EndpointError(
                        f"{self._url} refuses {model!r}: {(await answer.text())[:300]}"
                    )
                if answer.status != 200:
                    return None
                content = (await answer.json())["choices"][0]["message"]["content"]
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError):
            return None
        return content if isinstance(content, str) else None
