"""What must not be forgotten: the shipped rows and own ones, and how many of them are asked."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.conftest import write_chat
from training.curation.split import leaked
from training.errors import DataError
from training.evaluation.capabilities import read_protected
from training.evaluation.metrics import Metric, metric_of
from training.evaluation.sampling import sample
from training.rows import Row


def test_the_shipped_rows_are_three_capabilities_with_short_answers() -> None:
    rows = read_protected(())
    assert Counter(row.task for row in rows) == {
        "arithmetic": 40,
        "instructions": 40,
        "knowledge": 40,
    }
    assert len({row.prompt for row in rows}) == 120
    assert metric_of(rows) is Metric.EXACT_MATCH


def test_own_rows_replace_them_and_are_named_by_task_or_file(
    rows: list[Row], tmp_path: Path
) -> None:
    named = write_chat(tmp_path / "a.jsonl", rows[:3])
    bare = write_chat(
        tmp_path / "manners.jsonl", [replace(row, task="default") for row in rows[:2]]
    )
    found = read_protected((named, bare))
    assert [row.task for row in found] == ["fault"] * 3 + ["manners"] * 2
    assert leaked(rows[:1], found) == 2


@pytest.mark.parametrize(
    ("content", "said"), [("", "holds no row"), ("{}", "messages"), ("\xff{", "x.jsonl:1")]
)
def test_a_file_that_protects_nothing_is_refused(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(content)
    with pytest.raises(DataError, match=said):
        read_protected((file,))


def test_a_sample_has_so_many_rows_of_each_task_in_their_order(rows: list[Row]) -> None:
    mixed = [replace(row, task="rare" if i < 5 else "common") for i, row in enumerate(rows)]
    chosen = sample(mixed, 10, seed=0)
    assert Counter(row.task for row in chosen) == {"rare": 5, "common": 10}
    assert list(chosen) == sorted(chosen, key=mixed.index)
    assert chosen == sample(mixed, 10, seed=0) != sample(mixed, 10, seed=1)
    assert sample(mixed, 60, seed=0) == tuple(mixed)
