"""Near-duplicates: texts whose sets of word trigrams overlap, found exactly by sparse products.

Quadratic in the worst case and quick in practice: 10,000 short texts take seconds.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

# The contamination measure of many evaluation suites; rows above it are copies with small edits.
NEAR_DUPLICATE = 0.8
_BLOCK = 512
_WORD = re.compile(r"\w+")


def trigrams(text: str) -> frozenset[tuple[str, ...]]:
    """The set of word trigrams, case-folded; a shorter text is one shingle of all its words."""
    words = _WORD.findall(text.casefold())
    if len(words) < 3:
        return frozenset([tuple(words)])
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def similar_pairs(
    left: Sequence[str], right: Sequence[str], threshold: float = NEAR_DUPLICATE
) -> Iterator[tuple[int, int]]:
    """Index pairs (left, right) whose trigram sets overlap by a Jaccard of at least `threshold`."""
    columns: dict[tuple[str, ...], int] = {}
    a, b = _incidence(left, columns), _incidence(right, columns)
    a.resize((len(left), len(columns)))
    sizes_a, sizes_b = _sizes(a), _sizes(b)
    transposed = b.T.tocsr()
    for start in range(0, len(left), _BLOCK):
        shared = (a[start : start + _BLOCK] @ transposed).tocoo()
        rows = shared.row + start
        union = sizes_a[rows] + sizes_b[shared.col] - shared.data
        close = shared.data >= threshold * union
        yield from zip(rows[close].tolist(), shared.col[close].tolist(), strict=True)


def clusters(texts: Sequence[str], threshold: float = NEAR_DUPLICATE) -> list[int]:
    """For each text the index of its cluster's first; a cluster is a chain of near-duplicates."""
    parents = list(range(len(texts)))
    for left, right in similar_pairs(texts, texts, threshold):
        join(parents, left, right)
    return [root(parents, index) for index in range(len(texts))]


def root(parents: list[int], index: int) -> int:
    """The representative of an index in a union-find forest."""
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def join(parents: list[int], left: int, right: int) -> None:
    """Make two indices members of one set; the smaller root represents it."""
    low, high = sorted((root(parents, left), root(parents, right)))
    parents[high] = low


def _incidence(texts: Sequence[str], columns: dict[tuple[str, ...], int]) -> csr_matrix:
    pointers, indices = [0], []
    for text in texts:
        indices += [columns.setdefault(shingle, len(columns)) for shingle in sorted(trigrams(text))]
        pointers.append(len(indices))
    ones = np.ones(len(indices), dtype=np.int32)
    return csr_matrix((ones, indices, pointers), shape=(len(texts), max(len(columns), 1)))


def _sizes(matrix: csr_matrix) -> NDArray[np.int64]:
    return np.asarray(matrix.sum(axis=1), dtype=np.int64).ravel()
