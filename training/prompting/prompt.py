"""How a domain's questions are put to a model: instructions, worked examples and passages around
the question. Knows nothing of models; sizes are estimates, as every model counts its own tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from retrieval.prompt import INSTRUCTION, ground
from training.evaluation.evaluate import Question, questions
from training.prompting.passages import Passages
from training.rows import Message, Row

_BYTES_PER_TOKEN = 3  # English has four to five, names of labels and JSON about three
_TURN_TOKENS = 5  # what a chat template writes around a message


class Way(StrEnum):
    """What a prompt adds to the question, from what is least work to build and keep up."""

    PLAIN = "plain"
    INSTRUCTIONS = "instructions"
    FEW_SHOT = "few-shot"
    RETRIEVAL = "retrieval"
    FEW_SHOT_RETRIEVAL = "few-shot + retrieval"


# Worked examples for a row, the most useful last; more than fit may be given.
Choose = Callable[[Row], Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One way to ask. `room` bounds the tokens, as estimated, that examples and passages may add
    to a question, each on its own.

    Args:
        instructions: by task, what is added to the system message.
        examples: become earlier turns of the chat.
    """

    name: str
    way: Way = Way.PLAIN
    instructions: Mapping[str, str] | None = None
    examples: Choose | None = None
    passages: Passages | None = None
    room: int = 0

    def apply(self, rows: Sequence[Row]) -> list[Question]:
        """The rows' questions in their order, with room for an answer as `questions` gives."""
        return [
            replace(question, messages=self._messages(row))
            for row, question in zip(rows, questions(rows), strict=True)
        ]

    def _messages(self, row: Row) -> list[Message]:
        asked_at = next(at for at, (role, _) in enumerate(row.prompt) if role != "system")
        head, turns = row.messages[:asked_at], row.messages[asked_at:]
        if instruction := (self.instructions or {}).get(row.task):
            said = [*(message["content"] for message in head), instruction]
            head = [{"role": "system", "content": "\n\n".join(said)}]
        shown = self._shown(row)
        found = self.passages.find(row) if self.passages else ()
        # A token is a few characters of a passage; `ground` counts these.
        budget = len(INSTRUCTION) + self.room * _BYTES_PER_TOKEN
        return list(ground([*head, *shown, *turns], found, budget=budget))

    def _shown(self, row: Row) -> list[Message]:
        """The most useful examples that fit, as turns, the most useful one next to the question."""
        if self.examples is None:
            return []
        shown: list[list[Message]] = []
        left = self.room
        for example in reversed(self.examples(row)):
            turns = _turns(example)
            size = sum(tokens(turn["content"]) for turn in turns)
            if size <= left:
                shown.append(turns)
                left -= size
        return [turn for turns in reversed(shown) for turn in turns]


def tokens(text: str) -> int:
    """What a message is likely to cost, a little more than it does."""
    return len(text.encode()) // _BYTES_PER_TOKEN + _TURN_TOKENS


def _turns(example: Row) -> list[Message]:
    asked = [message for message in example.messages if message["role"] != "system"]
    return [*asked, {"role": "assistant", "content": example.answer}]
