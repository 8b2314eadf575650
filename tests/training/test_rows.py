"""Reading chat JSONL: what is a row, and that all else is one clear error with file and line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.conftest import write_chat
from training.errors import DataError
from training.rows import Row, read_chat

USER = {"role": "user", "content": "Why?"}
ANSWER = {"role": "assistant", "content": "Because."}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
almost_a_row = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["system", "user", "assistant", "tool"]) | anything},
                optional={"content": st.text(max_size=20) | anything},
            ),
            max_size=4,
        )
    },
    optional={"meta": anything},
)


def test_a_row_is_prompt_answer_task_label_unit_and_origin(tmp_path: Path) -> None:
    line = {
        "messages": [{"role": "system", "content": "Be brief."}, USER, ANSWER],
        "meta": {"task": "why", "label": "because", "unit": "u1", "source": "ignored"},
    }
    path = tmp_path / "a.jsonl"
    path.write_text("\n" + json.dumps(line) + "\n")
    assert read_chat(path) == [
        Row(
            prompt=(("system", "Be brief."), ("user", "Why?")),
            answer="Because.",
            task="why",
            label="because",
            unit="u1",
            origin="a.jsonl:2",
        )
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not valid JSON"),
        ("[1]", "expected a JSON object"),
        ({"messages": "hi"}, '"messages" must be a list'),
        ({"messages": [ANSWER]}, "at least a question and its answer"),
        ({"messages": [ANSWER, USER]}, "must be the assistant's answer, not 'user'"),
        ({"messages": [ANSWER, ANSWER]}, "no message of the user"),
        ({"messages": [USER, {**ANSWER, "content": " "}]}, "the answer is empty"),
        ({"messages": [USER, {"role": "assistant"}]}, "messages[1]: content must be text"),
        ({"messages": [{"role": "wizard", "content": "x"}, ANSWER]}, "role 'wizard' is not one of"),
        ({"messages": [{**USER, "content": "\ud800"}, ANSWER]}, "not valid Unicode"),
        ({"messages": [USER, ANSWER], "meta": {"task": 3}}, "meta.task must be a string, not int"),
        ({"messages": [USER, ANSWER], "meta": {"held": 1}}, "meta.held must be true or false"),
        ({"messages": [USER, ANSWER], "meta": ["task"]}, '"meta" must be an object'),
    ],
)
def test_a_bad_line_names_file_line_and_reason(
    tmp_path: Path, line: dict[str, Any] | str, reason: str
) -> None:
    path = tmp_path / "bad.jsonl"
    good = json.dumps({"messages": [USER, ANSWER]})
    path.write_text(f"{good}\n{line if isinstance(line, str) else json.dumps(line)}\n")
    with pytest.raises(DataError) as caught:
        read_chat(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert reason in str(caught.value)


def test_text_parts_are_joined(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Wh"}, {"type": "text", "text": "y?"}]
    path = tmp_path / "parts.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": parts}, ANSWER]}))
    assert read_chat(path)[0].question == "Why?"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(lines=st.lists(almost_a_row | anything, max_size=3))
def test_any_json_is_read_or_refused(tmp_path: Path, lines: list[Any]) -> None:
    path = tmp_path / "any.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    try:
        rows = read_chat(path)
    except DataError as exc:
        assert str(exc).startswith(str(path))
    else:
        for row in rows:
            assert row.answer.strip() and row.messages
            row.answer.encode("utf-8")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bytes.jsonl"
    path.write_bytes(data)
    try:
        read_chat(path)
    except DataError as exc:
        assert str(exc).startswith(str(path))


def test_rows_survive_a_round_trip(tmp_path: Path, rows: list[Row]) -> None:
    again = read_chat(write_chat(tmp_path / "rows.jsonl", rows))
    assert [(row.prompt, row.answer, row.label) for row in again] == [
        (row.prompt, row.answer, row.label) for row in rows
    ]
