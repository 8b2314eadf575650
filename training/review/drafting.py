"""Asking a model for new examples, and reading what it writes back.

Self-instruct (Wang et al., ACL 2023): a few examples by people are shown, and more of their kind
are asked for. What comes back is nobody's word until somebody has reviewed it.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from retrieval.passages import Passage
from training.rows import Row

SHOWN = 4  # examples in a prompt
ASKED = 4  # new ones in a reply
_MOST_EXAMPLE = 2_000  # characters of an example or a passage in a prompt
_MOST_REPLY = 100_000
_MOST_DRAFTS = 50
_MOST_FAILURES = 200  # braces that open nothing
_QUESTIONS = ("question", "instruction", "input", "message", "text")
_ANSWERS = ("answer", "output", "response", "label")

_RULES = (
    "You write examples from which another model learns. Reply with a JSON array of objects, each "
    'with the texts "question" and "answer", and nothing else. Every question differs from the '
    "others and from those shown in content, not only in wording."
)


class Seeds(StrEnum):
    """What new examples are made after: training examples, passages of the domain's documents, or
    each label in turn."""

    TRAIN = "train"
    DOCUMENTS = "documents"
    LABELS = "labels"


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt, and what its answers will be examples of. `label`: the answer that all have."""

    messages: tuple[Mapping[str, str], ...]
    like: Row
    labels: tuple[str, ...] = ()
    label: str | None = None
    passage: str | None = None

    @property
    def digest(self) -> str:
        """Of the prompt."""
        return hashlib.sha256(json.dumps(self.messages).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Draft:
    """A question and an answer as a model wrote them."""

    question: str
    answer: str


def request(
    seeds: Seeds,
    rows: Sequence[Row],
    labels: Mapping[str, Sequence[str]],
    passages: Sequence[Passage],
    rng: random.Random,
    number: int,
) -> Request:
    """The prompt numbered `number`; of DOCUMENTS and LABELS, each passage and label has its turn.

    `rows` are examples of one turn; `labels` those of each task, LABELS needs some.
    """
    if seeds is Seeds.LABELS:
        pairs = [(task, label) for task in sorted(labels) for label in sorted(labels[task])]
        task, label = pairs[number % len(pairs)]
        alike = [row for row in rows if row.task == task and row.answer == label]
        shown = rng.sample(alike, min(SHOWN, len(alike)))
        wanted = f"{ASKED} new ones whose answer is {label!r}"
        return _request(shown, tuple(labels[task]), wanted, label=label)
    if seeds is Seeds.DOCUMENTS:
        passage = passages[number % len(passages)].text[:_MOST_EXAMPLE]
        shown = _alike(rows, rng)
        wanted = f"{ASKED} new ones that this passage alone answers:\n\n{passage}"
        return _request(shown, (), wanted, passage=passage)
    shown = _alike(rows, rng)
    return _request(shown, tuple(labels.get(shown[0].task, ())), f"{ASKED} new ones")


def read_drafts(reply: str) -> list[Draft]:
    """The examples in a reply: JSON objects, in an array or one after the other, with or without
    words and fences around them. What is cut off or no example is passed over."""
    text = reply[:_MOST_REPLY]
    found: list[Draft] = []
    decoder, at, failures = json.JSONDecoder(), 0, 0
    while (at := text.find("{", at)) >= 0 and len(found) < _MOST_DRAFTS:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at, failures = at + 1, failures + 1
            if failures > _MOST_FAILURES:
                break
            continue
        draft = _draft(value)
        if draft is not None:
            found.append(draft)
        at = end if draft is not None else at + 1
    return found


def _draft(value: Mapping[str, Any]) -> Draft | None:
    question = _first(value, _QUESTIONS)
    answer = _first(value, _ANSWERS)
    return None if question is None or answer is None else Draft(question, answer)


def _first(value: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of these that is there: a text as it is, other values as JSON."""
    for name in names:
        if (found := value.get(name)) is not None:
            return found.strip() if isinstance(found, str) else json.dumps(found)
    return None


def _alike(rows: Sequence[Row], rng: random.Random) -> list[Row]:
    """Examples of one task, drawn by chance; a task is as likely as it has examples."""
    first = rng.choice(rows)
    others = [row for row in rows if row.task == first.task and row is not first]
    return [first, *rng.sample(others, min(SHOWN - 1, len(others)))]


def _request(
    shown: Sequence[Row],
    labels: tuple[str, ...],
    wanted: str,
    *,
    label: str | None = None,
    passage: str | None = None,
) -> Request:
    pairs = [
        {"question": row.prompt[-1][1][:_MOST_EXAMPLE], "answer": row.answer[:_MOST_EXAMPLE]}
        for row in shown
    ]
    told = next((text for role, text in shown[0].prompt if role == "system"), "")
    parts = [
        f"The other model is told:\n{told[:_MOST_EXAMPLE]}" if told else "",
        f"Answers are one of: {', '.join(labels)}" if labels else "",
        f"Examples:\n{json.dumps(pairs, ensure_ascii=False, indent=1)}",
        f"Write {wanted}.",
    ]
    prompt = "\n\n".join(part for part in parts if part)
    messages = ({"role": "system", "content": _RULES}, {"role": "user", "content": prompt})
    return Request(messages, shown[0], labels, label, passage)
