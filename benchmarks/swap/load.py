"""Load as applications make it: general and domain questions mixed, every other answer streamed.

Each request leaves a Record; what counts as failed or wrong is decided later, in report.py.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp

CHAT = "/v1/chat/completions"
# A prompt token costs an adapter about 10 ms in vLLM on one CPU core (the base model 1 ms), and
# passages are a thousand of them: without grounding, more swaps meet more answers.
PLAIN = {"turnout": {"retrieval": False}}
PATIENCE = aiohttp.ClientTimeout(total=180, sock_connect=10)


class Ending(StrEnum):
    """How a stream ended."""

    DONE = "done"
    ERROR = "error"  # one error event, and nothing behind it
    UNCLEAN = "unclean"  # broken off, or something behind its last event
    NONE = "none"  # it never began


@dataclass(slots=True)
class Record:
    """One request and what came of it. Moments are `time.monotonic` seconds."""

    asked: str
    stream: bool
    begun: float
    ended: float = 0.0
    first: float | None = None  # first content, of streams
    answered: float | None = None  # status line
    status: int = 0
    model: str = ""
    text: str = ""
    ending: Ending = Ending.NONE
    headers: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    @property
    def ttft(self) -> float | None:
        """Seconds to the first content of a stream."""
        return None if self.first is None else self.first - self.begun

    @property
    def route(self) -> str:
        return self.headers.get("x-turnout-route", "")

    @property
    def reason(self) -> str:
        return self.headers.get("x-turnout-reason", "")

    @property
    def replica(self) -> str:
        """The replica that answered, from `x-turnout-debug: replica=URL; …`."""
        parts = self.headers.get("x-turnout-debug", "").split(";")
        pairs = [part.strip().partition("=") for part in parts]
        return next((value for name, _, value in pairs if name == "replica"), "")

    @property
    def complete(self) -> bool:
        """Whether the caller got a whole answer with text in it."""
        return self.status == 200 and bool(self.text) and self.ending in (Ending.DONE, Ending.NONE)

    def told(self) -> str:
        """One line about a request that went wrong."""
        kind = "stream" if self.stream else "request"
        return f"{kind} to {self.asked}: {self.status} {self.ending} {self.problem}".strip()


async def ask(
    session: aiohttp.ClientSession, model: str, text: str, *, stream: bool, **body: Any
) -> Record:
    """Send one chat request and read its answer to the end; a bad answer is a record as well."""
    record = Record(model, stream, time.monotonic())
    await _carry_out(session, record, text, body)
    return record


async def _carry_out(
    session: aiohttp.ClientSession, record: Record, text: str, body: dict[str, Any]
) -> None:
    messages = [{"role": "user", "content": text}]
    payload = {"model": record.asked, "messages": messages, "stream": record.stream, **body}
    try:
        async with session.post(CHAT, json=payload, timeout=PATIENCE) as answer:
            record.answered = time.monotonic()
            record.status = answer.status
            record.headers = {name.lower(): value for name, value in answer.headers.items()}
            if answer.status == 200 and record.stream:
                await _read_stream(record, answer)
            else:
                _read_whole(record, await answer.read())
    except (aiohttp.ClientError, TimeoutError) as exc:
        record.problem = f"{type(exc).__name__}: {exc}"
    record.ended = time.monotonic()


def _read_whole(record: Record, raw: bytes) -> None:
    try:
        body = json.loads(raw)
        if record.status != 200:
            record.problem = body["error"]["message"]
            return
        record.model = body["model"]
        record.text = body["choices"][0]["message"]["content"] or ""
    except (ValueError, KeyError, TypeError) as exc:
        record.problem = f"unreadable answer ({exc}): {raw[:200]!r}"


async def _read_stream(record: Record, answer: aiohttp.ClientResponse) -> None:
    record.ending = Ending.UNCLEAN  # until it has proved to be something better
    ending = Ending.UNCLEAN
    async for data in _events(answer):
        if ending is not Ending.UNCLEAN:
            record.problem = f"{data[:200]!r} after the last event"
            return
        if data == b"[DONE]":
            ending = Ending.DONE
            continue
        try:
            event = json.loads(data)
        except ValueError:
            record.problem = f"unreadable event: {data[:200]!r}"
            return
        if "error" in event:
            ending = Ending.ERROR
            record.problem = str(event["error"].get("message"))
            continue
        record.model = event.get("model", record.model)
        for choice in event.get("choices") or ():
            if piece := choice["delta"].get("content"):
                record.first = record.first or time.monotonic()
                record.text += piece
    record.ending = ending


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The data of each server-sent event; a torn last one is given as it is."""
    buffer = b""
    async for chunk in answer.content.iter_any():
        *whole, buffer = (buffer + chunk).split(b"\n\n")
        for event in whole:
            yield event.removeprefix(b"data: ")
    if buffer:
        yield buffer


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked: about one domain, and about anything else."""

    domain: tuple[str, ...]
    general: tuple[str, ...]

    @classmethod
    def read(cls, examples: Path, domain: str) -> "Questions":
        """From a pack's questions and queries, and `general.jsonl` beside the packs."""
        own = _column(examples / domain / "questions.jsonl", "query")
        own += _column(examples / domain / "queries.jsonl", "text")
        return cls(tuple(own), tuple(_column(examples / "general.jsonl", "text")))


def _column(path: Path, name: str) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)[name]) for line in lines]


class Load:
    """N workers that each ask, wait for the answer, and ask again.

    `records` are the finished requests, `under_way` those that are being answered.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        questions: Questions,
        *,
        domain: str,
        workers: int,
        seed: int = 0,
    ) -> None:
        self.records: list[Record] = []
        self.under_way: list[Record] = []
        self._session = session
        self._asks = _mixture(questions, domain, random.Random(seed))
        self._workers = workers
        self._running = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the load up for the time of the block; requests under way are then waited for."""
        self._running = True
        tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]
        try:
            yield
        finally:
            self._running = False
            await asyncio.gather(*tasks)

    async def _work(self) -> None:
        while self._running:
            model, text, stream = next(self._asks)
            record = Record(model, stream, time.monotonic())
            self.under_way.append(record)
            # A few tokens at least: an adapter that stops at once would look like a failure.
            limits = {"max_tokens": 16, "min_tokens": 4, **PLAIN}
            await _carry_out(self._session, record, text, limits)
            self.under_way.remove(record)
            self.records.append(record)
            if record.status != 200:
                await asyncio.sleep(0.05)  # a refusal costs nothing: do not ask in a tight loop


def _mixture(
    questions: Questions, domain: str, chance: random.Random
) -> Iterator[tuple[str, str, bool]]:
    """Model, question, streamed: half of them the domain's, half of each through the router."""
    own, other = _shuffled(questions.domain, chance), _shuffled(questions.general, chance)
    pattern = [(domain, own), ("general", other), ("auto", own), ("auto", other)]
    for number in itertools.count():
        model, texts = pattern[number % 4]
        yield model, next(texts), (number // 4) % 2 == 0


def _shuffled(texts: tuple[str, ...], chance: random.Random) -> Iterator[str]:
    """All of them in random order, again and again."""
    while True:
        yield from chance.sample(texts, len(texts))
