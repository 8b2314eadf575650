"""What is proposed for review, before it is in the queue."""

import hashlib
import re
from typing import Any

from msgspec import Struct
from msgspec.json import encode

from adapters.errors import InvalidReview
from adapters.packs import NAME_PATTERN
from adapters.review.item import Example, ItemKind
from adapters.review.wording import check_text, checked_name

MOST_CHARACTERS = 100_000  # of an item's texts together
MOST_LABELS = 1_000
MOST_ANNOTATORS = 20


class NewItem(Struct, frozen=True):
    """What is to be reviewed. `origin` tells how it came about; `batch` names what belongs
    together.

    `wanted` annotators look at it. `receipt` and `unit` are of the interaction that it comes from:
    whoever deletes one or the other deletes the item.
    """

    domain: str
    kind: ItemKind
    example: Example
    origin: dict[str, Any] = {}
    batch: str = ""
    wanted: int = 1
    receipt: str | None = None
    unit: str | None = None

    @property
    def id(self) -> str:
        """The same for the same content: what is added twice is there once."""
        shown: object = self.receipt or (self.example.prompt, self.example.answer)
        if self.example.rival is not None:
            sides = sorted([self.example.answer, self.example.rival])
            shown = (self.batch, self.example.prompt, sides)
        return "rev-" + hashlib.sha256(encode((self.domain, shown))).hexdigest()[:24]

    def check(self) -> None:
        """Raises InvalidReview for what nobody could review."""
        if not re.fullmatch(NAME_PATTERN, self.domain):
            raise InvalidReview(f"{self.domain!r:.60} is no domain's name")
        if self.batch:
            checked_name(self.batch, "batch")
        if not 1 <= self.wanted <= MOST_ANNOTATORS:
            raise InvalidReview(f"{self.wanted} annotators; 1 to {MOST_ANNOTATORS} are possible")
        example = self.example
        if not example.answer.strip() or not any(role == "user" for role, _ in example.prompt):
            raise InvalidReview("an item needs a user's message and an answer")
        if (example.rival is None) == (self.kind is ItemKind.HUMAN_EVAL):
            raise InvalidReview("comparisons have two answers, everything else one")
        if len(example.labels) > MOST_LABELS:
            raise InvalidReview(f"{len(example.labels)} labels, at most {MOST_LABELS}")
        size = sum(map(len, example.texts))
        if size > MOST_CHARACTERS:
            raise InvalidReview(f"an item of {size} characters, at most {MOST_CHARACTERS}")
        for text in example.texts:
            check_text(text, MOST_CHARACTERS, "text")
