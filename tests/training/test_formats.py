"""Lines of OpenAI's and TRL's formats, and what is none of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.curation.formats import parse_example, read_examples, write_examples
from training.errors import DataError
from training.rows import Kind, Row, read_chat

ASKED = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
PROMPT = (("system", "Be brief."), ("user", "Why?"))


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def parsed(line: dict[str, Any]) -> Row:
    return parse_example(line, origin="f:1", where="f.jsonl:1")


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ({"messages": [*ASKED, *answer("So.")]}, Row(PROMPT, "So.", origin="f:1")),
        (
            {
                "input": {"messages": ASKED, "tools": []},
                "preferred_output": answer("So."),
                "non_preferred_output": answer("No."),
                "meta": {"task": "why", "unit": "u", "time": 3},
            },
            Row(PROMPT, "So.", "why", unit="u", origin="f:1", rejected="No.", time=3.0),
        ),
        (
            {"prompt": "Why?", "completion": "So."},
            Row((("user", "Why?"),), "So.", origin="f:1"),
        ),
        (
            {"prompt": ASKED, "completion": answer("So."), "label": False},
            Row(PROMPT, "So.", origin="f:1", desirable=False),
        ),
        (
            {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
            Row((("user", "Why?"),), "So.", origin="f:1", rejected="No."),
        ),
        (
            {"chosen": [*ASKED, *answer("So.")], "rejected": [*ASKED, *answer("No.")]},
            Row(PROMPT, "So.", origin="f:1", rejected="No."),
        ),
    ],
)
def test_every_format_becomes_a_row(line: dict[str, Any], row: Row) -> None:
    assert parsed(line) == row


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"text": "Why?"}, 'expected "messages" (OpenAI chat)'),
        ({}, "found nothing"),
        ({"prompt": 3, "completion": "So."}, "prompt must be a text or a list"),
        ({"prompt": "Why?", "completion": []}, "completion must be a text or a list of one"),
        ({"prompt": "Why?", "completion": "So.", "label": "yes"}, "label must be true or false"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": "So."}, "are the same"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": " "}, "the answer is empty"),
        ({"chosen": "So.", "rejected": "No."}, "chosen and rejected must be lists"),
        ({"chosen": [*ASKED], "rejected": answer("No.")}, "must differ in their last message"),
        ({"prompt": "Why?", "completion": "\ud800"}, "not valid Unicode"),
        ({"prompt": "Why?", "completion": "So.", "meta": {"time": "now"}}, "must be unix seconds"),
        ({"prompt": "Why?", "completion": "So.", "meta": {"time": 1e999}}, "must be unix seconds"),
    ],
)
def test_anything_else_is_refused_with_its_place(line: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError) as caught:
        parsed(line)
    assert str(caught.value).startswith("f.jsonl:1: ")
    assert reason in str(caught.value)


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
names = st.sampled_from(
    "messages input preferred_output non_preferred_output prompt completion chosen rejected "
    "label meta".split()
)


@given(line=st.dictionaries(names, values | st.just(ASKED) | st.just(answer("So.")), max_size=5))
def test_any_line_is_read_or_refused(line: dict[str, Any]) -> None:
    try:
        row = parsed(line)
    except DataError as exc:
        assert str(exc).startswith("f.jsonl:1")
    else:
        assert row.answer.strip() and row.messages


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = [
        Row(PROMPT, "So.", "why", "so", "u", "out.jsonl:1", time=3.5),
        Row(PROMPT, "So.", "why", origin="out.jsonl:2", rejected="No."),
        Row(PROMPT, "é\u2028", "why", origin="out.jsonl:3", desirable=True),
        Row(PROMPT, "Because.", origin="out.jsonl:4", held=True),
    ]
    write_examples(tmp_path / "out.jsonl", rows)
    assert read_examples(tmp_path / "out.jsonl") == rows
    assert [row.kind for row in rows] == [Kind.SFT, Kind.PREFERENCE, Kind.KTO, Kind.SFT]
    first = tmp_path / "first.jsonl"
    write_examples(first, rows[:1])
    assert read_chat(first)[0].answer == "So."


def test_one_file_may_mix_formats(tmp_path: Path) -> None:
    lines = [{"prompt": "Why?", "completion": "So."}, {"messages": [*ASKED, *answer("So.")]}]
    path = tmp_path / "mixed.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert [row.origin for row in read_examples(path)] == ["mixed.jsonl:1", "mixed.jsonl:2"]
