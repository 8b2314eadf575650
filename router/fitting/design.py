"""The features as a matrix for fitting, and a fitted head folded back into rows for serving.

A text is three vectors side by side:
  words      known words and pairs by inverse document frequency, scaled to length one
  fragments  each word's fragments scaled to length one, times the word's rarity, summed, divided
             by the root of the sum of squared rarities
  pieces     the static embeddings of all pieces, summed, divided by the root of their number
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from router.classifier import LEXICAL_SQUARE, PIECES, RARITY_SQUARE, SHARES, LinearClassifier
from router.features import WORD, Vocabulary, fragments, pairs_of, tokens_of
from router.fitting.embeddings import PieceEmbeddings

Matrix = npt.NDArray[np.float64]

# A pair or fragment that only one text or word has tells labels apart by accident.
MIN_PAIR_TEXTS = 2
MIN_FRAGMENT_WORDS = 2


@dataclass(frozen=True, slots=True)
class Design:
    """A vocabulary with the rarities that weigh it.

    The first `seen` words come from the training texts; the others, if any, are the embedding
    model's whole words, which are known so that serving need not cut them up. `shapes` [words,
    fragments] and `cuts` [words, pieces] say what each word is made of.
    """

    vocabulary: Vocabulary
    embeddings: PieceEmbeddings
    seen: int
    word_rarity: Matrix
    pair_rarity: Matrix
    fragment_rarity: Matrix
    unseen_rarity: float
    shapes: sp.csr_array
    cuts: sp.csr_array

    @classmethod
    def of(
        cls, texts: Sequence[str], embeddings: PieceEmbeddings, *, whole_words: bool = True
    ) -> "Design":
        """The vocabulary of `texts`, in an order that depends on nothing else.

        Without `whole_words` the decisions are the same and slower; the design is made sooner.
        """
        found = [tokens_of(text) for text in texts]
        words = Counter(word for each in found for word in set(each))
        pairs = _common((set(pairs_of(each)) for each in found), MIN_PAIR_TEXTS)
        parts = _common((fragments(word) for word in words), MIN_FRAGMENT_WORDS)
        seen = sorted(words)
        whole = [p for p in embeddings.pieces if WORD.fullmatch(p) and p not in words]
        names = [*seen, *whole] if whole_words else seen
        vocabulary = Vocabulary(names, pairs, parts, embeddings.pieces)
        fragment_rarity = _rarity(parts.values(), len(words))
        unseen = float(_rarity([0], len(texts))[0])
        return cls(
            vocabulary,
            embeddings,
            seen=len(seen),
            word_rarity=np.concatenate(
                [
                    _rarity([words[word] for word in seen], len(texts)),
                    np.full(len(names) - len(seen), unseen),
                ]
            ),
            pair_rarity=_rarity(pairs.values(), len(texts)),
            fragment_rarity=fragment_rarity,
            unseen_rarity=unseen,
            shapes=_shapes(vocabulary, fragment_rarity),
            cuts=_indicators(
                [vocabulary.pieces_of(name) for name in names], len(embeddings.pieces)
            ),
        )

    @classmethod
    def of_fitted(
        cls, vocabulary: Vocabulary, embeddings: PieceEmbeddings, classifier: LinearClassifier
    ) -> "Design":
        """The design that a classifier was folded from."""
        rarity = classifier.fragment_rarity.astype(np.float64)
        squares = classifier.words.astype(np.float64)
        return cls(
            vocabulary,
            embeddings,
            seen=int(np.count_nonzero(squares[:, LEXICAL_SQUARE])),
            word_rarity=np.sqrt(squares[:, RARITY_SQUARE]),
            pair_rarity=np.sqrt(classifier.pairs[:, 0].astype(np.float64)),
            fragment_rarity=rarity,
            unseen_rarity=float(classifier.unseen_rarity[0]),
            shapes=_shapes(vocabulary, rarity),
            cuts=_indicators(
                [vocabulary.pieces_of(name) for name in vocabulary.words], len(embeddings.pieces)
            ),
        )

    def matrix(self, texts: Sequence[str]) -> sp.csr_array:
        """One row per text: words, pairs, fragments, embedding. Words not in the vocabulary
        are left out, so these must be texts the vocabulary was made of."""
        features = [self.vocabulary.features(text) for text in texts]
        words = _indicators([f.words for f in features], len(self.vocabulary.words))
        pairs = _indicators([f.pairs for f in features], len(self.vocabulary.pairs))
        lexical = sp.hstack(
            [words[:, : self.seen] * self.word_rarity[: self.seen], pairs * self.pair_rarity]
        ).tocsr()
        rarity = np.asarray(words @ self.word_rarity**2)
        shapes = (words * self.word_rarity).tocsr() @ self.shapes
        counts = np.asarray(words @ _row_sums(self.cuts))
        embedded = words @ (self.cuts @ self.embeddings.vectors)
        return sp.hstack(
            [
                _divided(lexical, _row_sums(lexical.power(2))),
                _divided(shapes, rarity),
                _divided(sp.csr_array(embedded), counts),
            ]
        ).tocsr()

    def folded(self, weights: Matrix, bias: Matrix) -> LinearClassifier:
        """The serving form of a head with `weights` [columns of matrix(), labels]."""
        vocabulary, seen = self.vocabulary, self.seen
        ends = np.cumsum([seen, len(vocabulary.pairs), len(vocabulary.fragments)])
        by_word, by_pair, by_fragment, by_dimension = np.split(weights, ends)
        by_piece = self.embeddings.vectors @ by_dimension
        squares = np.zeros((len(vocabulary.words), SHARES))
        squares[:seen, LEXICAL_SQUARE] = self.word_rarity[:seen] ** 2
        squares[:, RARITY_SQUARE] = self.word_rarity**2
        squares[:, PIECES] = _row_sums(self.cuts)
        alone = np.zeros((len(squares), len(bias)))
        alone[:seen] = self.word_rarity[:seen, None] * by_word
        shaped = self.word_rarity[:, None] * (self.shapes @ by_fragment)
        pair_squares = self.pair_rarity[:, None] ** 2
        return LinearClassifier(
            words=_single(np.hstack([squares, alone, shaped, self.cuts @ by_piece])),
            pairs=_single(np.hstack([pair_squares, self.pair_rarity[:, None] * by_pair])),
            fragment_rarity=_single(self.fragment_rarity),
            fragments=_single(by_fragment),
            pieces=_single(by_piece),
            unseen_rarity=_single(np.array([self.unseen_rarity])),
            bias=_single(bias),
        )


def _shapes(vocabulary: Vocabulary, rarity: Matrix) -> sp.csr_array:
    """Each word's fragments by rarity, scaled to length one."""
    rows = [vocabulary.fragments_of(word) for word in vocabulary.words]
    weighed = sp.csr_array(_indicators(rows, len(vocabulary.fragments)) * rarity)
    return _divided(weighed, _row_sums(weighed.power(2)))


def _common(sets: Iterable[Iterable[str]], least: int) -> dict[str, int]:
    """In how many of `sets` each member is, for members in at least `least`, sorted by name."""
    counts = Counter(member for each in sets for member in each)
    return {member: counts[member] for member in sorted(counts) if counts[member] >= least}


def _rarity(counts: Iterable[int], total: int) -> Matrix:
    """Smoothed inverse document frequency, at least one."""
    return np.log((1 + total) / (1 + np.fromiter(counts, dtype=np.float64))) + 1


def _indicators(rows: Sequence[Sequence[int]], columns: int) -> sp.csr_array:
    """A matrix with a one in each named column; named twice, a two."""
    starts = np.cumsum([0, *(len(row) for row in rows)])
    places = np.array([column for row in rows for column in row], dtype=np.int64)
    return sp.csr_array((np.ones(len(places)), places, starts), shape=(len(rows), columns))


def _divided(matrix: sp.csr_array, squares: Matrix) -> sp.csr_array:
    """Rows divided by the roots of `squares`; rows of zero squares stay as they are."""
    scale = np.where(squares > 0, squares, 1.0) ** -0.5
    return sp.csr_array(matrix * scale[:, None])


def _single(matrix: Matrix) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(matrix, dtype=np.float32)


def _row_sums(matrix: sp.csr_array) -> Matrix:
    return np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()
