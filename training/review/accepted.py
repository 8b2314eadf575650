"""What annotators found right, as examples to learn from."""

from collections.abc import Iterator
from dataclasses import replace

from adapters.review.book import ReviewBook, Wanted
from adapters.review.item import Item, ItemKind, ItemState, deciding
from training.rows import Row, Source

_RIGHT = (ItemState.ACCEPTED, ItemState.CORRECTED)
_OF_USERS = frozenset({ItemKind.LOG, ItemKind.DISAGREEMENT})


def reviewed_rows(book: ReviewBook, domain: str) -> list[Row]:
    """Accepted and corrected items, the same example once; a model's answer that was corrected
    also gives a pair.

    A row's unit is who asked, so that what is held out stays free of them; of a synthetic example,
    where nobody asked, who reviewed it.
    """
    found: dict[tuple[object, ...], Row] = {}
    for item in book.every(Wanted(domain, _RIGHT)):
        for row in _rows(item):
            found.setdefault((row.prompt, row.answer, row.rejected), row)
    return list(found.values())


def _rows(item: Item) -> Iterator[Row]:
    answer, example = item.answer, item.example
    assert answer is not None  # of these states
    time = item.origin.get("time")
    row = Row(
        prompt=example.prompt,
        answer=answer,
        task=example.task,
        label=answer if example.labels else None,
        unit=item.unit or deciding(item.annotations)[-1].annotator,
        origin=item.id,
        time=time if isinstance(time, float) else None,
        source=Source.REVIEW,
    )
    yield row
    if item.kind in _OF_USERS and item.state is ItemState.CORRECTED:
        yield replace(row, rejected=example.answer)
