"""Files and folders to documents: Markdown, plain text and JSON lines; knows nothing of indexes.

Whatever cannot be read stops the reading with a DocumentError that names the place and the fix:
an index that silently lacks half of its documents is worse than none.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import DocumentError

MARKDOWN = frozenset({".md", ".markdown"})
TEXT = frozenset({".txt"})
LINES = frozenset({".jsonl"})
SUFFIXES = MARKDOWN | TEXT | LINES

MAX_BYTES = 16 * 1024 * 1024
MAX_ID = 300


@dataclass(frozen=True, slots=True)
class Document:
    """One text to be found; `id` is unique in its domain and safe to print."""

    id: str
    title: str
    text: str
    source: str | None = None
    url: str | None = None


def read_documents(path: Path) -> list[Document]:
    """All documents of a file, or of a folder and the folders in it, in a stable order.

    Raises DocumentError for the first thing that cannot be used.
    """
    if not path.exists():
        raise DocumentError(f"{path} does not exist")
    seen: dict[str, str] = {}
    documents: list[Document] = []
    for place, document in _read_path(path):
        if document.id in seen:
            raise DocumentError(
                f"{place}: the id {document.id!r} is already used by {seen[document.id]}; "
                "give each document its own id"
            )
        seen[document.id] = place
        documents.append(document)
    if not documents:
        raise DocumentError(
            f"{_shown(path)} holds no documents; it needs {', '.join(sorted(SUFFIXES))} files"
        )
    return documents


def _read_path(path: Path) -> Iterator[tuple[str, Document]]:
    if path.is_dir():
        for file in _files(path):
            yield from _read_file(file, path)
    elif path.suffix.lower() in SUFFIXES:
        yield from _read_file(path, path.parent)
    else:
        raise DocumentError(
            f"{_shown(path)} is not a file that can be read; use one of "
            f"{', '.join(sorted(SUFFIXES))}, or a folder of them"
        )


def _files(folder: Path) -> Iterator[Path]:
    """Readable files below `folder`, sorted; hidden ones and other kinds are passed over."""
    inside = folder.resolve()
    for current, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names) + folders:
            file = Path(current, name)
            if file.is_symlink() and not file.resolve().is_relative_to(inside):
                raise DocumentError(
                    f"{_shown(file)} is a link out of {_shown(folder)}; "
                    "copy what it points to, or ingest that folder by itself"
                )
        for name in sorted(names):
            file = Path(current, name)
            if not name.startswith(".") and file.suffix.lower() in SUFFIXES:
                yield file


def _read_file(file: Path, folder: Path) -> Iterator[tuple[str, Document]]:
    if not file.is_file():
        raise DocumentError(f"{_shown(file)} is not a regular file; remove it or its broken link")
    if file.suffix.lower() in LINES:
        yield from _read_lines(file)
        return
    content = _decoded(file, _bounded(file))
    relative = file.relative_to(folder)
    yield _shown(file), _text_document(file, relative, content)


def _text_document(file: Path, relative: Path, content: str) -> Document:
    identity = _checked_id(relative.with_suffix("").as_posix(), _shown(file), "rename the file")
    title = relative.stem.replace("-", " ").replace("_", " ")
    facts: dict[str, str] = {}
    if file.suffix.lower() in MARKDOWN:
        facts, content = _front_matter(content)
        heading, content = _first_heading(content)
        title = facts.get("title") or heading or title
    if not content.strip():
        raise DocumentError(f"{_shown(file)} has no text; write some or remove the file")
    source = facts.get("source") or relative.as_posix()
    return Document(identity, title, content.strip(), source, facts.get("url") or None)


def _front_matter(content: str) -> tuple[dict[str, str], str]:
    """`key: value` lines between two `---` lines at the top, and what follows them."""
    lines = content.splitlines()
    if not lines or lines[0].strip() != "---":
        return {}, content
    for end, line in enumerate(lines[1:], 1):
        if line.strip() == "---":
            pairs = (entry.partition(":") for entry in lines[1:end])
            facts = {key.strip().lower(): value.strip().strip("\"'") for key, _, value in pairs}
            return facts, "\n".join(lines[end + 1 :])
    return {}, content


def _first_heading(content: str) -> tuple[str, str]:
    """The heading that opens the text, if one does, and the text without it."""
    stripped = content.lstrip()
    first, _, rest = stripped.partition("\n")
    if first.startswith("#") and first.lstrip("#").startswith(" "):
        return first.strip("# \t\r"), rest
    return "", content


def _read_lines(file: Path) -> Iterator[tuple[str, Document]]:
    with file.open("rb") as lines:
        number = 0
        while raw := lines.readline(MAX_BYTES + 1):
            number += 1
            place = f"{_shown(file)}:{number}"
            if len(raw) > MAX_BYTES:
                raise DocumentError(f"{place}: the line is over {MAX_BYTES} bytes; split it")
            if raw.strip():
                yield place, _line_document(place, raw)


def _line_document(place: str, raw: bytes) -> Document:
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise DocumentError(
            f"{place}: not a line of JSON ({exc}); write one object a line"
        ) from exc
    if not isinstance(row, dict):
        raise DocumentError(f'{place}: expected an object like {{"id", "title", "text"}}')
    text = _field(row, "text", place, required=True)
    identity = _checked_id(_field(row, "id", place, required=True), place, "choose another id")
    title = " ".join(_field(row, "title", place).split())
    source, url = _field(row, "source", place), _field(row, "url", place)
    return Document(identity, title, text.strip(), source or None, url or None)


def _field(row: dict[str, Any], name: str, place: str, *, required: bool = False) -> str:
    value = row.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise DocumentError(f"{place}: {name!r} must be a string, not {type(value).__name__}")
    if required and not value.strip():
        raise DocumentError(f"{place}: {name!r} is empty; fill it or remove the line")
    # A lone surrogate is legal in JSON and in no encoding.
    return value.encode("utf-8", "replace").decode("utf-8")


def _checked_id(identity: str, place: str, fix: str) -> str:
    """Ids travel in HTTP headers and logs: printable, and of bounded length."""
    if not identity.isprintable() or len(identity) > MAX_ID:
        raise DocumentError(
            f"{place}: {identity[:80]!r} cannot be an id, which has at most {MAX_ID} printable "
            f"characters; {fix}"
        )
    return identity


def _bounded(file: Path) -> bytes:
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise DocumentError(
            f"{_shown(file)} has {size} bytes, more than the {MAX_BYTES} of one document; split it"
        )
    return file.read_bytes()


def _decoded(file: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise DocumentError(
            f"{_shown(file)} is not UTF-8 text (byte {exc.start}); convert it or remove it"
        ) from exc
    if "\0" in text:
        raise DocumentError(f"{_shown(file)} holds NUL bytes, so it is not text; remove it")
    return text


def _shown(path: Path) -> str:
    """A path as one printable piece, whatever its name holds."""
    name = str(path)
    return name if name.isprintable() else ascii(name)
