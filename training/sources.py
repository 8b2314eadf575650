"""Where a run's examples come from: a pack, a file in its place, the log beside either."""

from dataclasses import dataclass
from pathlib import Path

from adapters.packs import Pack
from adapters.store import Store
from training.curate import Removed
from training.errors import DataError, TooFewRows
from training.interactions import rows_from_log
from training.rows import Row, read_chat


@dataclass(frozen=True, slots=True)
class Sources:
    """Training rows, evaluation rows if a file of them exists, and what the log left out."""

    rows: tuple[Row, ...]
    held_out: tuple[Row, ...] | None
    removed: tuple[Removed, ...]


def gather(domain: str, packs: tuple[Path, ...], data: Path | None, store: Store | None) -> Sources:
    """Examples of a domain: `data`, or else its pack's, and the log's if a `store` is given.

    Raises:
        DataError: nothing to read examples from, or a line that is none.
        TooFewRows: there are sources, and not one example in them.
    """
    known = {pack.name: pack for pack in map(Pack.load, packs)}
    pack = known.get(domain)
    if pack is None and data is None and store is None:
        names = ", ".join(sorted(known)) or "none"
        raise DataError(
            f"no pack is named {domain!r} (configured: {names}); "
            "name one, or give --data or --from-log"
        )
    file = data or (pack.train if pack else None)
    rows = read_chat(file) if file is not None else []
    removed: list[Removed] = []
    if store is not None:
        logged, removed = rows_from_log(store.judged(domain))
        rows += logged
    if not rows:
        looked = "its train.jsonl" if file is not None else "a train.jsonl in its pack"
        raise TooFewRows(
            f"{domain} has no examples: looked for {looked}"
            + (
                f" and in the log, where {len(removed)} judged answers were not usable"
                if store
                else ""
            )
        )
    held_out = tuple(read_chat(pack.eval)) if pack and pack.eval else None
    return Sources(tuple(rows), held_out, tuple(removed))
