import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import ExampleError
from router.examples import Example, read_documents, read_examples


def test_lines_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "hi", "label": "general"}\n\n{"text":"x","label":"y","slice":"s"}\n')
    assert read_examples(file) == [Example("hi", "general"), Example("x", "y", "s")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a", "label": "b"}\n{', "a.jsonl:2: not JSON"),
        (b"[]", "a.jsonl:1: not an object"),
        (b'{"label": "b"}', "a.jsonl:1: 'text' must be a string, not NoneType"),
        (b'{"text": "a"}', "a.jsonl:1: 'label' must be the name of a target, not None"),
        (b'{"text": "a", "label": "b\\n"}', "a.jsonl:1: 'label' must be the name"),
        (b'{"text": "a", "label": "b", "slice": 3}', "a.jsonl:1: 'slice' must be a string"),
        (b'{"text": "a", "label": "b", "source": 3}', "a.jsonl:1: 'source' must be a string"),
        (b'{"text": "a", "label": "' + b"b" * 65 + b'"}', "has 65 characters, over 64"),
        (b"\xff\xfe", "a.jsonl:1: not JSON"),
        (b"", "holds no examples"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(ExampleError) as caught:
        read_examples(tmp_path / "a.jsonl")
    assert message in str(caught.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExampleError, match="cannot be read"):
        read_examples(tmp_path / "absent.jsonl")


def test_documents_are_read_by_label(tmp_path: Path) -> None:
    (tmp_path / "legal").mkdir()
    (tmp_path / "legal" / "documents.jsonl").write_text('{"id":"1","title":"T","text":"body"}')
    assert read_documents(tmp_path) == {"legal": ["T\nbody"]}
    (tmp_path / "legal" / "documents.jsonl").write_text('{"id": "1"}')
    with pytest.raises(ExampleError, match="documents.jsonl:1: a document needs"):
        read_documents(tmp_path)


def test_a_folder_without_documents_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExampleError, match="holds no LABEL/documents.jsonl"):
        read_documents(tmp_path)
    with pytest.raises(ExampleError, match="is not a folder"):
        read_documents(tmp_path / "absent")


VALUES = st.none() | st.integers() | st.text(max_size=80) | st.lists(st.text(), max_size=2)


@given(row=st.dictionaries(st.sampled_from(["text", "label", "slice", "source"]), VALUES))
def test_any_line_gives_an_example_or_an_example_error(
    tmp_path_factory: pytest.TempPathFactory, row: dict[str, object]
) -> None:
    file = tmp_path_factory.mktemp("row") / "a.jsonl"
    file.write_text(json.dumps(row))
    try:
        (example,) = read_examples(file)
    except ExampleError as exc:
        assert "a.jsonl:1" in str(exc)
        return
    example.text.encode()
