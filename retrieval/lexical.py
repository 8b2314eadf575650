"""BM25 in numpy: what static embeddings cannot see, rare and exact words; scores in [0, 1)."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from retrieval.errors import IndexingError

# Best of a small grid on five domains (benchmarks/RESULTS.md); 1.2/0.75 is 1 point worse.
K1 = 1.2
B = 0.5

WORD = re.compile(r"[^\W_]+")
# Function words and the words questions are made of: in a small corpus of statements "how" and
# "can" are rare, and would outweigh what the question is about.
STOP_WORDS = frozenset(
    (
        "a about above after again all also am an and any are as at be because been before being "
        "between both but by can could did do does doing don down during each for from further "
        "had has have having he her here hers him his how i if in into is it its just me more "
        "most my myself no nor not now of off on once only or other our out over own please s "
        "same she should so some such t tell than that the their them then there these they this "
        "those through to too under until up very was we were what when where which while who "
        "whom why will with would you your yours"
    ).split()
)


def terms(text: str) -> list[str]:
    """Lower-case words without the commonest ones and without plural endings."""
    return [_singular(word) for word in WORD.findall(text.lower()) if word not in STOP_WORDS]


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


class LexicalIndex:
    """For each term the passages that hold it and what it adds to their score.

    `starts[t]:starts[t + 1]` are the places of term t in `passages` and `weights`.
    """

    def __init__(
        self,
        vocabulary: dict[str, int],
        starts: npt.NDArray[np.int64],
        passages: npt.NDArray[np.int32],
        weights: npt.NDArray[np.float32],
        rarity: npt.NDArray[np.float32],
        size: int,
    ) -> None:
        self._vocabulary = vocabulary
        self._starts = starts
        self._passages = passages
        self._weights = weights
        self._rarity = rarity
        self._size = size

    @classmethod
    def build(cls, texts: Sequence[str]) -> "LexicalIndex":
        vocabulary: dict[str, int] = {}
        postings: list[list[tuple[int, int]]] = []
        lengths = np.zeros(len(texts), dtype=np.float32)
        for place, text in enumerate(texts):
            counts = Counter(terms(text))
            lengths[place] = counts.total()
            for term, count in counts.items():
                row = vocabulary.setdefault(term, len(vocabulary))
                if row == len(postings):
                    postings.append([])
                postings[row].append((place, count))
        found = np.array([len(posting) for posting in postings], dtype=np.int64)
        flat = np.array([pair for posting in postings for pair in posting], dtype=np.int32)
        passages, counts_ = flat.reshape(-1, 2).T
        rarity = _rarity(found, len(texts))
        relative = lengths / max(float(lengths.mean()), 1.0)
        saturation = counts_ / (counts_ + K1 * (1 - B + B * relative[passages]))
        weights = (np.repeat(rarity, found) * saturation).astype(np.float32)
        starts = np.concatenate([[0], np.cumsum(found)]).astype(np.int64)
        return cls(vocabulary, starts, passages, weights, rarity, len(texts))

    def scores(self, query: str) -> npt.NDArray[np.float32]:
        """For every passage the share of the query's rarity it covers, in [0, 1).

        Terms in no passage count as the rarest, so a query about something else stays low.
        """
        result = np.zeros(self._size, dtype=np.float32)
        unseen = float(_rarity(np.zeros(1, dtype=np.int64), self._size)[0])
        possible = 0.0
        for term in set(terms(query)):
            row = self._vocabulary.get(term)
            if row is None:
                possible += unseen
                continue
            possible += float(self._rarity[row])
            place = slice(self._starts[row], self._starts[row + 1])
            result[self._passages[place]] += self._weights[place]
        return result / np.float32(possible) if possible else result

    def save(self, folder: Path) -> None:
        tensors: dict[str, npt.NDArray[Any]] = {
            "starts": self._starts,
            "passages": np.ascontiguousarray(self._passages),
            "weights": self._weights,
            "rarity": self._rarity,
            "size": np.array([self._size], dtype=np.int64),
        }
        save_file(tensors, folder / "lexical.safetensors")
        text = json.dumps(list(self._vocabulary), ensure_ascii=False)
        (folder / "vocabulary.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "LexicalIndex":
        try:
            terms_ = json.loads((folder / "vocabulary.json").read_bytes())
            tensors = load_file(folder / "lexical.safetensors")
            size = int(tensors.pop("size")[0])
            return cls({term: row for row, term in enumerate(terms_)}, size=size, **tensors)
        except (OSError, ValueError, SafetensorError, KeyError, TypeError) as exc:
            raise IndexingError(f"{folder}: the lexical part cannot be read: {exc!r}") from exc


def _rarity(found: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.float32]:
    """Lucene's inverse document frequency, which is never negative."""
    return np.asarray(np.log(1 + (size - found + 0.5) / (found + 0.5)), dtype=np.float32)
