"""Checks say of an answer's text what an application would find out by using it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from adapters.checks import AnyCheck, Check

_check: TypeAdapter[AnyCheck] = TypeAdapter(AnyCheck)
JSON = {"kind": "json", "required": ["topic"]}
LABEL = {"kind": "one_of", "values": ["pump", "group_seal"]}
CITES = {"kind": "cites"}


def made(**fields: Any) -> Check:
    return _check.validate_python({"name": "c", **fields})


@pytest.mark.parametrize(
    ("fields", "text", "passes"),
    [
        (JSON, '{"topic": "fee"}', True),
        (JSON, ' {"topic": null, "more": 1}\n', True),
        (JSON, '{"subject": "fee"}', False),
        (JSON, '```json\n{"topic": "fee"}\n```', False),
        (JSON, '["topic"]', False),
        (JSON, "[" * 100_000, False),
        (JSON, "", False),
        ({"kind": "json"}, "[1]", True),
        ({"kind": "json"}, "fee", False),
        (LABEL, " pump\n", True),
        (LABEL, "Pump", False),
        (LABEL, "pump.", False),
        ({**LABEL, "ignore_case": True}, "PUMP", True),
        ({"kind": "pattern", "pattern": r"\d+ °C"}, "Set it to 93 °C.", True),
        ({"kind": "pattern", "pattern": r"\d+ °C"}, "Hot.", False),
        ({"kind": "pattern", "pattern": "(?i)as an ai", "must": False}, "As an AI, …", False),
        ({"kind": "pattern", "pattern": "(?i)as an ai", "must": False}, "93", True),
        ({"kind": "pattern", "pattern": "x"}, "\ud800x", True),
        ({"kind": "length", "most_words": 2}, "two words", True),
        ({"kind": "length", "most_words": 2}, "now three words", False),
        ({"kind": "length", "most_words": 2, "most_characters": 8}, "two words", False),
        (CITES, "An eighth of a turn [2].", True),
        (CITES, "An eighth of a turn.", False),
        (CITES, "An eighth of a turn [1][3].", False),
        (CITES, "An eighth of a turn [0].", False),
    ],
)
def test_an_answer_passes_or_not(fields: dict[str, Any], text: str, passes: bool) -> None:
    assert made(**fields).passes(text, passages=2) is passes


def test_a_check_of_one_task_says_nothing_of_others() -> None:
    check = made(**LABEL, task="fault")
    assert [check.passes("pump", task=task) for task in ("fault", "qa", None, ["fault"])] == [
        True,
        None,
        None,
        None,
    ]


def test_nothing_is_cited_where_there_is_nothing() -> None:
    assert made(**CITES).passes("[1]") is None


def test_no_pattern_backtracks() -> None:
    check = made(kind="pattern", pattern="(a+)+(a|aa)+(a+)+$")
    assert check.passes("a" * 100_000 + "b") is False  # Python's `re` would not come back


@given(text=st.text(max_size=200))
def test_any_text_is_judged(text: str) -> None:
    pattern = {"kind": "pattern", "pattern": "a"}
    for fields in (JSON, LABEL, CITES, pattern, {"kind": "length", "most_words": 1}):
        assert made(**fields).passes(text, passages=1) in (True, False)
