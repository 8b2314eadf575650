"""The linear classifier at serving time: weights multiplied out into one row per word, in numpy.

A text is described by three vectors (see `router.fitting.design`): its words and pairs of words,
the fragments of its words, and the static embeddings of its pieces. The second and third are sums
over words, so a known word's share of the log-odds is one row that was computed when fitting.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from router.errors import ArtefactError
from router.features import Features, Vocabulary

Floats = npt.NDArray[np.float32]

# Columns of a word's row before its three shares of the log-odds.
LEXICAL_SQUARE, RARITY_SQUARE, PIECES = 0, 1, 2
SHARES = 3


@dataclass(frozen=True)
class LinearClassifier:
    """Log-odds of each label.

    `words` [words, 3 + 3 labels] holds per word: the square of its weight in the first vector,
    the square of its rarity, its number of pieces, and its shares of the log-odds by itself, by
    its fragments and by its pieces. `pairs` [pairs, 1 + labels] holds the square and the share.
    The rest serves words that are not known.
    """

    words: Floats
    pairs: Floats
    fragment_rarity: Floats
    fragments: Floats
    pieces: Floats
    unseen_rarity: Floats
    bias: Floats

    def logits(self, features: Features, vocabulary: Vocabulary) -> list[float]:
        """One value per label. Rows are added up by numpy, the few sums that come of it by hand:
        an operation of numpy on ten numbers takes as long as a hundred of Python's."""
        count = len(self.bias)
        behind = len(self.words)
        rows = features.words + [behind + pair for pair in features.pairs]
        sums = np.add.reduce(self._rows.take(rows, 0), 0)
        if features.unseen:
            sums += self.unseen(features.unseen, vocabulary)
        square, rarity, pieces, *shares = sums.tolist()
        first, second, third = _inverse_root(square), _inverse_root(rarity), _inverse_root(pieces)
        return [
            bias + first * a + second * b + third * c
            for bias, a, b, c in zip(
                self._biases,
                shares[:count],
                shares[count : 2 * count],
                shares[2 * count :],
                strict=True,
            )
        ]

    def shares(self, features: Features, vocabulary: Vocabulary) -> npt.NDArray[np.float64]:
        """What each word, pair and unknown word, in this order, adds to each label's log-odds;
        with the bias they add up to `logits`."""
        rows = features.words + [len(self.words) + pair for pair in features.pairs]
        unseen = [self.unseen([word], vocabulary)[None] for word in features.unseen]
        table = np.concatenate([self._rows[rows], *unseen]).astype(np.float64)
        scales = [_inverse_root(square) for square in table[:, :SHARES].sum(axis=0).tolist()]
        shares = table[:, SHARES:].reshape(len(table), SHARES, len(self.bias))
        return np.asarray(np.einsum("s,nsl->nl", scales, shares))

    @cached_property
    def _rows(self) -> Floats:
        """Words and, behind them, pairs in one table: a pair has nothing but its first share."""
        count = len(self.bias)
        pairs = np.zeros((len(self.pairs), SHARES + 3 * count), dtype=np.float32)
        pairs[:, LEXICAL_SQUARE] = self.pairs[:, 0]
        pairs[:, SHARES : SHARES + count] = self.pairs[:, 1:]
        return np.concatenate((self.words, pairs))

    @cached_property
    def _biases(self) -> list[float]:
        return [float(value) for value in self.bias]

    def unseen(self, words: list[str], vocabulary: Vocabulary) -> Floats:
        """What unknown words add up to, by their fragments and pieces: the sum of such rows as
        `words` holds, without a share by themselves."""
        count = len(self.bias)
        total = np.zeros(SHARES + 3 * count, dtype=np.float32)
        rarity = float(self.unseen_rarity[0])
        total[RARITY_SQUARE] = len(words) * rarity * rarity
        pieces = [row for word in words for row in vocabulary.pieces_of(word)]
        if pieces:
            total[PIECES] = len(pieces)
            total[SHARES + 2 * count :] = self.pieces[pieces].sum(axis=0)
        cut = [rows for word in words if (rows := vocabulary.fragments_of(word))]
        if cut:
            rows = [row for each in cut for row in each]
            sizes = [len(each) for each in cut]
            weights = self.fragment_rarity[rows]
            squares = np.add.reduceat(weights * weights, np.cumsum([0, *sizes[:-1]]))
            weights *= np.repeat(rarity * squares**-0.5, sizes)
            total[SHARES + count : SHARES + 2 * count] = weights @ self.fragments[rows]
        return total

    @classmethod
    def load(cls, file: Path) -> "LinearClassifier":
        try:
            tensors = load_file(file)
            return cls(**{field.name: tensors[field.name] for field in fields(cls)})
        except (OSError, SafetensorError, KeyError) as exc:
            raise ArtefactError(f"{file} does not hold a router's weights: {exc!r}") from exc

    def save(self, file: Path) -> None:
        # safetensors writes memory as it lies; only C order is read back as it was.
        tensors = {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}
        save_file(tensors, file)


def _inverse_root(square: float) -> float:
    """What a sum is divided by its length with; nothing has no length and adds nothing."""
    return float(square**-0.5) if square > 0 else 0.0
