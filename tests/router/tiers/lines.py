"""Prompts of two kinds that a reader can tell apart: sums, which only the strong model gets right,
and verses, which both do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

THEMES = ("rain", "bread", "trains", "winter", "rivers", "gardens", "friends", "mountains")


def graded() -> Iterator[dict[str, Any]]:
    for number in range(20):
        theme = THEMES[number % len(THEMES)]
        yield _line(f"Solve the equation {number}x + {number + 3} = 7{number} for x", 0.0)
        yield _line(f"Write a short poem about {theme} in {number + 2} lines", 1.0)


def write_lines(file: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    lines = list(graded()) if rows is None else rows
    file.write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")
    return file


def _line(prompt: str, weak: float) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "weak_score": weak,
        "strong_score": 1.0,
        "weak_cost": 1.0,
        "strong_cost": 10.0,
        "benchmark": "passed over",
    }
