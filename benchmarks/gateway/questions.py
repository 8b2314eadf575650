"""The requests of the benchmark: lines of the example packs, a third for each target, from many
units."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from adapters.packs import Pack, read_jsonl
from benchmarks.swap.servers import ROOT

DOMAINS = ("espresso", "library")
GENERAL = "general"
PER_TARGET = 40
# Of a usual size, and the same for every gateway.
_SYSTEM = "You are a helpful assistant. Answer in three sentences, please."

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """A text, where it belongs, and who asks it."""

    text: str
    target: str
    unit: str

    def body(self, model: str) -> Body:
        return {
            "model": model,
            "messages": [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": self.text},
            ],
            "temperature": 0.7,
            "max_tokens": 128,
            "user": self.unit,
        }


def questions() -> list[Question]:
    """The targets in turn, each question from a unit of its own."""
    lines = [list(islice(_texts(target), PER_TARGET)) for target in (*DOMAINS, GENERAL)]
    mixed = [pair for row in zip(*lines, strict=True) for pair in row]
    return [Question(text, target, f"unit-{number}") for number, (text, target) in enumerate(mixed)]


def _texts(target: str) -> Iterator[tuple[str, str]]:
    rows: Iterator[Mapping[str, Any]]
    if target == GENERAL:
        rows = (row for _, row in read_jsonl(ROOT / "examples" / "general.jsonl"))
    else:
        rows = iter(Pack.load(ROOT / "examples" / target).routing_examples())
    return ((str(row["text"]), target) for row in rows if row["label"] == target)


def write_bodies(path: Path, body: Callable[[Question], Body], *, stream: bool) -> Path:
    """One JSON body a line, as the load reads them."""
    more: Body = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    lines = [json.dumps({**body(question), **more}) for question in questions()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
