"""A pack's probes: words that may be exchanged without changing what a right answer is."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

_Word = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
_Words = Annotated[tuple[_Word, ...], Field(min_length=2, max_length=10)]


class Probe(BaseModel):
    """Interchangeable words, such as `swap = [["he", "she"], ["Mr", "Ms"]]`: the first of each list
    belong to one group of people, the second to another, and so on. `groups` names these."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    swap: Annotated[tuple[_Words, ...], Field(min_length=1, max_length=200)]
    groups: _Words | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the groups are called: without `groups` by their first words."""
        return self.groups or self.swap[0]

    @model_validator(mode="after")
    def _groups_are_the_same(self) -> Self:
        sizes = {len(words) for words in (*self.swap, *([self.groups] if self.groups else []))}
        if len(sizes) > 1:
            raise ValueError(
                f"swap: every list needs a word for each group, in the same order; {self.name} has "
                f"lists of {', '.join(map(str, sorted(sizes)))}"
            )
        seen = [word.casefold() for words in self.swap for word in words]
        if twice := sorted({word for word in seen if seen.count(word) > 1}):
            raise ValueError(f"swap: {twice[0]!r} stands twice in {self.name}")
        return self
