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


class Decision(Struct, frozen=True):
    """Where a query goes.

    `probability` belongs to the classifier's best label, also where `target` is another one
    because of the threshold. `propensity` is the chance this target had of being chosen; it is
    1.0 unless something explores. `stage` made the decision; if that is the first and it is
    `unsure`, the second stage would be worth its time.
    """

    target: str
    probability: float
    probabilities: Mapping[str, float] = NONE
    reason: Reason = Reason.CLASSIFIER
    router_version: str = ""
    propensity: float = 1.0
    unsure: bool = False
    stage: int = 1
