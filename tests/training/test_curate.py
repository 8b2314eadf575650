"""What is removed from raw examples, why, and what the digest depends on."""

from dataclasses import replace

import pytest

from training.curate import Reason, curate
from training.errors import TooFewRows
from training.rows import Row


def test_repetitions_contradictions_and_long_rows_are_removed_and_listed(rows: list[Row]) -> None:
    twin = replace(rows[0], origin="twin")
    other_answer = replace(rows[1], answer="cold", label="cold", origin="other")
    long = replace(rows[2], answer="x" * 20_000, origin="long")
    dataset = curate([*rows[:2], twin, other_answer, long])
    assert dataset.rows == (rows[0],)
    assert dataset.counts == {"kept": 1, "too_long": 1, "contradiction": 2, "duplicate": 1}
    assert {(item.origin, item.reason) for item in dataset.removed} == {
        ("long", Reason.TOO_LONG),
        ("rows:1", Reason.CONTRADICTION),
        ("other", Reason.CONTRADICTION),
        ("twin", Reason.DUPLICATE),
    }
    listed = next(item for item in dataset.removed if item.origin == "other")
    assert listed.detail.endswith("cold / noise")


def test_the_digest_is_of_the_content_not_of_its_origin(rows: list[Row]) -> None:
    moved = [replace(row, origin="elsewhere") for row in rows]
    assert curate(rows).digest == curate(moved).digest
    assert curate(rows).digest != curate(rows[1:]).digest
    assert curate(rows).digest != curate([replace(rows[0], unit="someone"), *rows[1:]]).digest


def test_nothing_left_is_an_error(rows: list[Row]) -> None:
    with pytest.raises(TooFewRows, match="no usable example is left of 2"):
        curate([rows[0], replace(rows[0], answer="cold")])
