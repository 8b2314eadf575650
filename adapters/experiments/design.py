"""An experiment as its owner designs it: one frozen value. Who is assigned, how far it has come and
what came of it are next door (`assignment`, `book`, `metrics`)."""

import math
import secrets
from collections.abc import Container, Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass

from adapters.experiments.fields import STRICT, Count, Name, Number, Words
from adapters.experiments.measures import (
    CHECK,
    DEFAULT_GUARDRAILS,
    JUDGE,
    Guardrail,
    Kind,
    Metric,
    SliceName,
)

BASE_ARM = "base"
ANY_TARGET = "auto"  # the domain of an experiment between routers: all that asks for `auto`
HOLDOUT = "holdout"  # what the units outside every arm are called; no arm may be
DEFAULT_STAGES = (1.0, 5.0, 25.0, 50.0, 100.0)


class Unit(StrEnum):
    """What is assigned to an arm and counted once: CONTRACT section 4 says what names a session."""

    SESSION = "session"
    USER = "user"
    KEY = "key"
    REQUEST = "request"


class Allocation(StrEnum):
    """Who sets the weights: the owner and the stages, or a bandit by how well the arms do."""

    FIXED = "fixed"
    THOMPSON = "thompson"


@dataclass(frozen=True, slots=True, config=STRICT)
class Arm:
    """One side: an adapter version's name, `base`, or a general tier's name. Weights are relative.

    `prompt` takes the place of the domain's system prompt, `index` is the version of its documents
    to ground with, `router` the version that decides (of an experiment on `auto`, whose arms have
    no model). `shadow` is the part of the control's requests that this arm answers as well, unseen
    by anyone; it then gets no traffic of its own.
    """

    name: Name
    model: Annotated[str, StringConstraints(max_length=128)] = ""
    weight: Annotated[Number, Field(ge=0)] = 1.0
    prompt: Annotated[str, StringConstraints(max_length=8000)] | None = None
    index: Name | None = None
    router: Name | None = None
    shadow: Annotated[Number, Field(gt=0, le=1)] | None = None

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name == HOLDOUT:
            raise ValueError(f"{HOLDOUT!r} is what units outside every arm are called")
        return name


@dataclass(frozen=True, slots=True, config=STRICT)
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


@dataclass(frozen=True, slots=True, config=STRICT)
class Layer:
    """A share of the units, which experiments in the same layer never get as well."""

    name: Name
    share: Annotated[Number, Field(gt=0, le=1)] = 1.0


@dataclass(frozen=True, slots=True, config=STRICT)
class Limits:
    """What the rollout may do by itself: most percent for the arms under test, most units, most
    days; with `approval` a person has to agree before an arm becomes champion.

    A stage lasts at least `stage_hours` and until `stage_units` units came to the arms under test;
    after a rollback the domain gets no other rollout for `cooldown_hours`.
    """

    percent: Annotated[Number, Field(gt=0, le=100)] = 100.0
    units: Count | None = None
    days: Annotated[Number, Field(gt=0, le=3650)] | None = None
    approval: Annotated[bool, Field(strict=True)] = False
    stage_units: Count = 100
    stage_hours: Annotated[Number, Field(ge=0, le=8760)] = 1.0
    cooldown_hours: Annotated[Number, Field(ge=0, le=8760)] = 24.0


@dataclass(frozen=True, slots=True, config=STRICT)
class Judge:
    """A model behind an OpenAI-compatible `url` that grades answers blindly, as the metric
    `judge:NAME` from 0 to 1; where all other arms are shadows, it compares their answers with the
    control's, twice, with the places changed. `share` is the part of the answers it sees, and
    `key_env` names the variable that holds the key: `…API_KEY`, so that a design cannot send other
    secrets away. It reads what users wrote."""

    # `judge:NAME` is feedback's metric, which has 64 characters.
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,47}$")]
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]{1,500}$")]
    model: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    rubric: Annotated[str, StringConstraints(max_length=8000)] = ""
    key_env: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_]{0,120}API_KEY$")] | None = None
    share: Annotated[Number, Field(gt=0, le=1)] = 1.0


def _named_stages(value: Any) -> Any:
    return DEFAULT_STAGES if value == "default" else value


@dataclass(frozen=True, slots=True, config=STRICT)
class Experiment:
    """A live test on one domain's traffic. The first arm is the control.

    `stages` are percent of the traffic for the other arms together, one after another; without
    them the weights are a fixed split, or with `allocation` a bandit's. Of one unit at most
    `most_judged` answers' feedback counts, the earliest ones.
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
    judges: Annotated[tuple[Judge, ...], Field(max_length=4)] = ()
    feedback_days: Annotated[Number, Field(gt=0, le=365)] = 7.0
    most_judged: Count = 50
    allocation: Allocation = Allocation.FIXED
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
        if arms[0].shadow is not None:
            raise ValueError(f"the first arm is the control, {names[0]} cannot be a shadow")
        if not math.fsum(arm.weight for arm in arms if arm.shadow is None) > 0:
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
        if stages and stages[0] >= 100:
            raise ValueError("the first stage leaves the control nothing to compare with")
        return stages

    @field_validator("judges")
    @classmethod
    def _judges_are_different(cls, judges: tuple[Judge, ...]) -> tuple[Judge, ...]:
        names = [judge.name for judge in judges]
        if len(set(names)) != len(names):
            raise ValueError(f"two judges share a name: {names}")
        return judges

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.allocation is Allocation.THOMPSON and self.stages:
            raise ValueError("allocation: a bandit sets the weights itself, without stages")
        if self.stages and len(self.live) < 2:
            raise ValueError("stages: no arm but the control gets traffic")
        judges = [f"{JUDGE}{judge.name}" for judge in self.judges]
        for name in self.measured:
            if name.startswith(JUDGE) and name not in judges:
                raise ValueError(f"{name} is none of its judges, which are {judges}")
        for arm in self.arms:
            if self.domain == ANY_TARGET and (arm.router is None or arm.model):
                raise ValueError(f"arms: on {ANY_TARGET!r} an arm is a router, {arm.name} is not")
            if self.domain != ANY_TARGET and (arm.router is not None or not arm.model):
                raise ValueError(f"arms: {arm.name} needs a model, a router is for {ANY_TARGET!r}")
        return self

    @property
    def control(self) -> Arm:
        return self.arms[0]

    @property
    def live(self) -> tuple[Arm, ...]:
        """The arms that get traffic, the control first."""
        return tuple(arm for arm in self.arms if arm.shadow is None)

    @property
    def shadows(self) -> tuple[Arm, ...]:
        """The arms that answer unseen."""
        return tuple(arm for arm in self.arms if arm.shadow is not None)

    @property
    def measured(self) -> tuple[str, ...]:
        """The names of its metrics, the primary one first."""
        return (self.metric.name, *(guardrail.name for guardrail in self.guardrails))

    @property
    def checks(self) -> frozenset[str]:
        """The checks that its domain's pack has to have."""
        return frozenset(n.removeprefix(CHECK) for n in self.measured if n.startswith(CHECK))

    @property
    def share_of_layer(self) -> Layer:
        """The layer; an experiment that names none has the domain's for itself."""
        return self.layer or Layer(self.domain)

    def by_hand(self, arm: Arm) -> str | None:
        """Why a person has to put an arm into service, and how; None if it is a version or the
        base model and nothing else."""
        if arm.router is not None:
            return f"{arm.name} is router {arm.router}: make it the current one"
        if arm.prompt is not None:
            return f"{arm.name} has a prompt: make it the pack's system_prompt"
        if arm.index is not None:
            return f"{arm.name} is index {arm.index}: make it the current one (`turnout docs`)"
        if arm.model == BASE_ARM or arm.model.startswith(f"{self.domain}--v"):
            return None
        return f"{arm.name} is the tier {arm.model}: change [[targets]]"

    def weights_at(self, percent: float, without: Container[str] = ()) -> dict[str, float]:
        """Weights that give the arms under test this much together, by their own proportions,
        and nothing to those `without` whom it goes on. As it grows, units only leave the control.
        """
        share = percent / 100
        parts = {a.name: 0.0 if a.name in without else a.weight for a in self.live[1:]}
        total = math.fsum(parts.values()) or 1.0
        return {
            self.control.name: 1 - share,
            **{name: share * part / total for name, part in parts.items()},
        }

    def percent_of(self, weights: Mapping[str, float]) -> float:
        """How much of the traffic such weights give the arms under test."""
        total = math.fsum(weights.values())
        return 100 * (total - weights[self.control.name]) / total
