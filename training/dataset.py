"""Splitting a dataset so that nothing held out is trained on, and encoding rows as tokens."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from training.curation.removal import Reason, Removed
from training.errors import DataError, TooFewRows
from training.rows import Kind, Row, Source
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
    """Three disjoint parts; `contaminated` rows were too close to an evaluation set to be used.

    `tested_from` is the time of the oldest test row, where the test part is the newest of the log.
    """

    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    test: tuple[Row, ...]
    contaminated: tuple[Removed, ...]
    grouped_by: str
    tested_from: float | None = None

    def of(self, kind: Kind) -> "Split":
        """The same parts with rows of one kind only."""
        parts = (self.train, self.validation, self.test)
        train, validation, test = (tuple(row for row in part if row.kind is kind) for part in parts)
        return replace(self, train=train, validation=validation, test=test)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as token ids; the answer, end-of-turn token included, begins at `answer_at`."""

    input_ids: tuple[int, ...]
    answer_at: int

    @property
    def labels(self) -> list[int]:
        """What is to be predicted at each position; the prompt is ignored."""
        return [IGNORED] * self.answer_at + list(self.input_ids[self.answer_at :])


def split(
    rows: Sequence[Row],
    held_out: Sequence[Row] | None = None,
    *,
    evaluations: Mapping[str, Sequence[Row]] | None = None,
    seed: int = 0,
) -> Split:
    """Divide 80/10/10 by groups of near-duplicates and, where known, of users.

    Rows given as `held_out` are the test part as they are; without them it is the newest groups
    of rows that have a time, if these suffice. Rows too close to `held_out` or to one of the other
    `evaluations`, by name, are removed. General rows are only trained on.

    Raises:
        TooFewRows: fewer than FEWEST_ROWS training rows, or no test row, would be left.
    """
    sets = dict(evaluations or {})
    if held_out and held_out not in sets.values():
        sets["held-out"] = held_out
    clean, contaminated = _decontaminate(rows, sets)
    general = [row for row in clean if row.source is Source.GENERAL]
    clean = [row for row in clean if row.source is not Source.GENERAL]
    groups, grouped_by = _groups(clean)
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    share = round(len(clean) * HELD_OUT_SHARE)
    if held_out is None:
        newest = _newest_first(groups, clean, order, share)
        test = _take(groups, newest or order, clean, share)
        order = [group for group in order if group in groups]
    else:
        newest, test = [], list(held_out)
    validation = _take(groups, order, clean, min(share, MOST_VALIDATION_ROWS))
    train = [clean[index] for index in sorted(index for some in groups.values() for index in some)]
    train += general
    if len(train) < FEWEST_ROWS:
        raise TooFewRows(
            f"{len(train)} training rows are left of {len(rows)}; at least {FEWEST_ROWS} are needed"
        )
    if not test:
        raise TooFewRows("no row is left to evaluate on; give the pack an eval.jsonl, or more rows")
    since = min((row.time for row in test if row.time is not None), default=None)
    return Split(
        train=tuple(train),
        validation=tuple(validation),
        test=tuple(test),
        contaminated=tuple(contaminated),
        grouped_by=grouped_by,
        tested_from=since if newest else None,
    )


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


def _decontaminate(
    rows: Sequence[Row], sets: Mapping[str, Sequence[Row]]
) -> tuple[list[Row], list[Removed]]:
    copies: dict[int, str] = {}
    for name, held_out in sets.items():
        pairs = similar_pairs([row.question for row in rows], [row.question for row in held_out])
        for index, match in pairs:
            copies.setdefault(index, f"near-copy of {name} {held_out[match].origin}")
    units = {row.unit for some in sets.values() for row in some if row.unit is not None}
    clean, removed = [], []
    for index, row in enumerate(rows):
        if (detail := copies.get(index)) is not None:
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


def _newest_first(
    groups: Mapping[int, Sequence[int]], rows: Sequence[Row], order: Sequence[int], wanted: int
) -> list[int]:
    """Groups by the time of their newest row, latest first; none if too few rows have a time."""
    latest = {
        group: max(rows[index].time or 0.0 for index in groups[group])
        for group in order
        if all(rows[index].time is not None for index in groups[group])
    }
    if sum(len(groups[group]) for group in latest) < 2 * wanted:
        return []
    return sorted(latest, key=lambda group: -latest[group])


def _take(
    groups: dict[int, list[int]], order: Sequence[int], rows: Sequence[Row], wanted: int
) -> list[Row]:
    """Move whole groups out of `groups` for `wanted` rows; one too large for the rest stays."""
    taken: list[int] = []
    for group in order:
        if len(taken) + len(groups[group]) <= wanted:
            taken += groups.pop(group)
    return [rows[index] for index in sorted(taken)]
