"""What an experiment is decided by: metrics, their kinds and directions, and guardrails. How each
is read off the log is `metrics`' business."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints
from pydantic.dataclasses import dataclass

from adapters.experiments.fields import STRICT, Positive

_EFFECT = 0.05


class Kind(StrEnum):
    """How a metric's units combine: `ratio` weighs every answer equally, the others every unit."""

    PROPORTION = "proportion"
    MEAN = "mean"
    RATIO = "ratio"


class Direction(StrEnum):
    """Which way is better."""

    HIGHER = "higher"
    LOWER = "lower"


# Signals that the gateway itself records; `metrics` says how each is read.
SIGNALS: Mapping[str, tuple[Kind, Direction]] = {
    "error": (Kind.RATIO, Direction.LOWER),
    "fallback": (Kind.RATIO, Direction.LOWER),
    "first_token_ms": (Kind.RATIO, Direction.LOWER),
    "total_ms": (Kind.RATIO, Direction.LOWER),
    "completion_tokens": (Kind.RATIO, Direction.LOWER),
    "refusal": (Kind.RATIO, Direction.LOWER),
    "regeneration": (Kind.RATIO, Direction.LOWER),
    "reask": (Kind.RATIO, Direction.LOWER),
    "preference": (Kind.PROPORTION, Direction.HIGHER),
}
_FEEDBACK = (Kind.PROPORTION, Direction.HIGHER)
CHECK, JUDGE = "check:", "judge:"  # before the name of one of the pack's checks, of a judge
# A signal, a check, a judge, or feedback's metric; `feedback:NAME` where that is named like a
# signal.
MetricName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,73}$")]
SliceName = Annotated[
    str,
    StringConstraints(
        pattern=r"^(requested_model|endpoint|key|index_version|router_version"
        r"|metadata\.[A-Za-z0-9_.-]{1,64}|feedback:[A-Za-z0-9_.:-]{1,64})$"
    ),
]


@dataclass(frozen=True, slots=True)
class Measure:
    """What is read off every unit."""

    name: str
    kind: Kind
    direction: Direction


@dataclass(frozen=True, slots=True, config=STRICT)
class Metric:
    """The primary metric: superiority by at least `minimum_effect` (of a proportion by default
    0.05), or, with `margin`, not worse by more than that; both in the metric's own unit."""

    name: MetricName = "thumb"
    kind: Kind | None = None
    direction: Direction | None = None
    minimum_effect: Positive | None = None
    margin: Positive | None = None

    @property
    def measure(self) -> Measure:
        return _measure(self.name, self.kind, self.direction)

    @property
    def effect(self) -> float | None:
        """The difference that counts as better; None for a test of non-inferiority."""
        return self.minimum_effect or (None if self.margin else _EFFECT)


@dataclass(frozen=True, slots=True, config=STRICT)
class Guardrail:
    """A metric that must not get worse by `margin`; `relative`: by that part of the control's."""

    name: MetricName
    margin: Positive
    relative: Annotated[bool, Field(strict=True)] = False
    kind: Kind | None = None
    direction: Direction | None = None

    @property
    def measure(self) -> Measure:
        return _measure(self.name, self.kind, self.direction)


DEFAULT_GUARDRAILS = (
    Guardrail("error", 0.02),
    Guardrail("fallback", 0.02),
    Guardrail("refusal", 0.05),
    Guardrail("total_ms", 0.25, relative=True),
    Guardrail("completion_tokens", 0.5, relative=True),
)


def _measure(name: str, kind: Kind | None, direction: Direction | None) -> Measure:
    usual = SIGNALS.get(name, _FEEDBACK)
    return Measure(name, kind or usual[0], direction or usual[1])
