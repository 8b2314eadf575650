"""What is said of an example that was left out."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why an example was left out."""

    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    CONTRADICTION = "contradiction"
    TOO_LONG = "too_long"
    NO_CONSENT = "no_consent"
    OPTED_OUT = "opted_out"
    UNDECIDED = "undecided"
    UNUSABLE = "unusable"
    NO_CONTEXT = "no_context"
    LANGUAGE = "language"
    TOXIC = "toxic"
    DOUBTFUL_LABEL = "doubtful_label"
    DOUBTFUL_UNIT = "doubtful_unit"
    UNIT_CAP = "unit_cap"
    CONTAMINATION = "contamination"


@dataclass(frozen=True, slots=True)
class Removed:
    """One example that was left out: where it came from, why, and what shows it."""

    origin: str
    reason: Reason
    detail: str = ""
