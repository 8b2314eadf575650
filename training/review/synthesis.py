"""Synthetic examples into the review queue: asked for, checked, counted.

Nothing of it is trained on before somebody has accepted it.
"""

import asyncio
import hashlib
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import aiohttp

from adapters.errors import InvalidReview
from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import Example, ItemKind
from adapters.review.proposal import NewItem
from retrieval.passages import Passage
from training.errors import EndpointError, TooFewRows
from training.review.copies import Seen
from training.review.drafting import ASKED, Draft, Request, Seeds, read_drafts, request
from training.review.provider import Provider, Spent
from training.rows import Row

MOST_QUESTION = 8_000
MOST_ANSWER = 8_000
# A model whose drafts are refused again and again is asked so many times what it should take.
_PATIENCE = 5


class Refusal(StrEnum):
    """Why a draft, or a whole reply, does not come into the queue."""

    UNREADABLE = "unreadable"
    EMPTY = "empty"
    TOO_LONG = "too_long"
    UNKNOWN_LABEL = "unknown_label"
    COPIES_TRAINING = "copies_training"
    COPIES_EVALUATION = "copies_evaluation"
    COPIES_ANOTHER = "copies_another"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted. The same plan, begun again, goes on where it ended."""

    domain: str
    url: str
    model: str
    n: int = 100
    seeds: Seeds = Seeds.TRAIN
    key: str | None = None
    concurrency: int = 4
    max_tokens_total: int | None = None
    annotators: int = 1
    seed: int = 0

    @property
    def batch(self) -> str:
        """The name under which the queue holds what came of it."""
        facts = "\n".join((self.model, self.seeds, str(self.seed)))
        return f"synthetic-{hashlib.sha256(facts.encode()).hexdigest()[:8]}"


@dataclass(slots=True)
class Outcome:
    """How far it came; `exhausted`: the budget ended it, `before`: were in the queue already."""

    batch: str
    before: int = 0
    queued: int = 0
    requests: int = 0
    failed: int = 0
    tokens: int = 0
    retries: int = 0
    exhausted: bool = False
    refused: dict[Refusal, int] = field(default_factory=dict)

    def refuse(self, why: Refusal) -> None:
        """Count a draft that is not taken."""
        self.refused[why] = self.refused.get(why, 0) + 1


@dataclass(frozen=True, slots=True)
class Material:
    """What examples are made after, and what they may not be copies of. `evaluations` are all
    known evaluation rows."""

    rows: Sequence[Row]
    labels: Mapping[str, Sequence[str]]
    passages: Sequence[Passage] = ()
    evaluations: Sequence[Row] = ()

    def single(self, seeds: Seeds) -> list[Row]:
        """Rows that can be shown; raises TooFewRows if there is nothing to go by."""
        rows = [row for row in self.rows if [role for role, _ in row.prompt].count("user") == 1]
        rows = [row for row in rows if row.prompt[-1][0] == "user"]
        if not rows:
            raise TooFewRows("no training example with one question to show; add some to the pack")
        if seeds is Seeds.LABELS and not self.labels:
            raise TooFewRows("no task of the training examples has labels; use --from train")
        if seeds is Seeds.DOCUMENTS and not self.passages:
            raise TooFewRows("the domain has no documents; use --from train")
        return rows


class Synthesis:
    """One plan, carried out."""

    def __init__(self, plan: Plan, material: Material, book: ReviewBook) -> None:
        self._plan, self._material, self._book = plan, material, book
        self._rows = material.single(plan.seeds)
        self._seen = {
            Refusal.COPIES_EVALUATION: Seen(row.question for row in material.evaluations),
            Refusal.COPIES_TRAINING: Seen(row.question for row in material.rows),
            Refusal.COPIES_ANOTHER: Seen(),
        }
        self._asked: set[str] = set()
        self._outcome = Outcome(plan.batch)
        for item in book.every(Wanted(plan.domain, kind=ItemKind.SYNTHETIC)):
            self._seen[Refusal.COPIES_ANOTHER].add(item.example.prompt[-1][1])
            if item.batch == plan.batch:
                self._asked.add(item.origin["prompt"])
                self._outcome.before += 1

    def run(self, on_progress: Callable[[int, int], None]) -> Outcome:
        """Until enough is in the queue, the budget is spent, or the model gives nothing of use;
        what came until then stays. Raises EndpointError."""
        return asyncio.run(self._run(on_progress))

    async def _run(self, on_progress: Callable[[int, int], None]) -> Outcome:
        plan, outcome = self._plan, self._outcome
        requests = iter(self._requests())
        async with aiohttp.ClientSession() as session:
            provider = Provider(
                session, plan.url, plan.model, key=plan.key, most=plan.max_tokens_total
            )

            await provider.connect()

            async def work() -> None:
                while self._missing > 0 and (asked := next(requests, None)) is not None:
                    try:
                        await self._one(provider, *asked)
                    except Spent:
                        outcome.exhausted = True
                        return
                    on_progress(plan.n - self._missing, plan.n)

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(plan.concurrency, math.ceil(self._missing / ASKED))):
                        group.create_task(work())
            except* EndpointError as problems:
                raise problems.exceptions[0] from None
            outcome.tokens, outcome.retries = provider.tokens, provider.retries
        return outcome

    @property
    def _missing(self) -> int:
        return max(self._plan.n - self._outcome.before - self._outcome.queued, 0)

    def _requests(self) -> Iterable[tuple[int, Request]]:
        """Prompts by number, each with a seed of its own; without those of which something is in
        the queue."""
        most = _PATIENCE * math.ceil(self._missing / ASKED) + len(self._asked)
        for number in range(most):
            rng = random.Random(f"{self._plan.seed} {number}")
            material = self._material
            made = request(
                self._plan.seeds, self._rows, material.labels, material.passages, rng, number
            )
            if made.digest not in self._asked:
                self._asked.add(made.digest)
                yield number, made

    async def _one(self, provider: Provider, number: int, asked: Request) -> None:
        seed = self._plan.seed + number
        reply = await provider.ask(asked.messages, seed)
        self._outcome.requests += 1
        if reply is None:
            self._outcome.failed += 1
            return
        drafts = read_drafts(reply)
        if not drafts:
            self._outcome.refuse(Refusal.UNREADABLE)
        for draft in drafts[: self._missing]:
            refusal = self._refusal(draft, asked) or self._queue(self._item(draft, asked, seed))
            if refusal is None:
                self._seen[Refusal.COPIES_ANOTHER].add(draft.question)
            else:
                self._outcome.refuse(refusal)

    def _queue(self, item: NewItem) -> Refusal | None:
        try:
            self._outcome.queued += self._book.add([item])
        except InvalidReview:
            return Refusal.UNREADABLE
        return None

    def _refusal(self, draft: Draft, asked: Request) -> Refusal | None:
        if not draft.question or not draft.answer:
            return Refusal.EMPTY
        if len(draft.question) > MOST_QUESTION or len(draft.answer) > MOST_ANSWER:
            return Refusal.TOO_LONG
        allowed = (asked.label,) if asked.label is not None else asked.labels
        if allowed and draft.answer not in allowed:
            return Refusal.UNKNOWN_LABEL
        return next((why for why, seen in self._seen.items() if draft.question in seen), None)

    def _item(self, draft: Draft, asked: Request, seed: int) -> NewItem:
        told = tuple(turn for turn in asked.like.prompt if turn[0] == "system")
        origin: dict[str, Any] = {
            "model": self._plan.model,
            "prompt": asked.digest,
            "seed": seed,
            "from": self._plan.seeds,
        }
        return NewItem(
            self._plan.domain,
            ItemKind.SYNTHETIC,
            Example(
                (*told, ("user", draft.question)),
                draft.answer,
                task=asked.like.task,
                labels=asked.labels,
                passages=(asked.passage,) if asked.passage else (),
            ),
            origin=origin,
            batch=self._plan.batch,
            wanted=self._plan.annotators,
        )
