"""Probabilities that mean what they say: temperature, threshold, and how far off they are."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

BINS = 15
FOLDS = 5
# The least probability whose logarithm is taken.
LEAST = 1e-12
# Of a risk-coverage curve, what a picture needs.
POINTS = 50
TEMPERATURES = np.geomspace(0.2, 5.0, 161)


def softmax(logits: Matrix) -> Matrix:
    """Probabilities along the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def tempered(probabilities: Matrix, temperature: float) -> Matrix:
    """What they would be had their logits been divided by `temperature`."""
    return softmax(np.log(np.maximum(probabilities, LEAST)) / temperature)


def helpful_temperature(probabilities: Matrix, labels: Labels) -> float:
    """One to temper them with, or 1 unless, fitted on four fifths, it lowers the log loss on the
    rest, and by more than a standard error of the difference."""
    logits, rows = np.log(np.maximum(probabilities, LEAST)), np.arange(len(labels))
    gains = np.zeros(len(labels))
    for fold in range(FOLDS):
        outside = rows % FOLDS == fold
        temperature = fitted_temperature(logits[~outside], labels[~outside])
        for sign, divisor in ((1.0, temperature), (-1.0, 1.0)):
            said = softmax(logits[outside] / divisor)[np.arange(outside.sum()), labels[outside]]
            gains[outside] += sign * np.log(np.maximum(said, LEAST))
    if gains.mean() <= gains.std() / len(gains) ** 0.5:
        return 1.0
    return fitted_temperature(logits, labels)


def fitted_temperature(logits: Matrix, labels: Labels, weights: Matrix | None = None) -> float:
    """The temperature with the least log loss, to about 2 %; Guo et al., ICML 2017."""
    losses = [
        log_loss(softmax(logits / temperature), labels, weights) for temperature in TEMPERATURES
    ]
    return float(TEMPERATURES[int(np.argmin(losses))])


def log_loss(probabilities: Matrix, labels: Labels, weights: Matrix | None = None) -> float:
    """Mean negative logarithm of the right labels' probabilities."""
    chosen = np.log(np.clip(probabilities[np.arange(len(labels)), labels], LEAST, None))
    return -float(np.average(chosen, weights=weights))


def fitted_threshold(probabilities: Matrix, labels: Labels, general: int | None) -> float:
    """The probability below which `general` answers, so that most final targets are right.

    At least 1 / labels, which never abstains. Of equally good thresholds the lowest wins, so a
    specialist is not passed over for nothing. Without a general label nothing can be gained.
    """
    lowest = 1.0 / len(probabilities[0])
    if general is None:
        return lowest
    best, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    candidates = np.unique(np.concatenate([[lowest], np.arange(lowest, 0.95, 0.01)]))
    accuracies = [
        float((np.where(confidence < candidate, general, best) == labels).mean())
        for candidate in candidates
    ]
    return float(candidates[int(np.argmax(accuracies))])


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers whose confidence lies in [low, high): how sure they were and how often right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def reliability(confidence: Matrix, correct: npt.NDArray[np.bool_]) -> list[ReliabilityBin]:
    """BINS equal-width bins over [0, 1]; empty ones are left out."""
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        ReliabilityBin(
            low=place / BINS,
            high=(place + 1) / BINS,
            n=int(inside.sum()),
            confidence=float(confidence[inside].mean()),
            accuracy=float(correct[inside].mean()),
        )
        for place in range(BINS)
        if (inside := places == place).any()
    ]


def expected_calibration_error(bins: list[ReliabilityBin]) -> float:
    """Mean distance between confidence and accuracy, weighted by the size of the bins."""
    total = sum(bin_.n for bin_ in bins)
    return sum(bin_.n * abs(bin_.confidence - bin_.accuracy) for bin_ in bins) / max(total, 1)


def area_under_risk_coverage(confidence: Matrix, correct: npt.NDArray[np.bool_]) -> float:
    """Mean error rate over all coverages, the surest answers first; lower is better."""
    order = np.argsort(-confidence, kind="stable")
    errors = np.cumsum(~correct[order])
    return float((errors / np.arange(1, len(order) + 1)).mean()) if len(order) else 0.0


def risk_coverage(
    confidence: Matrix, correct: npt.NDArray[np.bool_], points: int = POINTS
) -> list[tuple[float, float]]:
    """At most `points` pairs of a coverage and the error rate of the answers that are that sure."""
    order = np.argsort(-confidence, kind="stable")
    kept = np.unique(np.linspace(0, len(order), points + 1).round().astype(int)[1:])
    kept = kept[kept > 0]
    risks = np.cumsum(~correct[order])[kept - 1] / kept
    return list(zip((kept / len(order)).tolist(), risks.tolist(), strict=True))


def quality(
    probabilities: Matrix, labels: Labels, threshold: float, general: int | None
) -> dict[str, float]:
    """What a fit reports of text it has not seen, before and after the threshold."""
    best, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    final = best if general is None else np.where(confidence < threshold, general, best)
    return {
        "accuracy": float((final == labels).mean()),
        "accuracy_before_threshold": float((best == labels).mean()),
        "coverage": float((confidence >= threshold).mean()),
        "ece": expected_calibration_error(reliability(confidence, best == labels)),
        "log_loss": log_loss(probabilities, labels),
    }
