"""Texts that were seen, and whether a new one is a near-copy of one of them; grows as it goes."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from training.curation.similarity import NEAR_DUPLICATE, trigrams


class Seen:
    """Finds near-copies by the overlap of word trigrams (Jaccard), the measure of curation, one
    text at a time: only texts that share a trigram are compared."""

    def __init__(self, texts: Iterable[str] = (), threshold: float = NEAR_DUPLICATE) -> None:
        self._threshold = threshold
        self._sizes: list[int] = []
        self._holding: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Know this text from now on."""
        shingles = trigrams(text)
        for shingle in shingles:
            self._holding[shingle].append(len(self._sizes))
        self._sizes.append(len(shingles))

    def __contains__(self, text: str) -> bool:
        """Whether one of the texts is nearly this one."""
        shingles = trigrams(text)
        shared = Counter(index for shingle in shingles for index in self._holding.get(shingle, ()))
        return any(
            count >= self._threshold * (len(shingles) + self._sizes[index] - count)
            for index, count in shared.items()
        )
