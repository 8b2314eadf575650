"""From a journal's segment to a sink: whole lines, in batches, what is damaged set aside."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

logger = logging.getLogger(__name__)

HEAD = b'{"kind":"%b",'  # how every line begins
BATCH = 500


@dataclass(frozen=True, slots=True)
class Record:
    """A record on its way to the store: its fields, and the same as the JSON text that was
    appended."""

    kind: str
    fields: dict[str, Any]
    text: str

    @property
    def id(self) -> str:
        return str(self.fields["id"])


class Delivered(NamedTuple):
    """How far a segment has been delivered, in bytes, and the ids that were."""

    end: int
    ids: list[str]


Sink = Callable[[list[Record]], None]


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
        for line in islice(file, BATCH):
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
    return Delivered(end, [record.id for record in batch])


def _parse(line: bytes) -> Record | None:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(fields, dict) or "id" not in fields or "kind" not in fields:
        return None
    kind = str(fields.pop("kind"))
    head = HEAD % kind.encode()
    if not line.startswith(head):
        return None
    return Record(kind, fields, "{" + line[len(head) :].decode())
