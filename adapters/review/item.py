"""Something that people review, and their words on it, as values.

Knows no store, no terminal and no HTTP, and nothing of what is trained from it.
"""

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from adapters.errors import InvalidReview
from adapters.review.wording import check_text

MOST_ANSWER = 20_000
MOST_COMMENT = 2_000


class ItemKind(StrEnum):
    """Why an item is looked at: a model made it up, users disliked it, users or annotators
    disagree on it, or two models' answers are to be compared."""

    SYNTHETIC = "synthetic"
    LOG = "log"
    DISAGREEMENT = "disagreement"
    HUMAN_EVAL = "human_eval"


class Verdict(StrEnum):
    """What somebody says of an item; of a comparison, which of both answers is better."""

    ACCEPT = "accept"
    CORRECT = "correct"
    REJECT = "reject"
    SKIP = "skip"
    FIRST = "first"
    SECOND = "second"
    TIE = "tie"


COMPARING = frozenset({Verdict.FIRST, Verdict.SECOND, Verdict.TIE, Verdict.SKIP})
LABELLING = frozenset({Verdict.ACCEPT, Verdict.CORRECT, Verdict.REJECT, Verdict.SKIP})
_TURNED = {Verdict.FIRST: Verdict.SECOND, Verdict.SECOND: Verdict.FIRST}


class ItemState(StrEnum):
    """Where an item stands. Disputed: its annotators disagree, and somebody has to settle it;
    judged: a comparison with all the verdicts that were wanted."""

    OPEN = "open"
    DISPUTED = "disputed"
    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    JUDGED = "judged"


class Example(Struct, frozen=True):
    """A prompt as (role, text), and the answer that is proposed for it, or two to be compared.

    `labels` are the answers that are allowed, none for any; `passages` what the answer rests on.
    """

    prompt: tuple[tuple[str, str], ...]
    answer: str
    rival: str | None = None
    task: str = "default"
    labels: tuple[str, ...] = ()
    passages: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything that is shown."""
        said = tuple(text for _, text in self.prompt)
        return (*said, self.answer, self.rival or "", self.task, *self.labels, *self.passages)


class Annotation(Struct, frozen=True):
    """What one annotator said, when (unix seconds). `final` settles an item whatever others say."""

    annotator: str
    at: float
    verdict: Verdict
    answer: str | None = None
    comment: str = ""
    final: bool = False


class Item(Struct, frozen=True):
    """An item on record, with its annotations, oldest first."""

    id: str
    domain: str
    kind: ItemKind
    batch: str
    created: float
    state: ItemState
    wanted: int
    example: Example
    origin: dict[str, Any]
    receipt: str | None = None
    unit: str | None = None
    annotations: tuple[Annotation, ...] = ()

    @property
    def answer(self) -> str | None:
        """What is agreed to be right; None unless it was accepted or corrected."""
        if self.state not in (ItemState.ACCEPTED, ItemState.CORRECTED):
            return None
        return resolved(self.example, deciding(self.annotations)[-1])

    def by(self, annotator: str, *, final: bool = False) -> Annotation | None:
        """What somebody said of it, or how they settled it."""
        mine = (one for one in self.annotations if one.annotator == annotator)
        return next((one for one in mine if one.final is final), None)


class Decision(Struct, frozen=True):
    """What an annotator says of an item, as it was shown to them: of a comparison, `first` is the
    answer they saw first."""

    item: str
    verdict: Verdict
    answer: str | None = None
    comment: str = ""

    def annotation(
        self, item: Item, annotator: str, at: float, *, final: bool = False
    ) -> Annotation:
        """The decision as it is kept; raises InvalidReview if it does not fit the item."""
        comparing = item.kind is ItemKind.HUMAN_EVAL
        allowed = COMPARING if comparing else LABELLING
        if self.verdict not in allowed:
            names = ", ".join(sorted(allowed))
            raise InvalidReview(f"{item.id}: {self.verdict} does not fit; one of {names}")
        check_text(self.comment, MOST_COMMENT, f"{item.id}: comment")
        verdict, answer = self.verdict, self.answer
        if comparing and is_turned(item.id, annotator):
            verdict = _TURNED.get(verdict, verdict)
        if verdict is not Verdict.CORRECT:
            answer = None
        else:
            answer = _corrected(item, answer)
            verdict = Verdict.ACCEPT if answer == item.example.answer else verdict
        if final and comparing:
            raise InvalidReview(f"{item.id}: of a comparison every verdict counts; none settles it")
        return Annotation(annotator, at, verdict, answer, self.comment, final)


def shown_to(item: Item, annotator: str) -> Example:
    """The example as this annotator sees it: of a comparison, each sees the sides by chance."""
    example = item.example
    if example.rival is None or not is_turned(item.id, annotator):
        return example
    return replace(example, answer=example.rival, rival=example.answer)


def said_by(item: Item, annotator: str) -> Verdict | None:
    """An annotator's verdict in terms of what they saw."""
    said = item.by(annotator)
    if said is None:
        return None
    is_changed = item.kind is ItemKind.HUMAN_EVAL and is_turned(item.id, annotator)
    return _TURNED.get(said.verdict, said.verdict) if is_changed else said.verdict


def is_turned(item: str, annotator: str) -> bool:
    """Whether this annotator sees a comparison's second answer first."""
    return bool(hashlib.sha256(f"{item}\n{annotator}".encode()).digest()[0] & 1)


def deciding(annotations: Sequence[Annotation]) -> list[Annotation]:
    """Those that count: a final one alone, otherwise all that are not skipped."""
    said = [one for one in annotations if one.verdict is not Verdict.SKIP]
    final = [one for one in said if one.final]
    return final[-1:] or said


def state_of(example: Example, wanted: int, annotations: Sequence[Annotation]) -> ItemState:
    """Where an item stands after these annotations."""
    said = deciding(annotations)
    if len(said) < wanted and not any(one.final for one in said):
        skipped = len(annotations) >= wanted and not said
        return ItemState.SKIPPED if skipped else ItemState.OPEN
    if example.rival is not None:
        return ItemState.JUDGED
    answers = {resolved(example, one) for one in said}
    if len(answers) > 1:
        return ItemState.DISPUTED
    answer = answers.pop()
    if answer is None:
        return ItemState.REJECTED
    return ItemState.ACCEPTED if answer == example.answer else ItemState.CORRECTED


def resolved(example: Example, annotation: Annotation) -> str | None:
    """The answer that an annotation stands for; None if none is right."""
    match annotation.verdict:
        case Verdict.ACCEPT:
            return example.answer
        case Verdict.CORRECT:
            return annotation.answer
        case _:
            return None


def _corrected(item: Item, answer: str | None) -> str:
    if answer is None or not answer.strip():
        raise InvalidReview(f"{item.id}: a correction needs the right answer")
    check_text(answer, MOST_ANSWER, f"{item.id}: answer")
    labels = item.example.labels
    if labels and answer not in labels:
        known = ", ".join(labels)
        raise InvalidReview(f"{item.id}: {answer!r:.80} is not one of the labels: {known:.300}")
    return answer
