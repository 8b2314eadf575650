"""Reads an uploaded file as training would, in a process of its own, and says what it found.

    python -m training.service.examine      (the gateway's child; it takes no part in training)

Its first line of input names the file; its output is one JSON document.
"""

import sys
from collections import Counter
from pathlib import Path

from msgspec.json import decode, encode

from adapters.errors import PackError
from adapters.packs import read_jsonl
from adapters.uploads import Examined, Unread
from training.curation.formats import parse_example
from training.errors import DataError


def examine(path: Path, filename: str) -> Examined:
    """Read every line; problems name the file as its owner does, and the line."""
    counts: Counter[str] = Counter()
    try:
        for line, row in read_jsonl(path):
            found = parse_example(row, origin="", where=f"{filename}:{line}")
            counts[str(found.kind)] += 1
    except (PackError, DataError) as exc:
        return Examined(problem=str(exc).replace(str(path), filename)[:1000])
    if not counts:
        return Examined(problem=f"{filename}: the file holds no example")
    return Examined(dict(sorted(counts.items())))


def main() -> None:
    """Examine the file that the first line of input names."""
    asked = decode(sys.stdin.buffer.readline(), type=Unread)
    sys.stdout.buffer.write(encode(examine(Path(asked.path), asked.filename)))


if __name__ == "__main__":
    main()
