"""Reads prompts that a weak and a strong model answered, with both scores; knows nothing of how
answers are scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from router.errors import ExampleError
from router.examples import encodable, read_rows

Floats = npt.NDArray[np.float64]

EXPECTED = 'one {"prompt", "weak_score", "strong_score", "weak_cost"?, "strong_cost"?} a line'
# A little below zero is taken: METEOR and others with a penalty go there.
LOWEST_SCORE = -1.0
HIGHEST_COST = 1e6


@dataclass(frozen=True, slots=True)
class Pairs:
    """Prompts with the scores of both models' answers, 0 to 1, and what the answers cost, in any
    one currency; `weak_costs` and `strong_costs` are both there or both None."""

    prompts: tuple[str, ...]
    weak: Floats
    strong: Floats
    weak_costs: Floats | None = None
    strong_costs: Floats | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def gains(self) -> Floats:
        """How much better the strong answer is."""
        return self.strong - self.weak

    def at(self, rows: npt.NDArray[np.int64]) -> "Pairs":
        weak_costs, strong_costs = self.weak_costs, self.strong_costs
        return Pairs(
            tuple(self.prompts[row] for row in rows),
            self.weak[rows],
            self.strong[rows],
            None if weak_costs is None else weak_costs[rows],
            None if strong_costs is None else strong_costs[rows],
        )


def read_pairs(file: Path) -> Pairs:
    """Raises ExampleError with file and line; fields of other names are passed over."""
    found = [(place, row) for place, row in read_rows(file, EXPECTED)]
    if not found:
        raise ExampleError(f"{file} holds no lines; write {EXPECTED}")
    return Pairs(
        tuple(_prompt(row, place) for place, row in found),
        *(_column(found, name, LOWEST_SCORE, 1.0) for name in ("weak_score", "strong_score")),
        *_costs(found),
    )


def _prompt(row: Mapping[str, Any], place: str) -> str:
    prompt = row.get("prompt")
    if not isinstance(prompt, str):
        raise ExampleError(f"{place}: 'prompt' must be a string, not {type(prompt).__name__}")
    return encodable(prompt)


def _costs(found: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Floats]:
    """Costs serve to compare, so a line without them would be counted as free."""
    names = ("weak_cost", "strong_cost")
    for name in names:
        place = next((place for place, row in found if row.get(name) is None), None)
        if place is not None:
            if all(row.get(other) is None for _, row in found for other in names):
                return []
            raise ExampleError(f"{place}: no {name!r}; give both costs on every line, or on none")
    return [_column(found, name, 0.0, HIGHEST_COST) for name in names]


def _column(
    found: Sequence[tuple[str, Mapping[str, Any]]], name: str, least: float, most: float
) -> Floats:
    return np.array(
        [_number(row.get(name), f"{place}: {name!r}", least, most) for place, row in found]
    )


def _number(value: object, what: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExampleError(f"{what} must be a number, not {type(value).__name__}")
    if not least <= value <= most:  # as is not a number
        raise ExampleError(f"{what} must lie between {least:g} and {most:g}, not {value!r:.40}")
    return float(value)
