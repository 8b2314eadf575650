"""The value a router returns: where one query goes, how sure that is, and why."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct

GENERAL = "general"
NONE: Mapping[str, float] = MappingProxyType({})


class Reason(StrEnum):
    """Why a decision is what it is; a closed set, as it labels metrics."""

    CLASSIFIER = "classifier"
    BELOW_THRESHOLD = "below_threshold"
    NO_PACK = "no_pack"
    EMPTY_TEXT = "empty_text"
    EXPLICIT_DOMAIN = "explicit_domain"
    EXPLICIT_MODEL = "explicit_model"
    NO_ROUTER = "no_router"
    RULE = "rule"
    NOT_ALLOWED = "not_allowed"
    COST = "cost"
    EXPLORATION = "exploration"
    TIER = "tier"


class Impression(Struct, frozen=True):
    """What the first stage makes of a text, without the text: drift is measured on it.

    `best` is its most probable label, `unknown` the share of distinct words it does not know.
    """

    best: str
    probability: float
    characters: int
    unknown: float
    unsure: bool


class Decision(Struct, frozen=True):
    """Where a query goes.

    `probability` belongs to the classifier's best label, also where `target` is another one
    because of the threshold. `propensity` is the chance this target had of being chosen; it is
    1.0 unless something explores. `stage` made the decision; if that is the first and it is
    `unsure`, the second stage would be worth its time. `rule` names the rule that decided, `asked`
    is the model the caller named. `impression` is there wherever a router looked at words.
    """

    target: str
    probability: float
    probabilities: Mapping[str, float] = NONE
    reason: Reason = Reason.CLASSIFIER
    router_version: str = ""
    propensity: float = 1.0
    unsure: bool = False
    stage: int = 1
    rule: str = ""
    asked: str = ""
    impression: Impression | None = None
