"""Documents to passages that fit a prompt: cut at headings, paragraphs, sentences, then words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from retrieval.documents import Document
from retrieval.passages import Passage

# Each separator stays with the text before it, so that joining the pieces gives the text again.
HEADING = re.compile(r"(?m)^(?=#{1,6} )")
PARAGRAPH = re.compile(r"(?<=\n\n)")
SENTENCE = re.compile(r"(?<=[.!?]\s)|(?<=[。！？\n])")
WORD = re.compile(r"(?<=\s)")
SEPARATORS = (HEADING, PARAGRAPH, SENTENCE, WORD)


@dataclass(frozen=True, slots=True)
class Chunking:
    """How long a passage may be, and how much of its end the next one repeats, in characters.

    Four passages of 1,200 characters take about 1,200 tokens of a prompt.
    """

    size: int = 1_200
    overlap: int = 150

    def __post_init__(self) -> None:
        if self.size < 100 or not 0 <= self.overlap <= self.size // 2:
            raise ValueError(
                f"size {self.size} must be at least 100 and overlap {self.overlap} "
                "between 0 and half of it"
            )


def passages_of(document: Document, chunking: Chunking) -> list[Passage]:
    """The document's passages in reading order, with ids `{doc_id}#{n}` from 0."""
    return [
        Passage(
            id=f"{document.id}#{number}",
            doc_id=document.id,
            title=document.title,
            text=text,
            source=document.source,
            url=document.url,
        )
        for number, text in enumerate(split(document.text, chunking))
    ]


def split(text: str, chunking: Chunking) -> list[str]:
    """Pieces of at most `size` characters; together they hold every word of the text."""
    if len(text.strip()) <= chunking.size:
        return [text.strip()] if text.strip() else []
    pieces: list[str] = []
    current = ""
    for unit in _units(text, chunking.size - chunking.overlap):
        section = HEADING.match(unit) is not None
        full = len(current) + len(unit) > chunking.size
        if current and (full or (section and len(current) >= chunking.size // 2)):
            pieces.append(current.strip())
            current = "" if section else _tail(current, chunking.overlap)
        current += unit
    pieces.append(current.strip())
    return [piece for piece in pieces if piece]


def _units(text: str, limit: int, level: int = 0) -> Iterator[str]:
    """Pieces of at most `limit` characters, cut at the coarsest separators that achieve it."""
    if len(text) <= limit:
        yield text
    elif level == len(SEPARATORS):
        yield from (text[start : start + limit] for start in range(0, len(text), limit))
    else:
        for part in SEPARATORS[level].split(text):
            yield from _units(part, limit, level + 1)


def _tail(text: str, length: int) -> str:
    """The last whole sentences of `text`, or else words, in at most `length` characters."""
    tail = text[len(text) - length :] if length else ""
    for separator in (SENTENCE, WORD):
        cut = separator.search(tail)
        if cut and tail[cut.end() :].strip():
            return tail[cut.end() :]
    return ""
