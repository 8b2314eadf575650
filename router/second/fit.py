"""Fits the second stage on what the first says about examples it has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from router.calibration import fitted_threshold, quality
from router.second.blend import Blend, opinion
from router.second.blend_fit import fitted_blend
from router.second.encoder import SentenceEncoder
from router.second.evidence import Evidence, described, usual_similarities
from router.second.origins import Fold
from router.second.style import Style

Matrix = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

# Inverse regularisation of both classifiers. That of origins has many classes and is stopped early.
STRENGTH = 3.0
HEAD_TOLERANCE = 1e-3
ORIGIN_TOLERANCE = 1e-2
# A topic against an example: it stands for what no example shows.
TOPIC_WEIGHT = 2.0
# Held-out examples against held-out places when the gate is fitted: 1 gives 0.6 points more on new
# sources and 0.6 fewer on known ones.
KNOWN_WEIGHT = 2.0


@dataclass(frozen=True, slots=True)
class Taught:
    """What the second stage is fitted on; `topic_labels` is empty where a label has no topics."""

    texts: Sequence[str]
    labels: Numbers
    origins: Numbers
    vectors: Floats
    topic_vectors: Floats
    topic_labels: Numbers
    names: tuple[str, ...]
    general: int | None


@dataclass(frozen=True, slots=True)
class FittedSecond:
    """All that an artefact holds of the second stage."""

    encoder: SentenceEncoder
    style: Style
    evidence: Evidence
    blend: Blend
    threshold: float
    quality: Mapping[str, float]
    topic_counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Outside:
    """Opinions, signs and labels of rows that were held out, one after another."""

    opinions: Matrix
    signs: Matrix
    labels: Numbers

    def parts(self) -> tuple[Matrix, Matrix, Numbers]:
        return self.opinions, self.signs, self.labels


def fit_second(
    taught: Taught,
    encoder: SentenceEncoder,
    known: tuple[Sequence[Fold], Matrix],
    new: tuple[Sequence[Fold], Matrix],
) -> FittedSecond:
    """`known` are random folds of the examples, `new` folds that hold places back; with each,
    what the first stage says [rows, labels] without having seen the row."""
    style = Style.of(taught.texts)
    styles = style.matrix(taught.texts)
    examples = held_out_opinions(taught, *known, styles)
    places = held_out_opinions(taught, *new, styles)
    blend = fitted_blend(examples.parts(), places.parts(), taught.general, KNOWN_WEIGHT)
    probabilities = blend.probabilities(examples.opinions, examples.signs)
    threshold = fitted_threshold(probabilities, examples.labels, taught.general)
    # The blend has seen the labels of these rows, through a dozen numbers.
    found = quality(probabilities, examples.labels, threshold, taught.general)
    elsewhere = quality(
        blend.probabilities(places.opinions, places.signs), places.labels, threshold, taught.general
    )
    return FittedSecond(
        encoder=encoder,
        style=style,
        evidence=learned(taught, np.arange(len(taught.labels)), styles),
        blend=blend,
        threshold=threshold,
        quality={**found, **{f"{name}_elsewhere": value for name, value in elsewhere.items()}},
        topic_counts={
            name: int((taught.topic_labels == label).sum())
            for label, name in enumerate(taught.names)
        },
    )


def held_out_opinions(
    taught: Taught, folds: Sequence[Fold], first: Matrix, styles: Floats
) -> Outside:
    """`first` [rows, labels] must hold, too, what was said without having seen the row."""
    found = []
    for inside, outside in folds:
        evidence = learned(taught, inside, styles)
        found.append(
            evidence.opinions(opinion(first[outside]), taught.vectors[outside], styles[outside])
        )
    rows = np.concatenate([outside for _, outside in folds])
    return Outside(
        np.concatenate([opinions for opinions, _ in found], axis=1),
        np.concatenate([signs for _, signs in found]),
        taught.labels[rows],
    )


def learned(taught: Taught, rows: Numbers, styles: Floats) -> Evidence:
    """Evidence from the examples in `rows` alone."""
    vectors, labels, origins = taught.vectors[rows], taught.labels[rows], taught.origins[rows]
    weights = np.concatenate([np.ones(len(rows)), _topic_weights(taught, labels)])
    head, head_bias = _linear(
        np.concatenate([vectors, taught.topic_vectors]),
        np.concatenate([labels, taught.topic_labels]),
        np.arange(len(taught.names)),
        HEAD_TOLERANCE,
        weights,
    )
    names, first_rows = np.unique(origins, return_index=True)
    places, place_bias = _linear(
        described(vectors, styles[rows]), origins, names, ORIGIN_TOLERANCE, np.ones(len(rows))
    )
    complete = len(np.unique(taught.topic_labels)) == len(taught.names)
    return Evidence(
        examples=vectors,
        example_labels=labels,
        usual=usual_similarities(vectors),
        topics=taught.topic_vectors if complete else taught.topic_vectors[:0],
        topic_labels=taught.topic_labels if complete else taught.topic_labels[:0],
        head=head,
        head_bias=head_bias,
        origins=places,
        origin_bias=place_bias,
        origin_labels=labels[first_rows],
    )


def _topic_weights(taught: Taught, labels: Numbers) -> Matrix:
    """All topics of a label together count at most TOPIC_WEIGHT times its examples."""
    examples = np.bincount(labels, minlength=len(taught.names))
    topics = np.bincount(taught.topic_labels, minlength=len(taught.names))
    each = TOPIC_WEIGHT * np.minimum(1.0, examples / np.maximum(topics, 1))
    return np.asarray(each[taught.topic_labels])


def _linear(
    matrix: Floats, targets: Numbers, names: Numbers, tolerance: float, weights: Matrix
) -> tuple[Floats, Floats]:
    """Coefficients [columns, names] and biases of logistic regression."""
    model = LogisticRegression(C=STRENGTH, max_iter=300, tol=tolerance)
    model.fit(matrix, targets, sample_weight=weights)
    coefficients, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        coefficients, bias = np.concatenate([-coefficients, coefficients]) / 2, bias * [-0.5, 0.5]
    columns = np.zeros((matrix.shape[1], len(names)), dtype=np.float32)
    biases = np.full(len(names), -30.0, dtype=np.float32)
    places = np.searchsorted(names, model.classes_)
    columns[:, places], biases[places] = coefficients.T, bias
    return columns, biases
