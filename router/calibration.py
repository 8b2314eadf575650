"""Probabilities that mean what they say: temperature, threshold, and how far off they are."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

BINS = 15
TEMPERATURES = np.geomspace(0.2, 5.0, 161)


def softmax(logits: Matrix) -> Matrix:
    """Probabilities along the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def fitted_temperature(logits: Matrix, labels: Labels, weights: Matrix | None = None) -> float:
    """The temperature with the least log loss, to about 2 %; Guo et al., ICML 2017."""
    losses = [
        log_loss(softmax(logits / temperature), labels, weights) for temperature in TEMPERATURES
    ]
    return float(TEMPERATURES[int(np.argmin(losses))])


def log_loss(probabilities: Matrix, labels: Labels, weights: Matrix | None = None) -> float:
    """Mean negative logarithm of the right labels' probabilities."""
    chosen = np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, None))
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
