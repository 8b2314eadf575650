"""From a journal's segment to a sink: whole lines, in batches, what is damaged set aside."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

logger = logging.getLogger(__name__)

HEAD = b'{"kind":"%b",'  # how every line begins
BATCH_BYTES = 2 * 2**20  # read at once, to the end of the line


class InteractionRow(Struct, frozen=True, gc=False, tag_field="kind", tag="interaction"):
    """What the store finds an interaction by; the rest of the line is passed over unread."""

    id: str
    created: float
    unit: str
    target: str
    model: str
    experiment: str | None
    arm: str | None
    outcome: str


class FeedbackRow(Struct, frozen=True, gc=False, tag_field="kind", tag="feedback"):
    """What the store finds feedback by."""

    id: str
    interaction_id: str
    created: float
    metric: str


Row = InteractionRow | FeedbackRow


class Record(NamedTuple):
    """A record on its way to the store: what it is found by, and the whole as the JSON text that
    was appended."""

    row: Row
    text: str


class Delivered(NamedTuple):
    """How far a segment has been delivered, in bytes, and the ids that were."""

    end: int
    ids: list[str]


Sink = Callable[[list[Record]], None]

_decode = Decoder(Row).decode
_INTERACTION, _FEEDBACK = HEAD % b"interaction", HEAD % b"feedback"


def deliver(path: Path, start: int, sink: Sink) -> Delivered:
    """Hand the next records of a segment, from byte `start`, to `sink`.

    A torn last line is left for later; a line that is not a record is kept in `damaged.log` and
    passed over, once the others have been taken.
    """
    batch: list[Record] = []
    damaged: list[bytes] = []
    end = start
    with path.open("rb") as file:
        file.seek(start)
        for line in file.readlines(BATCH_BYTES):
            if not line.endswith(b"\n"):
                break
            end += len(line)
            record = _parse(line)
            if record is None:
                logger.error("journal %s: damaged line before byte %d set aside", path, end)
                damaged.append(line)
            else:
                batch.append(record)
    if batch:
        sink(batch)
    if damaged:
        with (path.parent / "damaged.log").open("ab") as aside:
            aside.writelines(damaged)
    return Delivered(end, [record.row.id for record in batch])


def _parse(line: bytes) -> Record | None:
    try:
        row = _decode(line)
        head = _INTERACTION if isinstance(row, InteractionRow) else _FEEDBACK
        return Record(row, f"{{{line[len(head) : -1].decode()}") if line.startswith(head) else None
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None
