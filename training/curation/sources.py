"""Where a dataset's examples come from: a pack, files in its place, the log beside either."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from adapters.packs import Pack
from adapters.review.book import ReviewBook
from adapters.store import Store
from training.curation.context import Context
from training.curation.formats import read_examples
from training.curation.interactions import rows_from_log
from training.curation.removal import Removed
from training.errors import DataError, TooFewRows
from training.review.accepted import reviewed_rows
from training.rows import Row, Source, read_chat

# Shipped: questions of many kinds, asked in many forms, with examples and without.
GENERAL = Path(__file__).with_name("general.jsonl")


@dataclass(frozen=True, slots=True)
class Sources:
    """Examples, and what to hold them against.

    `held_out` is the domain's evaluation set, if there is one; `evaluations` all that are known, by
    name; `general` rows against forgetting; `removed` what the log's rules left out.
    """

    rows: tuple[Row, ...]
    held_out: tuple[Row, ...] | None = None
    removed: tuple[Removed, ...] = ()
    general: tuple[Row, ...] = ()
    evaluations: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)


def gather(
    domain: str,
    packs: Sequence[Path],
    data: Path | Sequence[Path] | None,
    store: Store | None,
    *,
    general: Path | None = None,
    evaluations: Sequence[Path] = (),
    indexes: Path | None = None,
    opted_out: Collection[str] = (),
    reviews: Store | None = None,
) -> Sources:
    """Examples of a domain: of the files `data`, or else its pack's, the log's if a `store` is
    given, and what annotators accepted if `reviews` are; `general` and `evaluations` are files in
    chat format.

    Raises:
        DataError: nothing to read examples from, or a line that is none.
        TooFewRows: there are sources, and not one example in them.
    """
    known = {pack.name: pack for pack in map(Pack.load, packs)}
    pack = known.get(domain)
    files = [data] if isinstance(data, Path) else list(data or ())
    if pack is None and not files and store is None and reviews is None:
        names = ", ".join(sorted(known)) or "none"
        raise DataError(
            f"no pack is named {domain!r} (configured: {names}); "
            "name one, or give --data, --from-log or --reviewed"
        )
    rows = [row for file in files for row in read_examples(file)]
    if not files and pack and pack.train:
        files = [pack.train]
        rows = _of(Source.PACK, read_examples(pack.train))
    removed: list[Removed] = []
    if store is not None:
        prompts = {name: each.system_prompt for name, each in known.items()}
        context = Context(indexes, prompts)
        logged, removed = rows_from_log(store.judged(domain), context=context, opted_out=opted_out)
        rows += logged
    if reviews is not None:
        rows += reviewed_rows(ReviewBook(reviews), domain)
    if not rows:
        raise TooFewRows(_nothing(domain, files, len(removed) if store else None))
    sets = {pack.name: tuple(read_chat(pack.eval)) for pack in known.values() if pack.eval}
    return Sources(
        rows=tuple(rows),
        held_out=sets.get(domain),
        removed=tuple(removed),
        general=_held(general) if general else (),
        evaluations=sets | {str(file): tuple(read_chat(file)) for file in evaluations},
    )


def _of(source: Source, rows: Iterable[Row]) -> list[Row]:
    return [replace(row, source=source) for row in rows]


def _held(general: Path) -> tuple[Row, ...]:
    rows = _of(Source.GENERAL, read_chat(general))
    return tuple(replace(row, held=True) for row in rows)


def _nothing(domain: str, files: Sequence[Path], unusable: int | None) -> str:
    looked = ", ".join(map(str, files)) or "a train.jsonl in its pack"
    log = (
        ""
        if unusable is None
        else (f" and in the log, where {unusable} judged answers were not usable")
    )
    return f"{domain} has no examples: looked for {looked}{log}"
