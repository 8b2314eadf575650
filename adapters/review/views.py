"""Items as JSON documents. Of a comparison nobody is told which model gave which answer: that is
for its report."""

from typing import Any

from msgspec import to_builtins

from adapters.review.item import Item, ItemKind, said_by, shown_to


def shown(item: Item) -> dict[str, Any]:
    """Everything that is known of an item, but for whose answers are compared."""
    document: dict[str, Any] = to_builtins(item)
    if item.kind is ItemKind.HUMAN_EVAL:
        document["origin"] = {}
    return document | {"resolved": item.answer}


def seen_by(item: Item, annotator: str) -> dict[str, Any]:
    """An item as one annotator is to see it: without what others said, and with the sides of a
    comparison as they fall for this annotator."""
    said = item.by(annotator)
    return {
        "id": item.id,
        "domain": item.domain,
        "kind": item.kind,
        "state": item.state,
        "example": to_builtins(shown_to(item, annotator)),
        "said": None
        if said is None
        else {"verdict": said_by(item, annotator), "answer": said.answer, "comment": said.comment},
    }
