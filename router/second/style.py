"""How a text is written rather than what it says: its commonest words, marks, case and length."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from router.errors import ArtefactError
from router.features import shortened

Floats = npt.NDArray[np.float32]

TOKEN = re.compile(r"[A-Za-z]+|[^\sA-Za-z]")
TOKENS = 400
FORMS = 6


class Style:
    """The TOKENS most common words and marks of some texts, case and all."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = {token: column for column, token in enumerate(tokens)}

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Style":
        counts = Counter(token for text in texts for token in set(_tokens(text)))
        return cls(sorted(counts, key=lambda token: (-counts[token], token))[:TOKENS])

    @property
    def columns(self) -> int:
        return len(self.tokens) + FORMS

    def matrix(self, texts: Sequence[str]) -> Floats:
        """One row per text: known tokens scaled to length two, then the form."""
        rows = np.zeros((len(texts), self.columns), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            found = _tokens(text)
            columns = [c for token in set(found) if (c := self.tokens.get(token)) is not None]
            row[columns] = 2 / math.sqrt(len(columns)) if columns else 0
            row[-FORMS:] = _form(text.strip(), len(found))
        return rows

    @classmethod
    def load(cls, file: Path) -> "Style":
        try:
            return cls(json.loads(file.read_bytes()))
        except (OSError, ValueError, TypeError) as exc:
            raise ArtefactError(f"{file} is not a router's list of tokens: {exc!r}") from exc

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(list(self.tokens), ensure_ascii=False), encoding="utf-8")


def _tokens(text: str) -> list[str]:
    return TOKEN.findall(shortened(text))


def _form(text: str, tokens: int) -> list[float]:
    return [
        float(text[:1].isupper()),
        float(text == text.lower()),
        float(text == text.upper()),
        float(text.endswith("?")),
        float(text.endswith(".")),
        math.log1p(tokens) / 2,
    ]
