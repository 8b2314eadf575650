"""Reads labelled queries and the documents of labels; knows nothing of what is done with them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from router.errors import ExampleError

STANDARD = "standard"
MAX_LABEL = 64


@dataclass(frozen=True, slots=True)
class Example:
    """A query and where it belongs.

    `slice` names the kind of query for reports, `source` the place it comes from, if known: a
    fit holds whole places back to learn how far it can be trusted elsewhere.
    """

    text: str
    label: str
    slice: str = STANDARD
    source: str = ""


def read_examples(file: Path) -> list[Example]:
    """`{"text", "label", "slice"?, "source"?}` lines; raises ExampleError with file and line."""
    examples = [
        example_from(row, place)
        for place, row in read_rows(file, 'one {"text", "label"} object a line')
    ]
    if not examples:
        raise ExampleError(f"{file} holds no examples")
    return examples


def write_examples(examples: Iterable[Example], file: Path) -> None:
    """Lines that `read_examples` reads."""
    with file.open("w", encoding="utf-8") as lines:
        for example in examples:
            lines.write(json.dumps(asdict(example), ensure_ascii=False) + "\n")


def example_from(row: Mapping[str, Any], place: str) -> Example:
    """A checked example; `place` names its origin in errors."""
    text, label = row.get("text"), row.get("label")
    if not isinstance(text, str):
        raise ExampleError(f"{place}: 'text' must be a string, not {type(text).__name__}")
    if not isinstance(label, str) or not label.strip() or not label.isprintable():
        raise ExampleError(f"{place}: 'label' must be the name of a target, not {label!r:.80}")
    if len(label) > MAX_LABEL:
        raise ExampleError(f"{place}: 'label' has {len(label)} characters, over {MAX_LABEL}")
    slice_ = row.get("slice") or STANDARD
    if not isinstance(slice_, str):
        raise ExampleError(f"{place}: 'slice' must be a string, not {type(slice_).__name__}")
    source = row.get("source") or ""
    if not isinstance(source, str):
        raise ExampleError(f"{place}: 'source' must be a string, not {type(source).__name__}")
    return Example(encodable(text), label, slice_, source)


def read_texts(file: Path) -> list[str]:
    """The texts of `{"text"}` lines; raises ExampleError with file and line."""
    rows = read_rows(file, 'one {"text"} object a line')
    return [example_from({**row, "label": STANDARD}, place).text for place, row in rows]


def read_documents(folder: Path) -> dict[str, list[str]]:
    """Texts of `folder`/LABEL/documents.jsonl by label, each title with its text."""
    if not folder.is_dir():
        raise ExampleError(f"{folder} is not a folder; it must hold LABEL/documents.jsonl")
    documents = {
        file.parent.name: [
            _document_text(row, place) for place, row in read_rows(file, "a document")
        ]
        for file in sorted(folder.glob("*/documents.jsonl"))
    }
    if not any(documents.values()):
        raise ExampleError(f"{folder} holds no LABEL/documents.jsonl with documents")
    return documents


def _document_text(row: Mapping[str, Any], place: str) -> str:
    title, text = row.get("title") or "", row.get("text")
    if not isinstance(text, str) or not isinstance(title, str):
        raise ExampleError(f"{place}: a document needs 'text' and 'title' as strings")
    return encodable(f"{title}\n{text}".strip())


def read_rows(file: Path, expected: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each object of a JSONL file with its place, for errors; `expected` says what to write."""
    try:
        lines: Iterable[bytes] = file.read_bytes().split(b"\n")
    except OSError as exc:
        raise ExampleError(f"{file} cannot be read: {exc.strerror}") from exc
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{file}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise ExampleError(f"{place}: not JSON ({exc}); write {expected}") from exc
        if not isinstance(row, dict):
            raise ExampleError(f"{place}: not an object; write {expected}")
        yield place, row


def encodable(text: str) -> str:
    """A lone surrogate is legal in JSON and in no encoding."""
    return text.encode("utf-8", "replace").decode("utf-8")
