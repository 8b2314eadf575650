"""OpenAI's Decisions API as a router can answer it: questions about which target a text is for."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, Field, StrictBool, StrictStr

from gateway.errors import BadRequest
from router.decision import GENERAL

_NO_DOMAIN = "none"
_ABOUT = re.compile(
    r"(?:(?:(?:is|does|the|this|it|that|a|an|input|text|question|query|message|user|asks?|asking)"
    r"\s+)*about\s+)?(\S+?)\s*[.?]?",
    re.IGNORECASE,
)
Instructions = str | list[dict[str, Any]]
Name = Annotated[str, Field(max_length=256)]


class Choice(BaseModel):
    value: StrictBool | StrictStr
    description: str | None = None


class Level(BaseModel):
    label: str
    description: str | None = None


class ChoiceQuestion(BaseModel):
    """The most probable of some targets; `general`, or `none`, stands for all that is no domain."""

    type: Literal["choice"]
    instructions: Instructions
    choices: Annotated[list[Choice], Field(min_length=2, max_length=255)]
    name: Name | None = None


class PredicateQuestion(BaseModel):
    """`Is this about TARGET?`"""

    type: Literal["predicate"]
    instructions: Instructions
    name: Name | None = None


class ScoreQuestion(BaseModel):
    """Read, and refused: a router knows no degrees."""

    type: Literal["score"]
    instructions: Instructions
    levels: list[Level]
    name: Name | None = None


Question = Annotated[
    ChoiceQuestion | PredicateQuestion | ScoreQuestion, Field(discriminator="type")
]


class DecisionBody(BaseModel):
    """OpenAI's request; what concerns caches and end users is read by nobody here."""

    model: str = Field(min_length=1, max_length=256)
    input: str | list[dict[str, Any]]
    questions: Annotated[list[Question], Field(min_length=1, max_length=400)]


def messages_of(body: DecisionBody) -> list[Mapping[str, object]]:
    """The input as chat messages; calls of tools and their outputs are none."""
    if isinstance(body.input, str):
        return [{"role": "user", "content": body.input}]
    return [
        {"role": item["role"], "content": _parts(item.get("content"))}
        for item in body.input
        if isinstance(item.get("role"), str)
    ]


def answer(
    position: int, question: Question, shares: Mapping[str, float], targets: Collection[str]
) -> dict[str, Any]:
    """The answer to `questions[position]` from the labels' probabilities; without any, of a text
    that has no words, a refusal. Raises BadRequest where the question is not about `targets`."""
    place = f"questions[{position}]"
    match question:
        case ChoiceQuestion():
            offered = _offered(place, question.choices, targets)
            given = _choice(offered, shares)
        case PredicateQuestion():
            target = _subject(place, question.instructions, targets)
            given = {"type": "predicate", "probability": shares.get(target, 0.0)}
        case ScoreQuestion():
            raise BadRequest(
                f"{place} is a score; this model answers choices between targets and predicates "
                f"that read 'Is this about TARGET?'; targets are {', '.join(targets)}",
                param=f"{place}.type",
            )
    return {**(given if shares else {"type": "refusal"}), "name": question.name}


def _offered(place: str, choices: Sequence[Choice], targets: Collection[str]) -> dict[str, str]:
    """Values by the target they stand for."""
    offered: dict[str, str] = {}
    for number, choice in enumerate(choices):
        target = GENERAL if choice.value == _NO_DOMAIN else choice.value
        param = f"{place}.choices[{number}].value"
        if not isinstance(target, str) or target not in targets:
            raise BadRequest(
                f"{param} is {choice.value!r}; this model chooses between targets: "
                f"{', '.join(targets)} ({_NO_DOMAIN!r} stands for {GENERAL!r})",
                param=param,
            )
        if target in offered:
            raise BadRequest(f"{param}: {target!r} is offered twice", param=param)
        offered[target] = str(choice.value)
    return offered


def _choice(offered: Mapping[str, str], shares: Mapping[str, float]) -> dict[str, Any]:
    """Probabilities among what is offered."""
    masses = {value: shares.get(target, 0.0) for target, value in offered.items()}
    total = sum(masses.values())
    each = {value: mass / total if total else 1 / len(masses) for value, mass in masses.items()}
    best = max(each, key=each.__getitem__)
    return {
        "type": "choice",
        "choice": best,
        "confidence": each[best],
        "probabilities": [{"value": value, "probability": p} for value, p in each.items()],
    }


def _subject(place: str, instructions: Instructions, targets: Collection[str]) -> str:
    """The target a predicate asks about. Any freer wording might ask for something else."""
    text = instructions if isinstance(instructions, str) else _text(instructions)
    found = _ABOUT.fullmatch(text.strip())
    named = {target.lower(): target for target in targets}
    if found is None or found[1].lower() not in named:
        raise BadRequest(
            f"{place}: a predicate is answered if it reads 'Is this about TARGET?'; "
            f"targets are {', '.join(targets)}",
            param=f"{place}.instructions",
        )
    return named[found[1].lower()]


def _parts(content: object) -> object:
    """Content whose JSON parts are text."""
    if not isinstance(content, list):
        return content
    return [_as_text(part) if isinstance(part, dict) else part for part in content]


def _as_text(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if part.get("type") != "input_json":
        return part
    return {"type": "input_text", "text": orjson.dumps(part.get("data")).decode()}


def _text(parts: Sequence[Mapping[str, Any]]) -> str:
    return " ".join(part["text"] for part in parts if isinstance(part.get("text"), str))
