"""Simulated users: short sessions of questions with one right answer, and thumbs that follow the
truth through a known noise.

They see what a client sees. What became of it is judged from the store, in `checks`.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

import aiohttp

from benchmarks.swap.load import CHAT, PATIENCE

RETURNING = 40  # sessions from before a kill that come back after it


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the only answer that is right."""

    messages: Sequence[Mapping[str, str]]
    right: str


@dataclass(frozen=True, slots=True)
class Session:
    """One visit of one user: the unit of an experiment."""

    name: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Manner:
    """How users behave. Probabilities, but for the `most_questions` of a session, the
    `pause_seconds` before each (on average), and the `late_seconds` within which late feedback
    comes, and so out of order."""

    up_if_right: float = 0.9
    up_if_wrong: float = 0.15
    judges: float = 0.5
    is_late: float = 0.3
    repeats: float = 0.2
    late_seconds: float = 6.0
    pause_seconds: float = 5.0
    most_questions: int = 3

    @property
    def sessions_judged(self) -> float:
        """The part of the sessions with any feedback."""
        lengths = range(1, self.most_questions + 1)
        return mean(1 - (1 - self.judges) ** length for length in lengths)

    def sessions(self, questions: Sequence[Question], count: int, seed: int) -> list[Session]:
        """So many sessions, the same for the same seed."""
        chance = random.Random(seed)
        lengths = [chance.randint(1, self.most_questions) for _ in range(count)]
        return [
            Session(f"user-{seed}-{number}", tuple(chance.sample(questions, length)))
            for number, length in enumerate(lengths)
        ]


@dataclass
class Seen:
    """What users know, all together: receipts of whole answers with their sessions, receipts with
    the thumb that the gateway accepted, and what failed.

    `struck` is when the gateway was killed (unix seconds); the requests that this `cut_off` were
    sent again later. `sessions` are through.
    """

    answered: dict[str, str] = field(default_factory=dict)
    said: dict[str, bool] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    cut_off: int = 0
    struck: float | None = None
    sessions: int = 0


class Users:
    """Everybody who asks. Until `over` is set, workers take the sessions that wait, one after
    another; while `gate` is closed, nothing is sent. `under_way` requests wait for their answer."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        model: str,
        manner: Manner,
        body: Mapping[str, Any],
        seen: Seen,
    ) -> None:
        self.seen = seen
        self.under_way = 0
        self.over = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self._http = http
        self._model = model
        self._manner = manner
        self._body = dict(body)
        self._waiting: deque[Session] = deque()

    async def visit(self, sessions: Iterable[Session], workers: int) -> None:
        """Until the sessions are through, or `over`: then those that have begun are finished. The
        last feedback is waited for."""
        self._waiting = deque(sessions)
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(group))

    def strike(self) -> None:
        """From now on the gateway is killed: what fails is no failure, and is sent again later."""
        self.gate.clear()
        self.seen.struck = time.time()

    def go_on(self, questions: Sequence[Question]) -> None:
        """The gateway is back, and so are users that it knew before, first of all."""
        known = list(dict.fromkeys(self.seen.answered.values()))[:RETURNING]
        back = [Session(name, (q,)) for name, q in zip(known, questions, strict=False)]
        self._waiting.extendleft(back)
        self.gate.set()

    async def _work(self, group: asyncio.TaskGroup) -> None:
        while self._waiting and not self.over.is_set():
            session = self._waiting.popleft()
            for question in session.questions:
                # Not by the receipt, which nobody can repeat: the same users do the same each run.
                chance = random.Random(f"{session.name} {question.messages[-1]['content']}")
                await self._read(chance.uniform(0.5, 1.5) * self._manner.pause_seconds)
                await self._ask(session, question, chance, group)
            self.seen.sessions += 1

    async def _read(self, seconds: float) -> None:
        """Look at the last answer for a while; nobody lingers once all is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)

    async def _ask(
        self,
        session: Session,
        question: Question,
        chance: random.Random,
        group: asyncio.TaskGroup,
    ) -> None:
        body = {"model": self._model, "messages": question.messages, **self._body}
        body["turnout"] = {"retrieval": False, "session": session.name}
        answer = await self._send(CHAT, body)
        if answer is None:
            return
        receipt: str = answer["id"]
        self.seen.answered[receipt] = session.name
        text = (answer["choices"][0]["message"]["content"] or "").strip()
        manner = self._manner
        if chance.random() < manner.judges:
            likely = manner.up_if_right if text == question.right else manner.up_if_wrong
            up = chance.random() < likely
            times = 2 if chance.random() < manner.repeats else 1
            late = chance.uniform(0, manner.late_seconds) if chance.random() < manner.is_late else 0
            group.create_task(self._judge(receipt, up, times, late))

    async def _judge(self, receipt: str, up: bool, times: int, late: float) -> None:
        await asyncio.sleep(late)
        body = {"id": receipt, "metric": "thumb", "value": up}
        for _ in range(times):
            if await self._send("/v1/feedback", body) is not None:
                self.seen.said[receipt] = up

    async def _send(self, path: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer's body; None after a failure."""
        while True:
            await self.gate.wait()
            self.under_way += 1
            try:
                async with self._http.post(path, json=body, timeout=PATIENCE) as answer:
                    content: dict[str, Any] = await answer.json()
                    if answer.ok:
                        return content
                    self.seen.failures.append(
                        f"{path}: {answer.status} {content['error']['message']}"
                    )
                    return None
            except (aiohttp.ClientError, TimeoutError) as exc:
                if self.gate.is_set():
                    self.seen.failures.append(f"{path}: {type(exc).__name__} {exc}")
                    return None
                self.seen.cut_off += 1
            finally:
                self.under_way -= 1
