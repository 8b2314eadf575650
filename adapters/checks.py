"""A pack's checks: what an application needs of an answer, told from its text alone.

They know how many passages an answer had, and nothing of who gave it.
"""

import re
from abc import ABC, abstractmethod
from typing import Annotated, Literal, Self

import orjson
import re2
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

_CITATION = re.compile(r"\[([0-9]{1,4})\]")  # as retrieval asks the model to write them
_Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Words = Annotated[tuple[_Word, ...], Field(min_length=1, max_length=1000)]


class Check(BaseModel, ABC):
    """One check; as a metric of an experiment it is called `check:NAME`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    task: _Word | None = None

    def passes(self, text: str, *, task: object = None, passages: int = 0) -> bool | None:
        """Whether an answer passes; None where the check says nothing of it: it is for another
        `task` than the request's metadata name, or has nothing to go by."""
        return None if self.task not in (None, task) else self._holds(text, passages)

    @abstractmethod
    def _holds(self, text: str, passages: int) -> bool | None: ...


class Json(Check):
    """The answer is JSON and nothing else, an object with these keys if any are required."""

    kind: Literal["json"]
    required: _Words | None = None

    def _holds(self, text: str, passages: int) -> bool:
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return False
        return self.required is None or (
            isinstance(value, dict) and value.keys() >= {*self.required}
        )


class OneOf(Check):
    """The answer is one of these and nothing else."""

    kind: Literal["one_of"]
    values: _Words
    ignore_case: bool = False

    def _holds(self, text: str, passages: int) -> bool:
        said = text.strip()
        if self.ignore_case:
            return said.casefold() in {value.casefold() for value in self.values}
        return said in self.values


class Pattern(Check):
    """The pattern is found in the answer, or with `must = false` is not. RE2 takes time in
    proportion to the text, whatever the pattern."""

    kind: Literal["pattern"]
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    must: bool = True

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        quiet = re2.Options()
        quiet.log_errors = False
        try:
            re2.compile(pattern, quiet)
        except re2.error as exc:
            reason = exc.args[0].decode(errors="replace")
            raise ValueError(f"not a pattern in RE2's syntax: {reason}") from exc
        return pattern

    def _holds(self, text: str, passages: int) -> bool:
        found = re2.search(self.pattern, text.encode(errors="replace"))
        return (found is not None) is self.must


class Length(Check):
    """The answer is no longer than this."""

    kind: Literal["length"]
    most_characters: Annotated[int, Field(ge=1)] | None = None
    most_words: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if self.most_characters is None and self.most_words is None:
            raise ValueError("needs most_characters or most_words")
        return self

    def _holds(self, text: str, passages: int) -> bool:
        if self.most_characters is not None and len(text) > self.most_characters:
            return False
        return self.most_words is None or len(text.split()) <= self.most_words


class Cites(Check):
    """The answer cites one of its passages, as [1], and none that it did not have. Says nothing of
    answers without passages."""

    kind: Literal["cites"]

    def _holds(self, text: str, passages: int) -> bool | None:
        if not passages:
            return None
        cited = {int(number) for number in _CITATION.findall(text)}
        return bool(cited) and all(1 <= number <= passages for number in cited)


AnyCheck = Annotated[Json | OneOf | Pattern | Length | Cites, Field(discriminator="kind")]
