"""What a serving router makes of labelled queries of today, and whether its temperatures still fit.

The probabilities that thresholds are chosen on are the ones it will serve with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from router.calibration import helpful_temperature, tempered
from router.decision import Decision, Impression
from router.errors import GoalError
from router.examples import Example
from router.quality.goals import Judged, between
from router.reference import Reference, reference_of
from router.second.stage import Cascade

# Fewer lines neither fit a temperature nor stand for what is usual.
MIN_LINES = 200
BLOCK = 64


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """`first` and `second` are what the stages' temperatures are to be multiplied by; `reference`
    is None where there are too few lines for one."""

    judged: Judged
    first: float
    second: float
    sure: float
    reference: Reference | None

    def manifest(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """The lines of a manifest that change."""
        changes: dict[str, Any] = {
            "temperature": before["temperature"] * self.first,
            "sure": self.sure,
        }
        if before.get("second"):
            temperature = before["second"].get("temperature", 1.0) * self.second
            changes["second"] = {**before["second"], "temperature": temperature}
        if self.reference is not None:
            changes["reference"] = self.reference
        return changes


def recalibrated(
    cascade: Cascade,
    examples: Sequence[Example],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Recalibrated:
    """Ask both stages; lines without words are left out, as no threshold concerns them."""
    asked = [(each, cascade.first.decide(each.text)) for each in examples]
    asked = [(each, decision) for each, decision in asked if decision.probabilities]
    if not asked:
        raise GoalError("no line has words to decide by; give labelled queries")
    names = cascade.first.labels
    places = {name: place for place, name in enumerate(names)}
    labels = np.array([places.get(each.label, -1) for each, _ in asked])
    said = np.array([[decision.probabilities[name] for name in names] for _, decision in asked])
    first = _temperature(said, labels)
    probabilities = said if first == 1.0 else tempered(said, first)
    confidence, sure = probabilities.max(axis=1), cascade.first.sure
    if first != 1.0 and sure:  # as many as before go on to the second stage
        sure = between(np.sort(confidence)[::-1], int((said.max(axis=1) >= sure).sum()))
    unsure = np.flatnonzero(confidence < sure)
    impressions = _impressions([decision for _, decision in asked], confidence, sure)
    second = 1.0
    if cascade.second is not None:
        for start in range(0, len(unsure), BLOCK):
            rows = unsure[start : start + BLOCK]
            texts = [asked[row][0].text for row in rows]
            known = np.log(np.maximum(probabilities[rows], 1e-12))
            probabilities[rows] = cascade.second.probabilities(texts, known)
            on_progress(start + len(rows), len(unsure))
        second = _temperature(probabilities[unsure], labels[unsure])
        if second != 1.0:
            probabilities[unsure] = tempered(probabilities[unsure], second)
    return Recalibrated(
        Judged(names, probabilities, labels),
        first,
        second,
        sure,
        reference_of(impressions, names) if len(asked) >= MIN_LINES else None,
    )


def _temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    known = labels >= 0
    if known.sum() < MIN_LINES:
        return 1.0
    return helpful_temperature(probabilities[known], labels[known])


def _impressions(
    decisions: Sequence[Decision], confidence: np.ndarray, sure: float
) -> list[Impression]:
    """As they are after the temperature was changed."""
    return [
        replace(decision.impression, probability=probability, unsure=probability < sure)
        for decision, probability in zip(decisions, confidence.tolist(), strict=True)
        if decision.impression is not None
    ]
