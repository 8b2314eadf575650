"""Simulated users behind the official client: they ask, compare with the truth they know, and say
so, each in his manner. They see what any application sees."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from openai import AsyncOpenAI, OpenAIError

from benchmarks.loop.questions import DOMAIN, TASK, Question

# The longest intent has eleven tokens.
MOST_TOKENS = 16
_TIMEOUT = 120.0


class Manner(StrEnum):
    """What a user does with an answer: `honest` says whether it is right and corrects a wrong one,
    `noisy` is mistaken in a third of that, `silent` says nothing, `liar` teaches one wrong answer
    to everything, `cheat` teaches right ones and asks only what the owner judges by."""

    HONEST = "honest"
    NOISY = "noisy"
    SILENT = "silent"
    LIAR = "liar"
    CHEAT = "cheat"


@dataclass(frozen=True, slots=True)
class Visit:
    """One user's session."""

    user: str
    manner: Manner
    questions: tuple[Question, ...]


@dataclass
class Seen:
    """What happened, as clients know it: requests, failures, which model answered how many, and the
    receipts that got feedback, by manner."""

    requests: int = 0
    failures: list[str] = field(default_factory=list)
    models: Counter[str] = field(default_factory=Counter)
    judged: dict[str, Manner] = field(default_factory=dict)


class People:
    """Everybody who asks `model`, by default the domain. `lie` is what liars teach."""

    def __init__(self, url: str, key: str, *, lie: str, seed: int) -> None:
        self._client = AsyncOpenAI(
            base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=_TIMEOUT
        )
        self._lie, self._seed = lie, seed
        self.seen = Seen()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def exam(self, questions: Sequence[Question], *, together: int = 4) -> list[bool]:
        """Which questions are answered rightly now; asked outside the log."""
        gate = asyncio.Semaphore(together)

        async def right(question: Question) -> bool:
            async with gate:
                answer = await self._ask(question, "exam", log=False)
            return answer is not None and answer[1] == question.right

        return list(await asyncio.gather(*map(right, questions)))

    async def visit(
        self, visits: Iterator[Visit], enough: asyncio.Event, *, together: int, pause: float
    ) -> None:
        """Let `together` users at a time come, until `enough` or nobody is left; each reads for
        `pause` seconds on average before a question."""

        async def work() -> None:
            for visit in visits:
                if enough.is_set():
                    return
                await self._sit(visit, pause)

        async with asyncio.TaskGroup() as group:
            for _ in range(together):
                group.create_task(work())

    async def _sit(self, visit: Visit, pause: float) -> None:
        chance = random.Random(f"{self._seed} {visit.user}")
        for question in visit.questions:
            await asyncio.sleep(chance.uniform(0.5, 1.5) * pause)
            answer = await self._ask(question, visit.user)
            if answer is not None and visit.manner is not Manner.SILENT:
                await self._judge(*answer, question, visit.manner, chance)

    async def _ask(
        self, question: Question, user: str, *, log: bool = True
    ) -> tuple[str, str] | None:
        """The receipt and the text; None after a failure."""
        self.seen.requests += 1
        try:
            answer = await self._client.chat.completions.create(
                model=DOMAIN,
                messages=list(question.messages),  # type: ignore[arg-type]  # plain dicts
                max_tokens=MOST_TOKENS,
                temperature=0,
                user=user,
                metadata={"task": TASK},
                extra_body={"turnout": {"session": user, "retrieval": False, "log": log}},
            )
        except OpenAIError as exc:
            self.seen.failures.append(f"question: {exc}")
            return None
        self.seen.models[answer.model] += 1
        return answer.id, (answer.choices[0].message.content or "").strip()

    async def _judge(
        self, receipt: str, text: str, question: Question, manner: Manner, chance: random.Random
    ) -> None:
        truth = text == question.right
        mistaken = manner is Manner.NOISY and chance.random() < 1 / 3
        body: dict[str, object] = {"id": receipt, "metric": "thumb", "value": truth != mistaken}
        if manner is Manner.LIAR:
            body |= {"value": False, "demonstration": self._lie}
        elif not truth and not mistaken:
            body["demonstration"] = question.right
        self.seen.requests += 1
        try:
            await self._client.post("/feedback", body=body, cast_to=object)
        except OpenAIError as exc:
            self.seen.failures.append(f"feedback: {exc}")
            return
        self.seen.judged[receipt] = manner


def visits(
    questions: Sequence[Question], manners: Sequence[Manner], name: str, seed: int
) -> Iterator[Visit]:
    """Sessions without end, each of one or two questions; every question once before any twice.
    Manners come in turn."""
    chance = random.Random(f"{seed} {name}")
    number = 0
    while True:
        order = chance.sample(questions, len(questions))
        while order:
            asked = tuple(order.pop() for _ in range(min(len(order), chance.randint(1, 2))))
            yield Visit(f"{name}-{number}", manners[number % len(manners)], asked)
            number += 1
