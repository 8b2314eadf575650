"""Splitting a dataset so that nothing held out is trained on."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from training.curation.removal import Reason, Removed
from training.curation.similarity import clusters, join, root, similar_pairs
from training.errors import TooFewRows
from training.rows import Kind, Row, Source

HELD_OUT_SHARE = 0.1
# Enough to tell epochs apart; beyond it, validation only takes time from training.
MOST_VALIDATION_ROWS = 200
FEWEST_ROWS = 10
# With fewer people than this, keeping each on one side would leave a side empty or odd.
FEWEST_UNITS = 10


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint parts; `contaminated` rows were too close to an evaluation set to be used.

    `tested_from` is the time of the oldest test row, where the test part is the newest of the log.
    """

    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    test: tuple[Row, ...]
    contaminated: tuple[Removed, ...]
    grouped_by: str
    tested_from: float | None = None

    def of(self, *kinds: Kind) -> "Split":
        """The same parts with rows of some kinds only, kind by kind."""
        parts = (self.train, self.validation, self.test)
        train, validation, test = (
            tuple(row for kind in kinds for row in part if row.kind is kind) for part in parts
        )
        return replace(self, train=train, validation=validation, test=test)


def split(
    rows: Sequence[Row],
    held_out: Sequence[Row] | None = None,
    *,
    evaluations: Mapping[str, Sequence[Row]] | None = None,
    seed: int = 0,
) -> Split:
    """Divide 80/10/10 by groups of near-duplicates and, where known, of users.

    Rows given as `held_out` are the test part as they are; without them it is the newest groups
    of rows that have a time, if these suffice. Rows too close to `held_out` or to one of the other
    `evaluations`, by name, are removed. General rows are only trained on.

    Raises:
        TooFewRows: fewer than FEWEST_ROWS other training rows, or no test row, would be left.
    """
    sets = dict(evaluations or {})
    if held_out and held_out not in sets.values():
        sets["held-out"] = held_out
    clean, contaminated = _decontaminate(rows, sets)
    general = [row for row in clean if row.source is Source.GENERAL]
    clean = [row for row in clean if row.source is not Source.GENERAL]
    groups, grouped_by = _groups(clean)
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    share = round(len(clean) * HELD_OUT_SHARE)
    if held_out is None:
        newest = _newest_first(groups, clean, order, share)
        test = _take(groups, newest or order, clean, share)
        order = [group for group in order if group in groups]
    else:
        newest, test = [], list(held_out)
    validation = _take(groups, order, clean, min(share, MOST_VALIDATION_ROWS))
    train = [clean[index] for index in sorted(index for some in groups.values() for index in some)]
    if len(train) < FEWEST_ROWS:
        given = sum(row.source is not Source.GENERAL for row in rows)
        raise TooFewRows(
            f"{len(train)} training rows are left of {given}; at least {FEWEST_ROWS} are needed"
        )
    if not test:
        raise TooFewRows("no row is left to evaluate on; give the pack an eval.jsonl, or more rows")
    since = min((row.time for row in test if row.time is not None), default=None)
    return Split(
        train=(*train, *general),
        validation=tuple(validation),
        test=tuple(test),
        contaminated=tuple(contaminated),
        grouped_by=grouped_by,
        tested_from=since if newest else None,
    )


def leaked(train: Sequence[Row], test: Sequence[Row]) -> int:
    """How many test rows are near-copies of a training row: 0 after `split`."""
    pairs = similar_pairs([row.question for row in train], [row.question for row in test])
    return len({index for _, index in pairs})


def _decontaminate(
    rows: Sequence[Row], sets: Mapping[str, Sequence[Row]]
) -> tuple[list[Row], list[Removed]]:
    copies: dict[int, str] = {}
    for name, held_out in sets.items():
        pairs = similar_pairs([row.question for row in rows], [row.question for row in held_out])
        for index, match in pairs:
            copies.setdefault(index, f"near-copy of {name} {held_out[match].origin}")
    units = {row.unit for some in sets.values() for row in some if row.unit is not None}
    clean, removed = [], []
    for index, row in enumerate(rows):
        if (detail := copies.get(index)) is not None:
            removed.append(Removed(row.origin, Reason.CONTAMINATION, detail))
        elif row.unit in units:
            removed.append(Removed(row.origin, Reason.CONTAMINATION, "its user is held out"))
        else:
            clean.append(row)
    return clean, removed


def _groups(rows: Sequence[Row]) -> tuple[dict[int, list[int]], str]:
    """Indices that must stay together, by the first of them, and what holds them together."""
    parents = clusters([row.question for row in rows])
    first: dict[str, int] = {}
    units = {row.unit for row in rows if row.unit is not None}
    by_unit = len(units) >= FEWEST_UNITS
    groups: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        if by_unit and row.unit is not None:
            join(parents, first.setdefault(row.unit, index), index)
    for index in range(len(rows)):
        groups.setdefault(root(parents, index), []).append(index)
    return groups, "unit and near-duplicates" if by_unit else "near-duplicates"


def _newest_first(
    groups: Mapping[int, Sequence[int]], rows: Sequence[Row], order: Sequence[int], wanted: int
) -> list[int]:
    """Groups by the time of their newest row, latest first; none if too few rows have a time."""
    latest = {
        group: max(rows[index].time or 0.0 for index in groups[group])
        for group in order
        if all(rows[index].time is not None for index in groups[group])
    }
    if sum(len(groups[group]) for group in latest) < 2 * wanted:
        return []
    return sorted(latest, key=lambda group: -latest[group])


def _take(
    groups: dict[int, list[int]], order: Sequence[int], rows: Sequence[Row], wanted: int
) -> list[Row]:
    """Move whole groups out of `groups` for `wanted` rows; one too large for the rest stays."""
    taken: list[int] = []
    for group in order:
        if len(taken) + len(groups[group]) <= wanted:
            taken += groups.pop(group)
    return [rows[index] for index in sorted(taken)]
