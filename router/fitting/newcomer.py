"""A label added to a fitted router: one more column everywhere, and everything else as it was.

A class joins a trained network as one more weight vector in "Low-shot learning with imprinted
weights" (Qi, Brown & Lowe, CVPR 2018); here that vector is not the mean of the examples but what
logistic regression finds with the log-odds of the known labels as a fixed offset.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp

from router.classifier import SHARES, LinearClassifier
from router.features import Vocabulary, words_of
from router.fitting.design import Design
from router.fitting.embeddings import PieceEmbeddings
from router.second.evidence import Evidence, described, usual_similarities

Floats = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

# Inverse regularisation of the new column. It and the shares below were chosen with known labels as
# pretended newcomers (benchmarks/newcomers.py).
STRENGTH = 10.0
# Of the known examples so many may come to the new label, by one classifier: ten examples are too
# few to say how likely it is, the many that are not its own say how unlikely.
FIRST_SHARE = 0.01
SECOND_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Column:
    """Weights [features] and bias of one label."""

    weights: Matrix
    bias: float


def fitted_column(known: Any, new: Any, odds: Matrix, share: float) -> Column:
    """Logistic regression of new against known rows, all new ones as heavy as a mean known label.

    `odds` [known + new rows, labels] are the log-odds of the known labels. The bias is such that
    the new label is the likeliest for at most a `share` of the known rows.
    """
    join = sp.vstack if sp.issparse(known) else np.concatenate
    rows = join([known, new])
    signs = np.repeat([-1.0, 1.0], [known.shape[0], new.shape[0]])
    offsets = logsumexp(odds, axis=1)
    weights = np.where(signs > 0, known.shape[0] / odds.shape[1] / new.shape[0], 1.0)

    def loss(values: Matrix) -> tuple[float, Matrix]:
        margins = signs * (rows @ values[:-1] + values[-1] - offsets)
        slopes = -weights * signs * expit(-margins)
        slope = np.append(rows.T @ slopes + values[:-1] / STRENGTH, slopes.sum())
        size = values[:-1] @ values[:-1] / (2 * STRENGTH)
        return float(size - weights @ log_expit(margins)), slope

    found = minimize(loss, np.zeros(rows.shape[1] + 1), jac=True, method="L-BFGS-B").x[:-1]
    margins = known @ found - odds[: known.shape[0]].max(axis=1)
    return Column(found, -float(np.quantile(margins, 1 - share, method="higher")))


def extended_first(
    vocabulary: Vocabulary,
    classifier: LinearClassifier,
    embeddings: PieceEmbeddings,
    known: Sequence[str],
    new: Sequence[str],
) -> tuple[Vocabulary, LinearClassifier]:
    """The first stage with one more label, the last; words that only `new` holds are made known,
    with the weights they had as unknown ones."""
    wider, rows = _with_words(vocabulary, classifier, new)
    design = Design.of_fitted(wider, embeddings, replace(classifier, words=rows))
    texts = [*known, *new]
    odds = np.array([classifier.logits(vocabulary.features(text), vocabulary) for text in texts])
    matrix = design.matrix(texts)
    column = fitted_column(matrix[: len(known)], matrix[len(known) :], odds, FIRST_SHARE)
    alone = design.folded(column.weights[:, None], np.array([column.bias]))
    return wider, _beside(replace(classifier, words=rows), alone)


def extended_evidence(
    evidence: Evidence, styles: Floats, new: Floats, new_styles: Floats
) -> Evidence:
    """The second stage with one more label, the last, of which `new` are the vectors; `styles` are
    those of the examples it knows."""
    label = evidence.labels
    examples = np.concatenate([evidence.examples, new])
    head = _column(evidence.examples, new, evidence.head, evidence.head_bias)
    origin = _column(
        described(evidence.examples, styles),
        described(new, new_styles),
        evidence.origins,
        evidence.origin_bias,
    )
    topics = new if len(evidence.topics) else new[:0]
    return Evidence(
        examples=examples,
        example_labels=_longer(evidence.example_labels, label, len(new)),
        usual=np.concatenate([evidence.usual, usual_similarities(examples)[-len(new) :]]),
        topics=np.concatenate([evidence.topics, topics]),
        topic_labels=_longer(evidence.topic_labels, label, len(topics)),
        head=_wider(evidence.head, head.weights),
        head_bias=_longer(evidence.head_bias, head.bias),
        origins=_wider(evidence.origins, origin.weights),
        origin_bias=_longer(evidence.origin_bias, origin.bias),
        origin_labels=_longer(evidence.origin_labels, label),
    )


def _column(known: Floats, new: Floats, weights: Floats, bias: Floats) -> Column:
    odds = (np.concatenate([known, new]) @ weights + bias).astype(np.float64)
    return fitted_column(known, new, odds, SECOND_SHARE)


def _with_words(
    vocabulary: Vocabulary, classifier: LinearClassifier, texts: Sequence[str]
) -> tuple[Vocabulary, Floats]:
    found = {word for text in texts for word in words_of(text)} - vocabulary.words.keys()
    new = sorted(found)
    names = (vocabulary.pairs, vocabulary.fragments, vocabulary.pieces)
    rows = [classifier.words, *(classifier.unseen([word], vocabulary)[None] for word in new)]
    return Vocabulary([*vocabulary.words, *new], *names), np.concatenate(rows)


def _beside(many: LinearClassifier, one: LinearClassifier) -> LinearClassifier:
    """A classifier of several labels with that of one more behind."""
    parts = np.split(many.words[:, SHARES:], 3, axis=1)
    others = np.split(one.words[:, SHARES:], 3, axis=1)
    shares = [each for pair in zip(parts, others, strict=True) for each in pair]
    return replace(
        many,
        words=np.concatenate([many.words[:, :SHARES], *shares], axis=1),
        pairs=np.concatenate([many.pairs, one.pairs[:, 1:]], axis=1),
        fragments=np.concatenate([many.fragments, one.fragments], axis=1),
        pieces=np.concatenate([many.pieces, one.pieces], axis=1),
        bias=np.concatenate([many.bias, one.bias]),
    )


def _wider(matrix: Floats, column: Matrix) -> Floats:
    return np.concatenate([matrix, column[:, None].astype(np.float32)], axis=1)


def _longer(values: npt.NDArray[Any], value: float, times: int = 1) -> npt.NDArray[Any]:
    return np.append(values, np.full(times, value, dtype=values.dtype))
