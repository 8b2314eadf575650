"""The review queue: what people are to look at, and what they said. Everything blocks and belongs
in a thread."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    delete,
    func,
    insert,
    select,
    tuple_,
)

from adapters import tables
from adapters.review.item import (
    Decision,
    Item,
    ItemKind,
    ItemState,
)
from adapters.review.proposal import NewItem
from adapters.review.records import changed, found, read, replace, row_of, settle
from adapters.review.wording import checked_name
from adapters.store import Store

_PART = 500  # items in one statement

_items, _said = tables.review_items.c, tables.review_annotations.c


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which items; None for any."""

    domain: str | None = None
    states: tuple[ItemState, ...] = ()
    kind: ItemKind | None = None
    batch: str | None = None

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        named = ((_items.domain, self.domain), (_items.kind, self.kind), (_items.batch, self.batch))
        chosen = [column == value for column, value in named if value is not None]
        return [*chosen, _items.state.in_(self.states)] if self.states else chosen


class ReviewBook:
    """The queue in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, new: Sequence[NewItem]) -> int:
        """Queue what is not there yet; how many these were. Raises InvalidReview before anything
        is written."""
        for item in new:
            item.check()
        wanted = {item.id: item for item in new}
        added = 0
        with self._store.transaction() as connection:
            for part in _parts(wanted):
                known = connection.execute(select(_items.id).where(_items.id.in_(part))).scalars()
                rows = [row_of(wanted[name]) for name in sorted(set(part) - set(known))]
                if rows:
                    connection.execute(insert(tables.review_items), rows)
                added += len(rows)
        return added

    def item(self, name: str) -> Item:
        """One by id; raises UnknownItem."""
        with self._store.transaction() as connection:
            return found(connection, [name])[name]

    def find(self, names: Iterable[str]) -> dict[str, Item]:
        """Those that are there, by id."""
        found: dict[str, Item] = {}
        with self._store.transaction() as connection:
            for part in _parts(names):
                found |= read(connection, part)
        return found

    def items(self, wanted: Wanted, *, after: str | None = None, limit: int = 20) -> list[Item]:
        """A page, oldest first, from behind the item `after`."""
        query = select(_items.id).where(*wanted.conditions).order_by(_items.created, _items.id)
        with self._store.transaction() as connection:
            if after is not None:
                last = found(connection, [after])[after]
                query = query.where(tuple_(_items.created, _items.id) > (last.created, last.id))
            names = connection.execute(query.limit(limit)).scalars().all()
            items = found(connection, names)
        return [items[name] for name in names]

    def every(self, wanted: Wanted) -> Iterator[Item]:
        """All of them, oldest first, a page at a time."""
        last = None
        while page := self.items(wanted, after=last, limit=_PART):
            yield from page
            last = page[-1].id

    def next(self, wanted: Wanted, annotator: str) -> Item | None:
        """The oldest of these that this annotator has said nothing of. Without `states`: what is
        open."""
        mine = (
            select(_said.item)
            .where(_said.item == _items.id, _said.annotator == checked_name(annotator))
            .exists()
        )
        query = (
            select(_items.id)
            .where(*wanted.conditions, ~mine)
            .order_by(_items.created, _items.id)
            .limit(1)
        )
        if not wanted.states:
            query = query.where(_items.state == ItemState.OPEN)
        with self._store.transaction() as connection:
            name = connection.execute(query).scalar()
            return None if name is None else found(connection, [name])[name]

    def decide(
        self, decisions: Sequence[Decision], annotator: str, *, final: bool = False
    ) -> list[Item]:
        """Take down what an annotator says, all of it or nothing; the items as they stand then.

        What the annotator said of an item before is replaced; saying the same again changes
        nothing. `final` settles items. Raises UnknownItem, InvalidReview.
        """
        checked_name(annotator)
        said = {decision.item: decision for decision in decisions}
        done: list[Item] = []
        with self._store.transaction() as connection:
            for part in _parts(said):
                before = found(connection, part, lock=True)
                moment = time.time()
                new = {
                    name: said[name].annotation(item, annotator, moment, final=final)
                    for name, item in before.items()
                }
                replace(connection, changed(before, new), annotator, final=final)
                done += settle(connection, part)
        return done

    def withdraw(self, name: str, annotator: str, *, final: bool = False) -> Item:
        """Forget what an annotator said of an item, or how they settled it; raises UnknownItem."""
        with self._store.transaction() as connection:
            found(connection, [name], lock=True)
            connection.execute(
                delete(tables.review_annotations).where(
                    _said.item == name, _said.annotator == annotator, _said.final == final
                )
            )
            return settle(connection, [name])[0]

    def counts(self, wanted: Wanted) -> dict[str, dict[str, dict[str, int]]]:
        """How many items of each state, by domain and kind."""
        query = (
            select(_items.domain, _items.kind, _items.state, func.count())
            .where(*wanted.conditions)
            .group_by(_items.domain, _items.kind, _items.state)
            .order_by(_items.domain, _items.kind, _items.state)
        )
        found: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
        with self._store.transaction() as connection:
            for domain, kind, state, count in connection.execute(query):
                found[domain][kind][state] = int(count)
        return {domain: dict(kinds) for domain, kinds in found.items()}

    def annotators(self, wanted: Wanted) -> Counter[str]:
        """How many items each annotator said something of."""
        query = (
            select(_said.annotator, func.count())
            .join_from(tables.review_annotations, tables.review_items, _said.item == _items.id)
            .where(*wanted.conditions)
            .group_by(_said.annotator)
        )
        with self._store.transaction() as connection:
            return Counter({name: int(count) for name, count in connection.execute(query)})


def _parts(names: Iterable[str]) -> Iterator[list[str]]:
    every = list(names)
    return (every[start : start + _PART] for start in range(0, len(every), _PART))
