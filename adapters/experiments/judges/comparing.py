"""Two answers before a judge, twice, with the places changed: only who wins from both has won
(Zheng et al. 2023, section 3.4). Knows nothing of who gave them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from adapters.experiments.judges.endpoint import JudgeEndpoint, Message
from adapters.experiments.judges.prompts import Better, again, compare_prompt, read_comparison

_Word = TypeVar("_Word", float, Better)


@dataclass(frozen=True, slots=True)
class Compared:
    """What was said when the one answer had the first place, and when it had the second."""

    ahead: Better
    behind: Better

    @property
    def value(self) -> float:
        """1 where the one won from both places, 0 where the other did, else 0.5."""
        match self.ahead, self.behind:
            case Better.FIRST, Better.SECOND:
                return 1.0
            case Better.SECOND, Better.FIRST:
                return 0.0
            case _:
                return 0.5

    @property
    def consistent(self) -> bool:
        """Whether the same was said from both places."""
        return self.value != 0.5 or self.ahead is self.behind is Better.NEITHER


async def compare(
    endpoint: JudgeEndpoint, rubric: str, conversation: str, one: str, other: str
) -> Compared | None:
    """Ask twice; None where a reply cannot be read. Raises EngineError."""
    said = []
    for first, second in ((one, other), (other, one)):
        prompt = compare_prompt(rubric, conversation, first, second)
        better = await ask_for(read_comparison, endpoint, prompt)
        if better is None:
            return None
        said.append(better)
    return Compared(*said)


async def ask_for(
    read: Callable[[str], _Word | None], endpoint: JudgeEndpoint, prompt: list[Message]
) -> _Word | None:
    """What the judge says, asked once more where that cannot be read."""
    reply = await endpoint.ask(prompt)
    word = read(reply)
    return word if word is not None else read(await endpoint.ask(again(prompt, reply)))
