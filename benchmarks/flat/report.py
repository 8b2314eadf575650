"""From the rounds of each dimension to ratios: much over little, round by round."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

# More than this share of the throughput may not be lost, however much there is.
MOST_LOST = 0.05


@dataclass(frozen=True, slots=True)
class Slice:
    """One side's turn."""

    rps: float
    us_per_request: float


@dataclass
class Growth:
    """The turns of a dimension, `little` and `much` of the same round at the same place; and of
    both sides, in this order, what they take while nobody asks them."""

    sizes: tuple[int, int]
    little: list[Slice] = field(default_factory=list)
    much: list[Slice] = field(default_factory=list)
    idle_busy: tuple[float, ...] = ()  # share of the core
    memory_mb: tuple[float, ...] = ()
    start_s: tuple[float, ...] = ()

    @property
    def kept(self) -> bool:
        return median(self._ratios("rps")) >= 1 - MOST_LOST

    def as_json(self) -> dict[str, Any]:
        return {
            "little": self.sizes[0],
            "much": self.sizes[1],
            "rps": [_middle(side, "rps", 0) for side in (self.little, self.much)],
            "us_per_request": [
                _middle(side, "us_per_request", 1) for side in (self.little, self.much)
            ],
            "ratio": _spread(self._ratios("rps")),
            "cost_ratio": _spread(self._ratios("us_per_request")),
            "idle_busy": [round(value, 4) for value in self.idle_busy],
            "rss_mb": [round(value, 1) for value in self.memory_mb],
            "start_s": [round(value, 2) for value in self.start_s],
            "kept": self.kept,
        }

    def _ratios(self, figure: str) -> list[float]:
        return [
            getattr(b, figure) / getattr(a, figure)
            for a, b in zip(self.little, self.much, strict=True)
        ]


@dataclass
class Report:
    """Growth by dimension, what failed, and how long a caller's leaving goes unnoticed."""

    growth: dict[str, Growth] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    disconnect: dict[str, Any] | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.errors and all(growth.kept for growth in self.growth.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "dimensions": {name: growth.as_json() for name, growth in self.growth.items()},
            "disconnect": self.disconnect,
            "errors": self.errors,
            "about": self.about,
        }


def _middle(side: Sequence[Slice], figure: str, digits: int) -> float:
    values: list[float] = [getattr(turn, figure) for turn in side]
    return round(median(values), digits)


def _spread(ratios: Sequence[float]) -> dict[str, float]:
    """The median, and where the middle half and all of the rounds lie."""
    ranked = sorted(ratios)
    quarter = len(ranked) // 4
    parts = {
        "median": median(ranked),
        "lower": ranked[quarter],
        "upper": ranked[-1 - quarter],
        "least": ranked[0],
        "most": ranked[-1],
    }
    return {name: round(value, 3) for name, value in parts.items()}
