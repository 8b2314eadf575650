"""From raw examples to a dataset: what is removed, why, and the digest of what is left."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from training.errors import TooFewRows
from training.rows import Row, canonical

# A longer row is a document, not an example: this is half of the default model's context.
MAX_CHARACTERS = 16_000


class Reason(StrEnum):
    """Why an example was left out."""

    DUPLICATE = "duplicate"
    CONTRADICTION = "contradiction"
    TOO_LONG = "too_long"
    NO_CONSENT = "no_consent"
    NOT_POSITIVE = "not_positive"
    UNUSABLE = "unusable"
    CONTAMINATION = "contamination"


@dataclass(frozen=True, slots=True)
class Removed:
    """One example that was left out: where it came from, why, and what shows it."""

    origin: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples to train on, in the order of their sources, and what was left out on the way."""

    rows: tuple[Row, ...]
    removed: tuple[Removed, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the rows in order; where they came from does not matter."""
        return digest(self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """Rows kept, and rows removed by reason."""
        return {"kept": len(self.rows), **Counter(str(item.reason) for item in self.removed)}


def digest(rows: Iterable[Row]) -> str:
    """SHA-256 over rows in order."""
    content = hashlib.sha256()
    for row in rows:
        content.update(canonical(row).encode("ascii") + b"\n")
    return content.hexdigest()


def curate(
    rows: Sequence[Row], removed: Sequence[Removed] = (), *, max_characters: int = MAX_CHARACTERS
) -> Dataset:
    """Drop over-long rows, exact repetitions and every row of a contradictory prompt.

    `removed` is what the sources left out already. Raises TooFewRows when nothing is left.
    """
    kept, dropped = _drop_long(rows, max_characters)
    kept, contradictory = _drop_contradictions(kept)
    kept, repeated = _drop_duplicates(kept)
    if not kept:
        raise TooFewRows(f"no usable example is left of {len(rows) + len(removed)}")
    return Dataset(tuple(kept), (*removed, *dropped, *contradictory, *repeated))


def _drop_long(rows: Iterable[Row], limit: int) -> tuple[list[Row], list[Removed]]:
    kept, removed = [], []
    for row in rows:
        if row.size <= limit:
            kept.append(row)
        else:
            detail = f"{row.size} characters, at most {limit}"
            removed.append(Removed(row.origin, Reason.TOO_LONG, detail))
    return kept, removed


def _drop_contradictions(rows: Sequence[Row]) -> tuple[list[Row], list[Removed]]:
    """One prompt with two answers teaches neither; nobody here can tell which is right."""
    answers: dict[tuple[tuple[str, str], ...], set[str]] = {}
    for row in rows:
        answers.setdefault(row.prompt, set()).add(row.answer)
    kept, removed = [], []
    for row in rows:
        found = answers[row.prompt]
        if len(found) == 1:
            kept.append(row)
        else:
            detail = f"{_short(row.question)}: " + " / ".join(sorted(map(_short, found)))
            removed.append(Removed(row.origin, Reason.CONTRADICTION, detail))
    return kept, removed


def _drop_duplicates(rows: Iterable[Row]) -> tuple[list[Row], list[Removed]]:
    first: dict[tuple[object, str], Row] = {}
    removed = []
    for row in rows:
        seen = first.setdefault((row.prompt, row.answer), row)
        if seen is not row:
            removed.append(Removed(row.origin, Reason.DUPLICATE, f"same as {seen.origin}"))
    return list(first.values()), removed


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else flat[:59] + "…"
