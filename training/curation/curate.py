"""From raw examples to a dataset: what is removed, why, and the digest of what is left."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from training.curation.duplicates import drop_contradictions, drop_repeated, drop_similar
from training.curation.personal import Personal, Scrubber
from training.curation.poisoning import drop_poisoned
from training.curation.removal import Reason, Removed
from training.curation.wording import dropped, foreign, too_long, toxic
from training.errors import TooFewRows
from training.rows import Kind, Row, Source, canonical

Progress = Callable[[int, int], None]


class Scrub(StrEnum):
    """Whose personal data is replaced by placeholders; of the others it is only counted."""

    ALL = "all"
    USERS = "users"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Filters:
    """What may stay.

    Args:
        max_characters: of prompt and answers; a longer row is a document, not an example. The
            default is half of the default model's context.
        languages: ISO 639-1; none allows every language.
        scrub: USERS leaves a pack's own rows as they are.
        unit_share: of the rows of one kind, the most that one unit may give, though `unit_rows`
            always.
        general_share: of the answers to be learned, how many should be general ones.
    """

    max_characters: int = 16_000
    languages: frozenset[str] = frozenset()
    toxicity: bool = True
    scrub: Scrub = Scrub.USERS
    unit_share: float = 0.05
    unit_rows: int = 20
    general_share: float = 0.1


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples to train on, in an order that only depends on what they are, and what was left out
    on the way. `personal` counts personal data in the rows, replaced and left, by kind."""

    rows: tuple[Row, ...]
    removed: tuple[Removed, ...]
    personal: Mapping[str, Mapping[Personal, int]] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over the rows in order; where they came from does not matter."""
        return digest(self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """Rows kept, and rows removed by reason."""
        return {"kept": len(self.rows), **Counter(str(item.reason) for item in self.removed)}


class _Found(NamedTuple):
    replaced: bool
    counts: Counter[Personal]


def digest(rows: Iterable[Row]) -> str:
    """SHA-256 over rows in order."""
    content = hashlib.sha256()
    for row in rows:
        content.update(canonical(row).encode("ascii") + b"\n")
    return content.hexdigest()


def reasons(removed: Iterable[Removed]) -> str:
    """How many were left out, by reason, in words."""
    counts = Counter(str(item.reason) for item in removed)
    return ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items())) or "nothing left out"


def curate(
    rows: Sequence[Row],
    removed: Sequence[Removed] = (),
    general: Sequence[Row] = (),
    filters: Filters | None = None,
    progress: Progress = lambda done, total: None,
) -> Dataset:
    """Filter rows, scrub them, and mix in general ones.

    `removed` is what the sources left out already. Raises TooFewRows when nothing is left.
    """
    filters = filters or Filters()
    out = list(removed)
    kept = sorted([*rows, *general], key=_order)

    def keep(result: tuple[list[Row], list[Removed]]) -> list[Row]:
        out.extend(result[1])
        return result[0]

    kept = keep(dropped(kept, Reason.TOO_LONG, too_long(filters.max_characters)))
    kept, found = _scrub(kept, filters.scrub, progress)
    kept = sorted(kept, key=_order)
    if filters.languages:
        kept = keep(dropped(kept, Reason.LANGUAGE, foreign(filters.languages)))
    if filters.toxicity:
        kept = keep(dropped(kept, Reason.TOXIC, toxic()))
    kept = keep(drop_contradictions(kept))
    kept = keep(drop_repeated(kept))
    kept = keep(drop_similar(kept))
    kept = keep(drop_poisoned(kept))
    kept = keep(_cap(kept, filters))
    kept = _mix(kept, filters.general_share)
    if all(row.source is Source.GENERAL for row in kept):
        raise TooFewRows(
            f"no usable example is left of {len(rows) + len(removed)} ({reasons(out)})"
        )
    return Dataset(tuple(kept), tuple(out), _personal(kept, found))


def _order(row: Row) -> tuple[bool, str, str, float]:
    """The owner's first; by content, and among equals by where and when a row came from."""
    return not row.is_trusted, canonical(row), row.origin, row.time or 0.0


def _scrub(
    rows: Sequence[Row], whose: Scrub, progress: Progress
) -> tuple[list[Row], dict[Row, _Found]]:
    """Rows with placeholders where they are wanted, and what was found in which."""
    scrubber = Scrubber()
    scrubbed, found = [], {}
    for done, row in enumerate(rows, 1):
        clean, counts = scrubber.scrub_row(row)
        replaced = whose is Scrub.ALL or (whose is Scrub.USERS and not row.is_own)
        scrubbed.append(clean if replaced else row)
        if counts:
            found[scrubbed[-1]] = _Found(replaced, counts)
        progress(done, len(rows))
    return scrubbed, found


def _personal(rows: Iterable[Row], found: Mapping[Row, _Found]) -> dict[str, dict[Personal, int]]:
    counts: dict[str, Counter[Personal]] = {"replaced": Counter(), "left": Counter()}
    for row in rows:
        if row in found:
            counts["replaced" if found[row].replaced else "left"].update(found[row].counts)
    return {name: dict(sorted(some.items())) for name, some in counts.items()}


def _cap(rows: Sequence[Row], filters: Filters) -> tuple[list[Row], list[Removed]]:
    """At most a share of each kind from one unit; which of a unit's stay is as good as random."""
    sizes = Counter(row.kind for row in rows)
    given: dict[tuple[Kind, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.unit is not None and row.source is not Source.REVIEW:
            given[row.kind, row.unit].append(row)
    beyond: dict[Row, int] = {}
    for (kind, _), some in given.items():
        most = max(filters.unit_rows, int(filters.unit_share * sizes[kind]))
        beyond |= dict.fromkeys(sorted(some, key=lambda row: digest([row]))[most:], most)
    removed = [
        Removed(row.origin, Reason.UNIT_CAP, f"{row.kind}: {most} rows of its unit are enough")
        for row, most in beyond.items()
    ]
    return [row for row in rows if row not in beyond], removed


def _mix(rows: Sequence[Row], share: float) -> list[Row]:
    """General rows as `share` of all SFT rows, as good as drawn by chance."""
    own = sum(row.kind is Kind.SFT and row.source is not Source.GENERAL for row in rows)
    general = [row for row in rows if row.source is Source.GENERAL]
    wanted = round(own * share / (1 - share))
    chosen = set(sorted(general, key=lambda row: digest([row]))[:wanted])
    return [row for row in rows if row.source is not Source.GENERAL or row in chosen]
