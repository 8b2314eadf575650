"""Text to features, the same code for fitting and serving: words, pairs of words, parts of words.

Plain Python and dictionaries: for a query of 15 words this takes microseconds, where a tokeniser
library's call overhead alone takes tens.
"""

import json
import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import cast

from msgspec import Struct

from router.errors import ArtefactError

# A question stands at the beginning or the end of a long text; what is between is its material.
HEAD_CHARACTERS = 800
TAIL_CHARACTERS = 250
WORD = re.compile(r"[^\W_]+")
MAX_WORD = 40
# Unknown words cost ten times what known ones do; past this many the text says little anyway.
MAX_UNSEEN = 24
CONTINUATION = "##"
# Begins the names of forms, which stand among the words; no word holds it.
FORM = "="
FRAGMENT_LENGTHS = (3, 4, 5)
ENDS = {"?": "question", ".": "stop"}


class Features(Struct, frozen=True):
    """What a text holds, each thing once: rows of known words and pairs, and unknown words."""

    words: list[int]
    unseen: list[str]
    pairs: list[int]


class Vocabulary:
    """What a router knows, and the way text and words are cut into it.

    Words and pairs of neighbouring words are found whole. A word is also its fragments (3 to 5
    letters, of which an unknown word shares some with known ones) and its pieces (the tokens
    of a static embedding model).
    """

    def __init__(
        self,
        words: Iterable[str],
        pairs: Iterable[str],
        fragments: Iterable[str],
        pieces: Iterable[str],
    ) -> None:
        self.words = _rows(words)
        self.pairs = _rows(pairs)
        self.fragments = _rows(fragments)
        self.pieces = _rows(pieces)
        self._count = len(self.words)
        # Two numbers are looked up faster than a text that must be put together first.
        self._pairs_by_rows = {
            self.words[first] * self._count + self.words[second]: row
            for pair, row in self.pairs.items()
            for first, second in (pair.split(),)
            if first in self.words and second in self.words
        }

    @classmethod
    def load(cls, file: Path) -> "Vocabulary":
        try:
            return cls(**json.loads(file.read_bytes()))
        except (OSError, ValueError, TypeError) as exc:
            raise ArtefactError(f"{file} is not a router's vocabulary: {exc!r}") from exc

    def save(self, file: Path) -> None:
        content = {
            name: list(getattr(self, name)) for name in ("words", "pairs", "fragments", "pieces")
        }
        file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    def features(self, text: str) -> Features:
        found = words_of(text)
        rows = list(map(self.words.get, found))
        if rows:
            rows += [row for form in forms_of(text) if (row := self.words.get(form)) is not None]
        known, count = self._pairs_by_rows.get, self._count
        pairs = {
            pair
            for first, second in pairwise(rows)
            if first is not None
            and second is not None
            and (pair := known(first * count + second)) is not None
        }
        words = dict.fromkeys(rows)
        unseen: list[str] = []
        if None in words:
            del words[None]
            unknown = (word for word, row in zip(found, rows, strict=False) if row is None)
            unseen = list(dict.fromkeys(unknown))[:MAX_UNSEEN]
        return Features(cast(list[int], list(words)), unseen, sorted(pairs))

    def fragments_of(self, word: str) -> list[int]:
        """Rows of the known fragments of a word."""
        known = self.fragments.get
        return [row for part in fragments(word) if (row := known(part)) is not None]

    def pieces_of(self, word: str) -> list[int]:
        """WordPiece: the longest known piece again and again; none if a rest has no piece."""
        if word.startswith(FORM):
            return []
        rows: list[int] = []
        start, prefix = 0, ""
        while start < len(word):
            for end in range(len(word), start, -1):
                row = self.pieces.get(prefix + word[start:end])
                if row is not None:
                    rows.append(row)
                    start, prefix = end, CONTINUATION
                    break
            else:
                return []
        return rows


def shortened(text: str) -> str:
    """The head and the tail of a long text, encodable; other text as it is."""
    if len(text) > HEAD_CHARACTERS + TAIL_CHARACTERS:
        return f"{text[:HEAD_CHARACTERS]} {text[-TAIL_CHARACTERS:]}"
    return text


def words_of(text: str) -> list[str]:
    """Lower-case words of the head and the tail of `text`, without accents."""
    text = shortened(text)
    if not text.isascii():
        decomposed = unicodedata.normalize("NFD", text)
        text = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    return [word[:MAX_WORD] for word in WORD.findall(text.lower())]


def forms_of(text: str) -> tuple[str, str]:
    """The case of a text and its last mark: how people write depends on where they write."""
    text = shortened(text).strip()
    if text.islower():
        case = "lower"
    elif text.isupper():
        case = "upper"
    else:
        case = "title" if text[:1].isupper() else "mixed"
    last = text[-1:]
    end = ENDS.get(last) or ("open" if last.isalnum() else "other")
    return FORM + case, FORM + end


def tokens_of(text: str) -> list[str]:
    """Words and, behind them, forms; nothing for a text without words."""
    found = words_of(text)
    return [*found, *forms_of(text)] if found else []


def pairs_of(found: list[str]) -> list[str]:
    """Neighbouring words, in order."""
    return [f"{first} {second}" for first, second in zip(found, found[1:], strict=False)]


def fragments(word: str) -> list[str]:
    """Distinct pieces of 3 to 5 letters in a fixed order; < and > stand for the word's ends."""
    if word.startswith(FORM):
        return []
    bounded = f"<{word}>"
    return list(
        dict.fromkeys(
            bounded[start : start + length]
            for length in FRAGMENT_LENGTHS
            for start in range(len(bounded) - length + 1)
        )
    )


def _rows(names: Iterable[str]) -> dict[str, int]:
    return {name: row for row, name in enumerate(names)}
