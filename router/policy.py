"""What is allowed: the final word on a classified query. Knows nothing of how the classifier
works."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec.structs import replace

from router.decision import GENERAL, Decision, Reason

# One for all labels, or each label's own.
Thresholds = float | Mapping[str, float]


def thresholds_by_label(thresholds: Thresholds, labels: Iterable[str]) -> dict[str, float]:
    """Each label's threshold; one that `thresholds` does not name is never held back."""
    if isinstance(thresholds, Mapping):
        return {label: float(thresholds.get(label, 0.0)) for label in labels}
    return dict.fromkeys(labels, float(thresholds))


def final_target(
    best: str, probability: float, threshold: float, allowed: Collection[str] | None
) -> tuple[str, Reason]:
    """Where the classifier's best label leads; `allowed` None means every label is served."""
    if probability < threshold:
        return GENERAL, Reason.BELOW_THRESHOLD
    if best != GENERAL and allowed is not None and best not in allowed:
        return GENERAL, Reason.NO_PACK
    return best, Reason.CLASSIFIER


def best_target(
    probabilities: Mapping[str, float],
    thresholds: Mapping[str, float],
    allowed: Collection[str] | None,
) -> tuple[str, str, Reason]:
    """The most probable label, where it leads, and why; one without a threshold is never held
    back."""
    best = max(probabilities, key=probabilities.__getitem__)
    return best, *final_target(best, probabilities[best], thresholds.get(best, 0.0), allowed)


def permitted(decision: Decision, allowed: Sequence[str]) -> Decision:
    """Where the caller may not go where the query leads: `general`, or else the best of those it
    may use."""
    if decision.target in allowed:
        return decision
    shares = decision.probabilities
    best = max(allowed, key=lambda target: (target == GENERAL, shares.get(target, 0.0)))
    return replace(decision, target=best, reason=Reason.NOT_ALLOWED)


def preferred(decision: Decision, burdens: Mapping[str, float]) -> Decision:
    """The target whose probability is highest after its burden, in probability, was taken off.

    What the router did not trust itself to decide stays with `general`.
    """
    shares = decision.probabilities
    if not shares or decision.reason is Reason.BELOW_THRESHOLD:
        return decision
    best = max(burdens, key=lambda t: (shares.get(t, 0.0) - burdens[t], t == decision.target))
    if best == decision.target:
        return decision
    return replace(decision, target=best, reason=Reason.COST)


def explored(decision: Decision, allowed: Sequence[str], rate: float, draw: float) -> Decision:
    """With probability `rate` one of `allowed`, to which the target belongs, each as likely; either
    way with the propensity of what is chosen. `draw` is uniform in [0, 1)."""
    if not rate or not decision.probabilities:
        return decision
    each = rate / len(allowed)
    target = allowed[min(int(draw / each), len(allowed) - 1)] if draw < rate else decision.target
    if target == decision.target:
        return replace(decision, propensity=1 - rate + each)
    return replace(decision, target=target, reason=Reason.EXPLORATION, propensity=each)
