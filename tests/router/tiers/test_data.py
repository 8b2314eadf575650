from pathlib import Path

import numpy as np
import pytest

from router.errors import ExampleError
from router.tiers.data import read_pairs
from tests.router.tiers.lines import graded, write_lines

GOOD = {"prompt": "p", "weak_score": 0, "strong_score": 1}


def test_lines_with_costs_and_other_fields(tmp_path: Path) -> None:
    pairs = read_pairs(write_lines(tmp_path / "lines.jsonl", list(graded())[:2]))
    assert pairs.prompts == (
        "Solve the equation 0x + 3 = 70 for x",
        "Write a short poem about rain in 2 lines",
    )
    assert pairs.gains.tolist() == [1, 0]
    assert pairs.weak_costs is not None and pairs.weak_costs.tolist() == [1, 1]
    assert pairs.at(np.array([1])).prompts == pairs.prompts[1:]


def test_lines_without_costs(tmp_path: Path) -> None:
    pairs = read_pairs(write_lines(tmp_path / "lines.jsonl", [GOOD, {**GOOD, "weak_cost": None}]))
    assert (len(pairs), pairs.weak_costs, pairs.strong_costs) == (2, None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": 3}, "'prompt' must be a string, not int"),
        ({"weak_score": None}, "'weak_score' must be a number, not NoneType"),
        ({"strong_score": True}, "'strong_score' must be a number, not bool"),
        ({"strong_score": 70}, "'strong_score' must lie between -1 and 1, not 70"),
        ({"strong_score": 10**400}, "'strong_score' must lie between -1 and 1, not 1000"),
        ({"weak_score": float("nan")}, "'weak_score' must lie between -1 and 1, not nan"),
        ({"weak_cost": 1, "strong_cost": -1}, "'strong_cost' must lie between 0 and 1e+06"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    costs = {"weak_cost": 1, "strong_cost": 1} if "strong_cost" in change else {}
    file = write_lines(tmp_path / "lines.jsonl", [{**GOOD, **costs}, {**GOOD, **change}])
    with pytest.raises(ExampleError) as caught:
        read_pairs(file)
    assert str(caught.value).startswith(f"{file}:2: {message}")


def test_costs_on_some_lines_only(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "l.jsonl", [{**GOOD, "weak_cost": 1, "strong_cost": 2}, GOOD])
    with pytest.raises(ExampleError, match=r":2: no 'weak_cost'; give both costs on every line"):
        read_pairs(file)


def test_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(ExampleError, match="holds no lines"):
        read_pairs(write_lines(tmp_path / "empty.jsonl", []))
