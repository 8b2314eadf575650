import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.documents import Document, read_documents
from retrieval.errors import DocumentError


def test_a_folder_is_read_with_its_folders_in_a_stable_order(tmp_path: Path) -> None:
    (tmp_path / "care").mkdir()
    (tmp_path / "care" / "pump.md").write_text("# Pump\n\nBleed it first.\n")
    (tmp_path / "boiler-scale.txt").write_text("Descale twice a year.")
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    (tmp_path / ".hidden.md").write_text("not read")
    (tmp_path / "more.jsonl").write_text('{"id": "q1", "title": "T", "text": "x", "url": "u"}\n')
    assert read_documents(tmp_path) == [
        Document("boiler-scale", "boiler scale", "Descale twice a year.", "boiler-scale.txt"),
        Document("q1", "T", "x", None, "u"),
        Document("care/pump", "Pump", "Bleed it first.", "care/pump.md"),
    ]


def test_front_matter_names_title_source_and_url(tmp_path: Path) -> None:
    file = tmp_path / "a.markdown"
    file.write_text('---\ntitle: "The Title"\nsource: manual\nurl: https://x\n---\n# Other\ntext')
    assert read_documents(file) == [Document("a", "The Title", "text", "manual", "https://x")]


def test_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbf# Head\r\n\r\nBody\r\n")
    (document,) = read_documents(tmp_path)
    assert (document.title, document.text) == ("Head", "Body")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"\xff\xfe\x00", "not UTF-8 text (byte 0)"),
        ("a.txt", b"a\0b", "NUL bytes"),
        ("a.md", b"# Only a heading\n", "no text"),
        ("a.jsonl", b'{"id": "1", "text": "x"}\n{"id": ', "a.jsonl:2: not a line of JSON"),
        ("a.jsonl", b"[1]", "a.jsonl:1: expected an object"),
        ("a.jsonl", b'{"id": 7, "text": "x"}', "a.jsonl:1: 'id' must be a string, not int"),
        ("a.jsonl", b'{"id": "a"}', "a.jsonl:1: 'text' must be a string, not NoneType"),
        ("a.jsonl", b'{"id": "a", "text": " "}', "a.jsonl:1: 'text' is empty"),
        ("a.jsonl", b'{"id": "a\\n", "text": "x"}', "a.jsonl:1: 'a\\n' cannot be an id"),
        ("a.jsonl", b'{"id":"a","text":"x"}\n{"id":"a","text":"y"}', "already used by"),
        ("a.jsonl", b"9" * 5000, "a.jsonl:1: not a line of JSON"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl:1: not a line of JSON"),
        ("a.pdf", b"%PDF", "holds no documents"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DocumentError) as caught:
        read_documents(tmp_path)
    assert message in str(caught.value)


def test_an_absent_path_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="does not exist"):
        read_documents(tmp_path / "absent")
    with pytest.raises(DocumentError, match="holds no documents"):
        read_documents(tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(DocumentError, match="link out of"):
        read_documents(folder)


def test_a_linked_folder_is_refused_and_a_broken_link_named(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "away").symlink_to("/etc")
    with pytest.raises(DocumentError, match="link out of"):
        read_documents(folder)
    (folder / "away").unlink()
    (folder / "a.txt").symlink_to(folder / "gone.txt")
    with pytest.raises(DocumentError, match="not a regular file"):
        read_documents(folder)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(1 << 34)
    with pytest.raises(DocumentError, match="split it"):
        read_documents(tmp_path)


def test_a_hostile_name_is_shown_escaped(tmp_path: Path) -> None:
    (tmp_path / "a\nb.txt").write_text("x")
    with pytest.raises(DocumentError, match="rename the file") as caught:
        read_documents(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.txt", "w") as file:
        file.write("x")
    with pytest.raises(DocumentError, match="rename the file") as caught:
        read_documents(tmp_path)
    str(caught.value).encode()


@given(content=st.binary(max_size=300), suffix=st.sampled_from([".md", ".txt", ".jsonl"]))
def test_any_bytes_give_documents_or_a_document_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    file = tmp_path_factory.mktemp("any") / f"a{suffix}"
    file.write_bytes(content)
    try:
        documents = read_documents(file)
    except DocumentError:
        return
    assert all(document.text.strip() and document.id.isprintable() for document in documents)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(row=st.dictionaries(st.sampled_from(["id", "title", "text", "source", "url"]), JSON))
def test_any_json_line_gives_a_document_or_a_document_error(
    tmp_path_factory: pytest.TempPathFactory, row: dict[str, object]
) -> None:
    file = tmp_path_factory.mktemp("row") / "a.jsonl"
    file.write_text(json.dumps(row))
    try:
        (document,) = read_documents(file)
    except DocumentError as exc:
        assert "a.jsonl" in str(exc)
        return
    document.text.encode()
