"""Items and annotations as rows of the store, inside a transaction."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import convert, to_builtins
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from adapters import tables
from adapters.errors import UnknownItem
from adapters.files import is_plain
from adapters.review.item import (
    Annotation,
    Example,
    Item,
    ItemKind,
    ItemState,
    Verdict,
    state_of,
)
from adapters.review.proposal import NewItem

_items, _said = tables.review_items.c, tables.review_annotations.c


def found(connection: Connection, names: Sequence[str], *, lock: bool = False) -> dict[str, Item]:
    """Items by id with their annotations; raises UnknownItem for the first that is not there."""
    items = read(connection, names, lock=lock)
    for name in names:
        if name not in items:
            raise UnknownItem(f"nothing to review has the id {name!r:.80}")
    return items


def read(connection: Connection, names: Sequence[str], *, lock: bool = False) -> dict[str, Item]:
    plain = [name for name in names if is_plain(name)]  # PostgreSQL takes no NUL
    query = select(tables.review_items).where(_items.id.in_(plain)).order_by(_items.id)
    rows = {row.id: row for row in connection.execute(query.with_for_update() if lock else query)}
    said: dict[str, list[Annotation]] = defaultdict(list)
    words = select(tables.review_annotations).where(_said.item.in_(plain))
    for row in connection.execute(words.order_by(_said.at, _said.annotator)):
        verdict = Verdict(row.verdict)
        said[row.item].append(
            Annotation(row.annotator, row.at, verdict, row.answer, row.comment, row.final)
        )
    return {name: _item(row, said[name]) for name, row in rows.items()}


def _item(row: Any, said: Sequence[Annotation]) -> Item:
    return Item(
        id=row.id,
        domain=row.domain,
        kind=ItemKind(row.kind),
        batch=row.batch,
        created=row.created,
        state=ItemState(row.state),
        wanted=row.wanted,
        example=convert(row.example, Example),
        origin=row.origin,
        receipt=row.receipt,
        unit=row.unit,
        annotations=tuple(said),
    )


def row_of(new: NewItem) -> dict[str, Any]:
    return {
        **to_builtins(new),
        "id": new.id,
        "created": time.time(),
        "state": ItemState.OPEN,
    }


def changed(before: Mapping[str, Item], new: Mapping[str, Annotation]) -> dict[str, Annotation]:
    """Annotations that say something else than what is there."""
    changed = {}
    for name, annotation in new.items():
        said = before[name].by(annotation.annotator, final=annotation.final)
        if said is None or _words(said) != _words(annotation):
            changed[name] = annotation
    return changed


def _words(said: Annotation) -> tuple[object, ...]:
    return said.verdict, said.answer, said.comment


def replace(
    connection: Connection, said: Mapping[str, Annotation], annotator: str, *, final: bool
) -> None:
    if not said:
        return
    connection.execute(
        delete(tables.review_annotations).where(
            _said.item.in_(list(said)), _said.annotator == annotator, _said.final == final
        )
    )
    rows = [{"item": name, **to_builtins(one)} for name, one in said.items()]
    connection.execute(insert(tables.review_annotations), rows)


def settle(connection: Connection, names: Sequence[str]) -> list[Item]:
    """Items with the states that follow from their annotations."""
    items = found(connection, names)
    moved = {
        item.id: state
        for item in items.values()
        if (state := state_of(item.example, item.wanted, item.annotations)) != item.state
    }
    if moved:
        connection.execute(
            update(tables.review_items)
            .where(_items.id == bindparam("name"))
            .values(state=bindparam("now")),
            [{"name": name, "now": state} for name, state in moved.items()],
        )
        items = found(connection, names)
    return [items[name] for name in names]
