"""Labelled queries to a calibrated router.

Everything that is chosen (temperature, threshold, the reported quality) is chosen on out-of-fold
predictions, which are made by the same classifier object that serves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from router.calibration import fitted_temperature, fitted_threshold, quality, softmax
from router.classifier import LinearClassifier
from router.decision import Impression
from router.examples import Example
from router.features import Vocabulary
from router.fitting.design import Design
from router.fitting.embeddings import PieceEmbeddings
from router.fitting.lessons import FitArguments, Lessons, lessons_from
from router.reference import Reference, reference_of, unknown_shares
from router.second.encoder import SentenceEncoder
from router.second.fit import FittedSecond, Taught, fit_second
from router.second.origins import Fold, held_out, origins_of

# Below this a second stage would be calibrated on chance.
MIN_SECOND = 40
# One held-out example against one from a held-out source, for the first stage's temperature.
KNOWN_WEIGHT = 4.0
# What encoding all texts counts in the progress, in fits.
ENCODING_STEPS = 20

Progress = Callable[[int, int], None]
Labels = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FittedRouter:
    """All that an artefact holds, before it is written."""

    vocabulary: Vocabulary
    classifier: LinearClassifier
    labels: tuple[str, ...]
    temperature: float
    threshold: float
    sure: float
    reference: Reference
    out_of_fold: Mapping[str, float]
    label_counts: Mapping[str, int]
    document_counts: Mapping[str, int]
    data_digest: str
    encoder_digest: str
    arguments: FitArguments
    libraries: Mapping[str, str]
    examples: Sequence[Example] = ()
    second: FittedSecond | None = None


def fit(
    examples: Sequence[Example],
    embeddings: PieceEmbeddings,
    *,
    documents: Mapping[str, Sequence[str]] | None = None,
    encoder: SentenceEncoder | None = None,
    arguments: FitArguments | None = None,
    on_progress: Progress = lambda done, total: None,
) -> FittedRouter:
    """Fit and calibrate; the same input gives the same weights to the bit.

    `documents` are texts by label that teach a label's words; those of labels without examples
    are left out. With an `encoder` and MIN_SECOND examples of each label there is a second stage.
    `on_progress` is called with steps done and steps in all.
    """
    # Matrices are small: on more threads each step waits for the slowest, and on a busy machine a
    # fit takes eight times as long.
    with threadpool_limits(1):
        return _fit(
            examples, embeddings, documents or {}, encoder, arguments or FitArguments(), on_progress
        )


def _fit(
    examples: Sequence[Example],
    embeddings: PieceEmbeddings,
    documents: Mapping[str, Sequence[str]],
    encoder: SentenceEncoder | None,
    arguments: FitArguments,
    on_progress: Progress,
) -> FittedRouter:
    data = lessons_from(examples, documents, arguments)
    if data.fewest() < MIN_SECOND:
        encoder = None
    steps = _Steps(arguments, on_progress, second=encoder is not None)
    known = _random_folds(data, arguments)
    logits = _out_of_fold(data, known, embeddings, arguments, steps)
    second, temperature = None, fitted_temperature(logits, data.labels)
    if encoder is not None:
        taught = _taught(data, encoder, arguments, steps)
        new = list(held_out(taught.origins, taught.labels, arguments.source_folds))
        elsewhere = _out_of_fold(data, new, embeddings, arguments, steps)
        temperature = fitted_temperature(
            np.concatenate([logits, elsewhere]),
            np.concatenate([data.labels, data.labels]),
            np.repeat([KNOWN_WEIGHT, 1.0], len(data.labels)),
        )
        second = fit_second(
            taught, encoder, (known, logits / temperature), (new, elsewhere / temperature)
        )
    design, classifier = _fitted(
        data, np.arange(len(data.texts)), embeddings, arguments, whole_words=True
    )
    steps.finish()
    probabilities = softmax(logits / temperature)
    threshold = arguments.threshold
    if threshold is None:
        threshold = fitted_threshold(probabilities, data.labels, data.general)
    sure = _sure(probabilities, arguments) if second else 0.0
    return FittedRouter(
        vocabulary=design.vocabulary,
        classifier=classifier,
        labels=data.names,
        temperature=temperature,
        threshold=threshold,
        sure=sure,
        reference=_reference(data, embeddings, probabilities, sure),
        out_of_fold=quality(probabilities, data.labels, threshold, data.general),
        label_counts=data.counted(data.labels),
        document_counts=data.counted(data.documents.labels),
        data_digest=data.digest(),
        encoder_digest=embeddings.digest,
        arguments=arguments,
        libraries={"numpy": np.__version__, "scikit-learn": sklearn.__version__},
        examples=data.examples(),
        second=second,
    )


class _Steps:
    """Counts what is done of a fit."""

    def __init__(self, arguments: FitArguments, report: Progress, *, second: bool) -> None:
        self._report = report
        self._done = 0
        more = ENCODING_STEPS + arguments.source_folds if second else 0
        self._total = arguments.folds + 1 + more
        report(0, self._total)

    def add(self, steps: int = 1) -> None:
        self._done += steps
        self._report(self._done, self._total)

    def encoded(self, done: int, total: int) -> None:
        self._report(self._done + done * ENCODING_STEPS // total, self._total)

    def finish(self) -> None:
        self._report(self._total, self._total)


def _taught(
    data: Lessons, encoder: SentenceEncoder, arguments: FitArguments, steps: _Steps
) -> Taught:
    texts = [*data.texts, *data.topics.texts]
    vectors = encoder.encode(texts, steps.encoded)
    steps.add(ENCODING_STEPS)
    own = vectors[: len(data.texts)]
    return Taught(
        texts=data.texts,
        labels=data.labels,
        origins=origins_of(data.sources, data.labels, own, arguments.seed),
        vectors=own,
        topic_vectors=vectors[len(data.texts) :],
        topic_labels=data.topics.labels,
        names=data.names,
        general=data.general,
    )


def _reference(
    data: Lessons, embeddings: PieceEmbeddings, probabilities: Matrix, sure: float
) -> Reference:
    """What the first stage makes of queries like the examples, none of which it has seen."""
    aside = [*data.documents.texts, *data.topics.texts]
    unknown = unknown_shares(data.texts, aside, frozenset(embeddings.pieces))
    best, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    impressions = (
        Impression(data.names[label], sureness, len(text), share, sureness < sure)
        for text, label, sureness, share in zip(
            data.texts, best.tolist(), confidence.tolist(), unknown, strict=True
        )
    )
    return reference_of(impressions, data.names)


def _sure(probabilities: Matrix, arguments: FitArguments) -> float:
    """The confidence that `second_share` of the held-out examples do not reach."""
    return float(np.quantile(probabilities.max(axis=1), arguments.second_share))


def _random_folds(data: Lessons, arguments: FitArguments) -> list[Fold]:
    folds = min(arguments.folds, data.fewest())
    splitter = StratifiedKFold(folds, shuffle=True, random_state=arguments.seed)
    return list(splitter.split(data.texts, data.labels))


def _out_of_fold(
    data: Lessons,
    folds: Sequence[Fold],
    embeddings: PieceEmbeddings,
    arguments: FitArguments,
    steps: _Steps,
) -> Matrix:
    """Log-odds [queries, labels], each from a classifier that has not seen the query."""
    logits = np.zeros((len(data.texts), len(data.names)))
    for inside, outside in folds:
        design, classifier = _fitted(data, inside, embeddings, arguments, whole_words=False)
        for row in outside:
            features = design.vocabulary.features(data.texts[row])
            logits[row] = classifier.logits(features, design.vocabulary)
        steps.add()
    return logits


def _fitted(
    data: Lessons,
    rows: Labels,
    embeddings: PieceEmbeddings,
    arguments: FitArguments,
    *,
    whole_words: bool,
) -> tuple[Design, LinearClassifier]:
    aside = (data.documents, data.topics)
    texts = [data.texts[row] for row in rows] + [text for each in aside for text in each.texts]
    labels = np.concatenate([data.labels[rows], *(each.labels for each in aside)])
    weights = np.concatenate([np.ones(len(rows)), *(each.weights for each in aside)])
    design = Design.of(texts, embeddings, whole_words=whole_words)
    model = LogisticRegression(C=arguments.strength, max_iter=1_000, tol=1e-4)
    model.fit(design.matrix(texts), labels, sample_weight=weights)
    coefficients, bias = _per_label(model)
    return design, design.folded(coefficients.T, bias)


def _per_label(model: LogisticRegression) -> tuple[Matrix, Matrix]:
    """One row of coefficients per label; with two labels scikit-learn keeps only one."""
    if len(model.classes_) > 2:
        return model.coef_, model.intercept_
    return (
        np.concatenate([-model.coef_, model.coef_]) / 2,
        np.concatenate([-model.intercept_, model.intercept_]) / 2,
    )
