"""Splits that share nothing, and rows as tokens."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training.curation.removal import Reason
from training.curation.similarity import clusters, similar_pairs
from training.curation.split import leaked, split
from training.errors import TooFewRows
from training.learning.encoding import IGNORED, encode
from training.learning.sft import load_tokenizer
from training.rows import Row


@pytest.fixture(scope="module")
def tokenizer(base_model: Path) -> Any:
    return load_tokenizer(base_model)


def test_parts_are_disjoint_sized_and_repeatable(rows: list[Row]) -> None:
    parts = split(rows, seed=3)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (48, 6, 6)
    assert {row.origin for part in (parts.train, parts.validation, parts.test) for row in part} == {
        row.origin for row in rows
    }
    assert leaked(parts.train, parts.test) == 0
    assert split(rows, seed=3) == parts
    assert split(rows, seed=4) != parts


def test_near_duplicates_and_users_stay_on_one_side(rows: list[Row]) -> None:
    users = [replace(row, unit=f"user {number // 4}") for number, row in enumerate(rows)]
    parts = split(users)
    assert parts.grouped_by == "unit and near-duplicates"
    sides = [{row.unit for row in part} for part in (parts.train, parts.validation, parts.test)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert min(map(len, sides)) >= 1


def test_copies_of_held_out_rows_leave_the_training_part(rows: list[Row]) -> None:
    text = "one two three four five six seven eight nine ten eleven twelve"
    held = replace(rows[0], prompt=(("user", text),), origin="held")
    copy = replace(held, prompt=(("user", text.upper() + "!"),), origin="copy")
    same_user = replace(rows[5], unit="u1", origin="same user")
    parts = split([*rows, copy, same_user], [replace(held, unit="u1")])
    assert [(item.origin, item.reason) for item in parts.contaminated] == [
        ("copy", Reason.CONTAMINATION),
        ("same user", Reason.CONTAMINATION),
    ]
    assert [row.origin for row in parts.test] == ["held"]
    assert leaked([copy], [held]) == 1


def test_too_few_rows_is_an_error(rows: list[Row]) -> None:
    with pytest.raises(TooFewRows, match="5 training rows are left of 5; at least 10"):
        split(rows[:5])


def test_similarity_is_jaccard_of_word_trigrams() -> None:
    a = "a b c d e f g h i j k l"  # 10 trigrams
    assert list(similar_pairs([a], [a + " m"], 0.9)) == [(0, 0)]  # 10 of 11 shared
    assert list(similar_pairs([a], ["x " + a + " m"], 0.9)) == []  # 10 of 12
    assert list(similar_pairs([a, "hi"], ["Hi!", "ho"])) == [(1, 0)]
    assert list(similar_pairs([], [a])) == list(similar_pairs([a], [])) == []
    assert clusters(["no", a, a + " m", "yes", a + " m n"]) == [0, 1, 1, 3, 1]


def test_only_the_answer_and_its_end_are_learned(rows: list[Row], tokenizer: Any) -> None:
    encoded = encode(rows[0], tokenizer, 512)
    assert encoded is not None
    assert tokenizer.decode(encoded.input_ids[encoded.answer_at :]) == "leak<|im_end|>"
    assert tokenizer.decode(encoded.input_ids[: encoded.answer_at]).endswith(
        "<|im_start|>assistant\n"
    )
    assert encoded.labels == [IGNORED] * encoded.answer_at + list(
        encoded.input_ids[encoded.answer_at :]
    )


def test_long_prompts_lose_their_middle_and_long_answers_their_row(
    rows: list[Row], tokenizer: Any
) -> None:
    long = replace(rows[0], prompt=(("user", "first " + "and " * 300 + "last"),))
    encoded = encode(long, tokenizer, 64)
    assert encoded is not None
    text = tokenizer.decode(encoded.input_ids)
    assert len(encoded.input_ids) == 64
    assert text.startswith("<|im_start|>system") and "last<|im_end|>" in text
    assert encode(replace(rows[0], answer="word " * 60), tokenizer, 64) is None
