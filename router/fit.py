"""Labelled queries to a calibrated router. The only module, with `design`, that needs scikit-learn.

Everything that is chosen (temperature, threshold, the reported quality) is chosen on out-of-fold
predictions, which are made by the same classifier object that serves.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from router.calibration import (
    expected_calibration_error,
    fitted_temperature,
    fitted_threshold,
    log_loss,
    reliability,
    softmax,
)
from router.classifier import LinearClassifier
from router.decision import GENERAL
from router.design import Design
from router.embeddings import PieceEmbeddings
from router.errors import FitError
from router.examples import Example
from router.features import Vocabulary

MIN_EXAMPLES = 4
DOCUMENT_CHARACTERS = 600

Progress = Callable[[int, int], None]
Labels = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FitArguments:
    """How a router is fitted.

    `strength` is the inverse of the regularisation, `document_weight` what a document counts
    against a query's 1. A `threshold` of None is chosen by `calibration.fitted_threshold`.
    """

    strength: float = 10.0
    document_weight: float = 0.1
    folds: int = 5
    seed: int = 0
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class FittedRouter:
    """All that an artefact holds, before it is written."""

    vocabulary: Vocabulary
    classifier: LinearClassifier
    labels: tuple[str, ...]
    temperature: float
    threshold: float
    out_of_fold: Mapping[str, float]
    label_counts: Mapping[str, int]
    document_counts: Mapping[str, int]
    data_digest: str
    encoder_digest: str
    arguments: FitArguments
    libraries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Data:
    """Queries and weakly labelled documents, labels as numbers."""

    texts: list[str]
    labels: Labels
    documents: list[str]
    document_labels: Labels
    names: tuple[str, ...]


def fit(
    examples: Sequence[Example],
    embeddings: PieceEmbeddings,
    *,
    documents: Mapping[str, Sequence[str]] | None = None,
    arguments: FitArguments | None = None,
    on_progress: Progress = lambda done, total: None,
) -> FittedRouter:
    """Fit and calibrate; the same input gives the same weights to the bit.

    `documents` are texts by label that teach a label's words; those of labels without examples
    are left out. `on_progress` is called with fits done and fits in all.
    """
    arguments = arguments or FitArguments()
    data = _prepared(examples, documents or {})
    logits = _out_of_fold(data, embeddings, arguments, on_progress)
    everything = np.arange(len(data.texts))
    design, classifier = _fitted(data, everything, embeddings, arguments, whole_words=True)
    on_progress(arguments.folds + 1, arguments.folds + 1)
    temperature = fitted_temperature(logits, data.labels)
    probabilities = softmax(logits / temperature)
    general = data.names.index(GENERAL) if GENERAL in data.names else None
    threshold = arguments.threshold
    if threshold is None:
        threshold = fitted_threshold(probabilities, data.labels, general)
    return FittedRouter(
        vocabulary=design.vocabulary,
        classifier=classifier,
        labels=data.names,
        temperature=temperature,
        threshold=threshold,
        out_of_fold=_quality(probabilities, data.labels, threshold, general),
        label_counts=_counted(data.names, data.labels),
        document_counts=_counted(data.names, data.document_labels),
        data_digest=_digest(data),
        encoder_digest=embeddings.digest,
        arguments=arguments,
        libraries={"numpy": np.__version__, "scikit-learn": sklearn.__version__},
    )


def _prepared(examples: Sequence[Example], documents: Mapping[str, Sequence[str]]) -> _Data:
    """Distinct, sorted queries: their order in a file must not change the folds."""
    pairs = sorted({(e.text.strip(), e.label) for e in examples if e.text.strip()})
    counts = Counter(label for _, label in pairs)
    if len(counts) < 2:
        raise FitError(f"a router needs at least two labels, the data has {sorted(counts)}")
    for label, count in sorted(counts.items()):
        if count < MIN_EXAMPLES:
            raise FitError(
                f"label {label!r} has {count} distinct examples, a fit needs {MIN_EXAMPLES}; "
                "write more or remove it"
            )
    names = tuple(sorted(counts))
    known = [(text, label) for label in names for text in sorted(documents.get(label, ()))]
    return _Data(
        texts=[text for text, _ in pairs],
        labels=np.array([names.index(label) for _, label in pairs]),
        documents=[text[:DOCUMENT_CHARACTERS] for text, _ in known],
        document_labels=np.array([names.index(label) for _, label in known], dtype=np.int64),
        names=names,
    )


def _out_of_fold(
    data: _Data, embeddings: PieceEmbeddings, arguments: FitArguments, on_progress: Progress
) -> Matrix:
    """Log-odds [queries, labels], each from a classifier that has not seen the query."""
    folds = min(arguments.folds, int(np.bincount(data.labels).min()))
    logits = np.zeros((len(data.texts), len(data.names)))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=arguments.seed)
    for done, (inside, outside) in enumerate(splitter.split(data.texts, data.labels)):
        on_progress(done, arguments.folds + 1)
        design, classifier = _fitted(data, inside, embeddings, arguments, whole_words=False)
        for row in outside:
            features = design.vocabulary.features(data.texts[row])
            logits[row] = classifier.logits(features, design.vocabulary)
    on_progress(arguments.folds, arguments.folds + 1)
    return logits


def _fitted(
    data: _Data,
    rows: Labels,
    embeddings: PieceEmbeddings,
    arguments: FitArguments,
    *,
    whole_words: bool,
) -> tuple[Design, LinearClassifier]:
    texts = [data.texts[row] for row in rows] + data.documents
    labels = np.concatenate([data.labels[rows], data.document_labels])
    weights = np.ones(len(texts))
    weights[len(rows) :] = arguments.document_weight
    design = Design.of(texts, embeddings, whole_words=whole_words)
    model = LogisticRegression(C=arguments.strength, max_iter=1_000, tol=1e-3)
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


def _quality(
    probabilities: Matrix, labels: Labels, threshold: float, general: int | None
) -> dict[str, float]:
    best, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    final = best if general is None else np.where(confidence < threshold, general, best)
    return {
        "accuracy": float((final == labels).mean()),
        "accuracy_before_threshold": float((best == labels).mean()),
        "coverage": float((confidence >= threshold).mean()),
        "ece": expected_calibration_error(reliability(confidence, best == labels)),
        "log_loss": log_loss(probabilities, labels),
    }


def _counted(names: Sequence[str], labels: Labels) -> dict[str, int]:
    return dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))


def _digest(data: _Data) -> str:
    """Names the data: equal for equal queries and documents, whatever their order was."""
    digest = hashlib.sha256()
    for row in _named_rows(data):
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def _named_rows(data: _Data) -> Iterator[tuple[str, str, str]]:
    for text, label in zip(data.texts, data.labels, strict=True):
        yield "query", text, data.names[label]
    for text, label in zip(data.documents, data.document_labels, strict=True):
        yield "document", text, data.names[label]
