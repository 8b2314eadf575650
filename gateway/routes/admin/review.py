"""The review queue over HTTP: list, what is next for whom, decide, think again."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import MOST_ANSWER, MOST_COMMENT, Decision, ItemKind, ItemState, Verdict
from adapters.review.views import seen_by, shown
from gateway.deps import AdminDep, PartsDep

api = APIRouter(prefix="/review", tags=["review"])


class Filter(BaseModel):
    """Which items."""

    model_config = ConfigDict(extra="forbid")

    domain: str | None = Field(default=None, max_length=32)
    kind: ItemKind | None = None
    batch: str | None = Field(default=None, max_length=64)


class Page(Filter):
    """A page of items; `after` is the id of the last one of the page before."""

    state: tuple[ItemState, ...] = ()
    after: str | None = Field(default=None, max_length=64)
    limit: int = Field(default=20, ge=1, le=100)


class Turn(Filter):
    """Who wants something to review."""

    annotator: str = Field(max_length=64)


class Said(BaseModel):
    """What an annotator says of an item as it was shown to them; `final` settles a dispute."""

    model_config = ConfigDict(extra="forbid")

    annotator: str = Field(max_length=64)
    verdict: Verdict
    answer: str | None = Field(default=None, max_length=MOST_ANSWER)
    comment: str = Field(default="", max_length=MOST_COMMENT)
    final: bool = False


@api.get("")
async def list_items(
    parts: PartsDep, _admin: AdminDep, page: Annotated[Page, Query()]
) -> dict[str, Any]:
    """Items, oldest first."""
    wanted = Wanted(page.domain, page.state, page.kind, page.batch)
    book = ReviewBook(parts.store)
    found = await asyncio.to_thread(book.items, wanted, after=page.after, limit=page.limit + 1)
    return {
        "data": [shown(item) for item in found[: page.limit]],
        "has_more": len(found) > page.limit,
    }


@api.get("/stats")
async def stats(
    parts: PartsDep, _admin: AdminDep, wanted: Annotated[Filter, Query()]
) -> dict[str, Any]:
    """How many items are in which state, and who said how much."""
    book, some = ReviewBook(parts.store), Wanted(wanted.domain, (), wanted.kind, wanted.batch)
    return {
        "items": await asyncio.to_thread(book.counts, some),
        "annotators": await asyncio.to_thread(book.annotators, some),
    }


@api.get("/next")
async def next_item(
    parts: PartsDep, _admin: AdminDep, turn: Annotated[Turn, Query()]
) -> dict[str, Any] | None:
    """The next item as this annotator is to see it; null if none is left."""
    wanted = Wanted(turn.domain, (), turn.kind, turn.batch)
    item = await asyncio.to_thread(ReviewBook(parts.store).next, wanted, turn.annotator)
    return None if item is None else seen_by(item, turn.annotator)


@api.get("/{item}")
async def show(item: str, parts: PartsDep, _admin: AdminDep) -> dict[str, Any]:
    """One item with what was said of it."""
    return shown(await asyncio.to_thread(ReviewBook(parts.store).item, item))


@api.post("/{item}/decisions")
async def decide(item: str, body: Said, parts: PartsDep, _admin: AdminDep) -> dict[str, Any]:
    """Take down what an annotator says; it replaces what the same annotator said before."""
    decision = Decision(item, body.verdict, body.answer, body.comment)
    book = ReviewBook(parts.store)
    (done,) = await asyncio.to_thread(book.decide, [decision], body.annotator, final=body.final)
    return seen_by(done, body.annotator)


@api.delete("/{item}/decisions/{annotator}")
async def withdraw(
    item: str, annotator: str, parts: PartsDep, _admin: AdminDep, final: bool = False
) -> dict[str, Any]:
    """Forget what an annotator said of an item, or how they settled it."""
    book = ReviewBook(parts.store)
    done = await asyncio.to_thread(book.withdraw, item, annotator, final=final)
    return seen_by(done, annotator)
