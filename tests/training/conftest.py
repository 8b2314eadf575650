"""A small, easy task as rows and as a pack."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from training.rows import Row

SYSTEM = "Sort the message by what is wrong, one of leak, noise, cold. Reply with one label only."
SAID = {
    "leak": "water drips from the pump",
    "noise": "it rattles very loudly",
    "cold": "the heater never warms up",
}
PLACES = (
    "kitchen hall cellar attic garage office shop yard barn loft foyer lobby shed porch bath study "
    "den pantry cabin tower"
).split()


@pytest.fixture
def rows() -> list[Row]:
    """60 rows of three labels, no two of them near-duplicates."""
    pairs = [(place, label) for place in PLACES for label in SAID]
    return [
        Row(
            prompt=(("system", SYSTEM), ("user", f"{place} {number}: {SAID[label]}, {place}")),
            answer=label,
            task="fault",
            label=label,
            origin=f"rows:{number}",
        )
        for number, (place, label) in enumerate(pairs)
    ]


@pytest.fixture
def pack(tmp_path: Path, rows: list[Row]) -> Path:
    """The rows as a pack named `boiler`, without an evaluation set."""
    folder = tmp_path / "boiler"
    folder.mkdir()
    (folder / "pack.toml").write_text('name = "boiler"\ntitle = "Boilers"\n')
    write_chat(folder / "train.jsonl", rows)
    return folder


def write_chat(path: Path, rows: Iterable[Row]) -> Path:
    """Rows as chat JSONL."""
    lines = [
        json.dumps(
            {
                "messages": [*row.messages, {"role": "assistant", "content": row.answer}],
                "meta": {
                    "task": row.task,
                    "label": row.label,
                    "unit": row.unit,
                    "slice": row.slice,
                },
            }
        )
        for row in rows
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
