"""Rows as the token ids that a model is trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.curation.removal import Reason, Removed
from training.errors import DataError
from training.rows import Row

IGNORED = -100  # the label of a token that is not learned; PyTorch's cross-entropy ignores it


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as token ids; the answer, end-of-turn token included, begins at `answer_at`. A `held`
    row is not learned: the model is to say of it what it said before."""

    input_ids: tuple[int, ...]
    answer_at: int
    held: bool = False

    @property
    def labels(self) -> list[int]:
        """What is to be predicted at each position; the prompt is ignored."""
        return [IGNORED] * self.answer_at + list(self.input_ids[self.answer_at :])


def encode(row: Row, tokenizer: Any, max_length: int) -> Encoded | None:
    """A row through the chat template, cut to `max_length` tokens from the middle of its prompt.

    The middle goes because instructions stand at the beginning and the question's point mostly at
    the end. None when the answer leaves less than half of the length to the prompt.
    """
    prompt = _render(tokenizer, row.messages, add_generation_prompt=True)
    turn = {"role": "assistant", "content": row.answer}
    whole = _render(tokenizer, [*row.messages, turn], add_generation_prompt=False)
    if not whole.startswith(prompt):
        raise DataError("the model's chat template does not continue a prompt with its answer")
    answer = whole[len(prompt) :]
    end = answer.rfind(tokenizer.eos_token)
    if end < 0:
        raise DataError(
            "the model's chat template does not end an answer with the end-of-turn token"
        )
    asked = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    learned = tokenizer(answer[:end], add_special_tokens=False)["input_ids"] + [
        tokenizer.eos_token_id
    ]
    room = max_length - len(learned)
    if room < max_length // 2:
        return None
    if len(asked) > room:
        asked = asked[: room // 2] + asked[len(asked) - (room - room // 2) :]
    return Encoded((*asked, *learned), len(asked), row.held)


def encode_all(
    rows: Sequence[Row], tokenizer: Any, max_length: int
) -> tuple[list[Encoded], list[Removed]]:
    """Encode rows; those whose answer is too long for the model are returned as removed."""
    encoded, removed = [], []
    for row in rows:
        example = encode(row, tokenizer, max_length)
        if example is None:
            removed.append(
                Removed(row.origin, Reason.TOO_LONG, f"answer, at {max_length} tokens a row")
            )
        else:
            encoded.append(example)
    return encoded, removed


def _render(tokenizer: Any, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
    text = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=add_generation_prompt
    )
    return str(text)
