"""Splitting a dataset so that nothing held out is trained on, and encoding rows as tokens."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.curate import Reason, Removed
from training.errors import DataError, TooFewRows
from training.rows import Row
from training.similarity import clusters, join, root, similar_pairs

IGNORED = -100  # the label of a token that is not learned; PyTorch's cross-entropy ignores it
HELD_OUT_SHARE = 0.1
# Enough to tell epochs apart; beyond it, validation only takes time from training.
MOST_VALIDATION_ROWS = 200
FEWEST_ROWS = 10
# With fewer people than this, keeping each on one side would leave a side empty or odd.
FEWEST_UNITS = 10


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint parts; `contaminated` training rows were too close to test rows to be used."""

    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    test: tuple[Row, ...]
    contaminated: tuple[Removed, ...]
    grouped_by: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as token ids; the answer, end-of-turn token included, begins at `answer_at`."""

    input_ids: tuple[int, ...]
    answer_at: int

    @property
    def labels(self) -> list[int]:
        """What is to be predicted at each position; the prompt is ignored."""
        return [IGNORED] * self.answer_at + list(self.input_ids[self.answer_at :])


def split(rows: Sequence[Row], held_out: Sequence[Row] | None = None, *, seed: int = 0) -> Split:
    """Divide 80/10/10 by groups of near-duplicates and, where known, of users.

    Rows given as `held_out` are the test part as they are; rows too close to them are removed.

    Raises:
        TooFewRows: fewer than FEWEST_ROWS training rows, or no test row, would be left.
    """
    clean, contaminated = _decontaminate(rows, held_out or ())
    groups, grouped_by = _groups(clean)
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    share = round(len(clean) * HELD_OUT_SHARE)
    test = list(held_out) if held_out is not None else _take(groups, order, clean, share)
    validation = _take(groups, order, clean, min(share, MOST_VALIDATION_ROWS))
    chosen = sorted(index for group in order for index in groups[group])
    train = tuple(clean[index] for index in chosen)
    if len(train) < FEWEST_ROWS:
        raise TooFewRows(
            f"{len(train)} training rows are left of {len(rows)}; at least {FEWEST_ROWS} are needed"
        )
    if not test:
        raise TooFewRows("no row is left to evaluate on; give the pack an eval.jsonl, or more rows")
    return Split(train, tuple(validation), tuple(test), tuple(contaminated), grouped_by)


def leaked(train: Sequence[Row], test: Sequence[Row]) -> int:
    """How many test rows are near-copies of a training row: 0 after `split`."""
    pairs = similar_pairs([row.question for row in train], [row.question for row in test])
    return len({index for _, index in pairs})


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
    return Encoded((*asked, *learned), len(asked))


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


def _decontaminate(rows: Sequence[Row], held_out: Sequence[Row]) -> tuple[list[Row], list[Removed]]:
    pairs = similar_pairs([row.question for row in rows], [row.question for row in held_out])
    copies: dict[int, int] = {}
    for index, match in pairs:
        copies.setdefault(index, match)
    units = {row.unit for row in held_out if row.unit is not None}
    clean, removed = [], []
    for index, row in enumerate(rows):
        if index in copies:
            detail = f"near-copy of held-out {held_out[copies[index]].origin}"
            removed.append(Removed(row.origin, Reason.CONTAMINATION, detail))
        elif row.unit in units:
            removed.append(Removed(row.origin, Reason.CONTAMINATION, "its user is held out"))
        else:
            clean.append(row)
    return clean, removed


def _groups(rows: Sequence[Row]) -> tuple[dict[int, list[int]], str]:
    """Indices that must stay together, by the first of them, and what holds them together."""
    parents = clusters([row.question for row in rows])
    first: dict[str, int] = {}
    units = {row.unit for row in rows if row.unit is not None}
    by_unit = len(units) >= FEWEST_UNITS
    groups: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        if by_unit and row.unit is not None:
            join(parents, first.setdefault(row.unit, index), index)
    for index in range(len(rows)):
        groups.setdefault(root(parents, index), []).append(index)
    return groups, "unit and near-duplicates" if by_unit else "near-duplicates"


def _take(
    groups: dict[int, list[int]], order: list[int], rows: Sequence[Row], wanted: int
) -> list[Row]:
    """Move whole groups out of `order` for `wanted` rows; a group too large for the rest stays."""
    taken: list[int] = []
    for group in list(order):
        if len(taken) + len(groups[group]) <= wanted:
            taken += groups[group]
            order.remove(group)
    return [rows[index] for index in sorted(taken)]
