"""An experiment as its owner designs it: one frozen value. Who is assigned, how far it has come and
what came of it are next door (`assignment`, `book`, `metrics`)."""

import math
import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, field_validator
from pydantic.dataclasses import dataclass

BASE_ARM = "base"
HOLDOUT = "holdout"  # what the units outside every arm are called; no arm may be
DEFAULT_STAGES = (1.0, 5.0, 25.0, 50.0, 100.0)
_EFFECT = 0.05
_STRICT = ConfigDict(extra="forbid")

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e9, le=1e9)]
Positive = Annotated[Number, Field(gt=0)]
Words = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{0,128}$")]


class Unit(StrEnum):
    """What is assigned to an arm and counted once: CONTRACT section 4 says what names a session."""

    SESSION = "session"
    USER = "user"
    KEY = "key"
    REQUEST = "request"


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
# One of the signals, or feedback's metric; `feedback:NAME` where feedback is named like a signal.
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


@dataclass(frozen=True, slots=True, config=_STRICT)
class Arm:
    """One side: an adapter version's name, or `base`. Weights are relative; `prompt` takes the
    place of the domain's system prompt."""

    name: Name
    model: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    weight: Annotated[Number, Field(ge=0)] = 1.0
    prompt: Annotated[str, StringConstraints(max_length=8000)] | None = None

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name == HOLDOUT:
            raise ValueError(f"{HOLDOUT!r} is what units outside every arm are called")
        return name


@dataclass(frozen=True, slots=True, config=_STRICT)
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


@dataclass(frozen=True, slots=True, config=_STRICT)
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


@dataclass(frozen=True, slots=True, config=_STRICT)
class Eligibility:
    """Which of the domain's requests take part: of these keys, and with one of these values in each
    of these fields of the request's `metadata`. Empty means all."""

    keys: Annotated[tuple[Words, ...], Field(max_length=1000)] = ()
    metadata: Annotated[
        dict[Words, Annotated[tuple[Words, ...], Field(min_length=1, max_length=100)]],
        Field(max_length=16),
    ] = Field(default_factory=dict)

    @property
    def restricts(self) -> bool:
        return bool(self.keys or self.metadata)


@dataclass(frozen=True, slots=True, config=_STRICT)
class Layer:
    """A share of the units, which experiments in the same layer never get as well."""

    name: Name
    share: Annotated[Number, Field(gt=0, le=1)] = 1.0


@dataclass(frozen=True, slots=True, config=_STRICT)
class Limits:
    """What the rollout may do by itself: most percent for the arms under test, most units, most
    days; with `approval` a person has to agree to what is irreversible."""

    percent: Annotated[Number, Field(gt=0, le=100)] = 100.0
    units: Annotated[int, Field(strict=True, ge=1, le=10**9)] | None = None
    days: Annotated[Number, Field(gt=0, le=3650)] | None = None
    approval: Annotated[bool, Field(strict=True)] = False


def _named_stages(value: Any) -> Any:
    return DEFAULT_STAGES if value == "default" else value


@dataclass(frozen=True, slots=True, config=_STRICT)
class Experiment:
    """A live test on one domain's traffic. The first arm is the control.

    `stages` are percent of the traffic for the other arms together, one after another; without
    them the weights are a fixed split.
    """

    name: Name
    domain: Name
    arms: Annotated[tuple[Arm, ...], Field(max_length=20)]
    owner: Words = ""
    salt: Name = Field(default_factory=lambda: secrets.token_hex(8))
    unit: Unit = Unit.SESSION
    eligibility: Eligibility = Eligibility()
    holdout: Annotated[Number, Field(ge=0, le=0.9)] = 0.0
    layer: Layer | None = None
    metric: Metric = Metric()
    guardrails: Annotated[tuple[Guardrail, ...], Field(max_length=20)] = DEFAULT_GUARDRAILS
    slices: Annotated[tuple[SliceName, ...], Field(max_length=8)] = ()
    feedback_days: Annotated[Number, Field(gt=0, le=365)] = 7.0
    limits: Limits = Limits()
    stages: Annotated[
        tuple[Annotated[Number, Field(gt=0, le=100)], ...],
        Field(max_length=20),
        BeforeValidator(_named_stages),
    ] = ()

    @field_validator("arms")
    @classmethod
    def _arms_make_a_split(cls, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        names = [arm.name for arm in arms]
        if len(names) < 2:
            raise ValueError(f"needs at least two arms, got {names}")
        if len(set(names)) != len(names):
            raise ValueError(f"two arms share a name: {names}")
        if not math.fsum(arm.weight for arm in arms) > 0:
            raise ValueError("at least one weight must be above 0")
        return arms

    @field_validator("metric")
    @classmethod
    def _metric_can_be_decided(cls, metric: Metric) -> Metric:
        if metric.minimum_effect is not None and metric.margin is not None:
            raise ValueError("give minimum_effect (superiority) or margin (non-inferiority)")
        if metric.minimum_effect is metric.margin and metric.measure.kind is not Kind.PROPORTION:
            raise ValueError(f"a {metric.measure.kind} needs minimum_effect or margin, in its unit")
        return metric

    @field_validator("guardrails")
    @classmethod
    def _guardrails_are_different(cls, guardrails: tuple[Guardrail, ...]) -> tuple[Guardrail, ...]:
        names = [guardrail.name for guardrail in guardrails]
        if len(set(names)) != len(names):
            raise ValueError(f"a metric has one guardrail: {names}")
        return guardrails

    @field_validator("stages")
    @classmethod
    def _stages_grow(cls, stages: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in zip(stages, stages[1:], strict=False)):
            raise ValueError("each stage must be larger than the one before it")
        return stages

    @property
    def control(self) -> Arm:
        return self.arms[0]

    @property
    def share_of_layer(self) -> Layer:
        """The layer; an experiment that names none has the domain's for itself."""
        return self.layer or Layer(self.domain)

    def weights_at(self, percent: float) -> dict[str, float]:
        """Weights that give the arms under test this much together, by their own proportions.
        As it grows, units only leave the control."""
        tested = self.arms[1:]
        total = math.fsum(arm.weight for arm in tested) or 1.0
        share = percent / 100
        return {
            self.control.name: 1 - share,
            **{arm.name: share * arm.weight / total for arm in tested},
        }

    def percent_of(self, weights: Mapping[str, float]) -> float:
        """How much of the traffic such weights give the arms under test."""
        total = math.fsum(weights.values())
        return 100 * (total - weights[self.control.name]) / total


def _measure(name: str, kind: Kind | None, direction: Direction | None) -> Measure:
    usual = SIGNALS.get(name, _FEEDBACK)
    return Measure(name, kind or usual[0], direction or usual[1])
