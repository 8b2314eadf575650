"""How good a router is on labelled queries, asked through the same decide() as live traffic."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from router.calibration import (
    ReliabilityBin,
    area_under_risk_coverage,
    expected_calibration_error,
    reliability,
    risk_coverage,
)
from router.decision import GENERAL, Decision, Reason
from router.errors import FitError
from router.examples import Example

# Where the accuracy of the surest answers is reported, and draws for an interval of the whole.
COVERAGE = 0.85
DRAWS = 1_000


class Decider(Protocol):
    """A first stage alone, or a cascade."""

    @property
    def threshold(self) -> float: ...

    def decide(self, text: str) -> Decision: ...


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Precision, recall and their harmonic mean for one label; `n` is how often it is right."""

    precision: float
    recall: float
    f1: float
    n: int


@dataclass(frozen=True, slots=True)
class RouterReport:
    """What an evaluation found.

    `accuracy`, `macro_f1`, `per_label`, `slices` and `confusion` judge the final target, after
    the threshold. `ece` (15 equal-width bins) and `aurc` judge the classifier's best label and
    its probability. `coverage` is the share of queries at or above the threshold, and
    `selective_accuracy` the accuracy on those; `surest_accuracy` is that of the classifier's best
    label on the surest 85 %. `accuracy_ci95` is from a bootstrap over the queries. `second_share`
    of the queries went to the second stage. Times are microseconds per decision.
    """

    n: int
    accuracy: float
    macro_f1: float
    ece: float
    aurc: float
    coverage: float
    selective_accuracy: float
    per_label: Mapping[str, LabelScore]
    slices: Mapping[str, tuple[int, float]]
    confusion: Mapping[str, Mapping[str, int]]
    accuracy_ci95: tuple[float, float]
    surest_accuracy: float
    second_share: float
    mean: float
    p50: float
    p99: float
    threshold: float
    bins: Sequence[ReliabilityBin]
    risk_coverage: Sequence[tuple[float, float]]

    def as_json(self) -> dict[str, Any]:
        plain = ("n", "accuracy", "macro_f1", "ece", "aurc", "coverage", "selective_accuracy")
        return {
            **{name: getattr(self, name) for name in plain},
            "per_label": {
                label: {"precision": s.precision, "recall": s.recall, "f1": s.f1, "n": s.n}
                for label, s in self.per_label.items()
            },
            "slices": {name: {"n": n, "accuracy": a} for name, (n, a) in self.slices.items()},
            "confusion": self.confusion,
            "latency_us": {"p50": self.p50, "p99": self.p99},
            "mean_us": self.mean,
            "accuracy_ci95": list(self.accuracy_ci95),
            "surest_accuracy": self.surest_accuracy,
            "second_share": self.second_share,
            "threshold": self.threshold,
            "bins": [
                {"low": b.low, "high": b.high, "n": b.n, "p": b.confidence, "accuracy": b.accuracy}
                for b in self.bins
            ],
            "risk_coverage": [{"coverage": c, "risk": r} for c, r in self.risk_coverage],
        }


def evaluate(router: Decider, examples: Sequence[Example]) -> RouterReport:
    """Decide every example and compare; a label the router never saw counts as wrong."""
    if not examples:
        raise FitError("there are no examples to evaluate on")
    decisions, microseconds = _decided(router, examples)
    truth = [example.label for example in examples]
    targets = [decision.target for decision in decisions]
    right = np.array([target == label for target, label in zip(targets, truth, strict=True)])
    best_right = np.array([_best(d) == label for d, label in zip(decisions, truth, strict=True)])
    confidence = np.array([decision.probability for decision in decisions])
    covered = np.array([decision.reason is Reason.CLASSIFIER for decision in decisions])
    per_label = _label_scores(truth, targets)
    bins = reliability(confidence, best_right)
    p50, p99 = np.percentile(microseconds, [50, 99])
    return RouterReport(
        n=len(examples),
        accuracy=float(right.mean()),
        macro_f1=float(np.mean([score.f1 for score in per_label.values()])),
        ece=expected_calibration_error(bins),
        aurc=area_under_risk_coverage(confidence, best_right),
        coverage=float(covered.mean()),
        selective_accuracy=float(right[covered].mean()) if covered.any() else 0.0,
        per_label=per_label,
        slices=_slice_accuracies(examples, right.tolist()),
        confusion=_confusion(truth, targets),
        accuracy_ci95=_interval(right),
        surest_accuracy=_surest_accuracy(confidence, best_right),
        second_share=float(np.mean([decision.stage == 2 for decision in decisions])),
        mean=float(np.mean(microseconds)),
        p50=float(p50),
        p99=float(p99),
        threshold=router.threshold,
        bins=bins,
        risk_coverage=risk_coverage(confidence, best_right),
    )


def _decided(router: Decider, examples: Sequence[Example]) -> tuple[list[Decision], list[float]]:
    decisions, microseconds = [], []
    for example in examples:
        start = time.perf_counter_ns()
        decisions.append(router.decide(example.text))
        microseconds.append((time.perf_counter_ns() - start) / 1e3)
    return decisions, microseconds


def _interval(right: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Of the mean, at 95 %; drawing queries anew is drawing the number of right ones."""
    random = np.random.default_rng(0)
    means = random.binomial(len(right), right.mean(), DRAWS) / len(right)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _surest_accuracy(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    surest = np.argsort(-confidence, kind="stable")[: max(1, int(COVERAGE * len(right)))]
    return float(right[surest].mean())


def _best(decision: Decision) -> str:
    """The most probable label, which the threshold may have overruled."""
    probabilities = decision.probabilities
    return max(probabilities, key=probabilities.__getitem__) if probabilities else GENERAL


def _label_scores(truth: Sequence[str], targets: Sequence[str]) -> dict[str, LabelScore]:
    expected, given = Counter(truth), Counter(targets)
    hits = Counter(t for t, label in zip(targets, truth, strict=True) if t == label)
    return {
        label: LabelScore(
            precision=hits[label] / given[label] if given[label] else 0.0,
            recall=hits[label] / count,
            f1=2 * hits[label] / (given[label] + count),
            n=count,
        )
        for label, count in sorted(expected.items())
    }


def _slice_accuracies(
    examples: Sequence[Example], right: Sequence[bool]
) -> dict[str, tuple[int, float]]:
    outcomes: dict[str, list[bool]] = {}
    for example, correct in zip(examples, right, strict=True):
        outcomes.setdefault(example.slice, []).append(correct)
    return {name: (len(o), sum(o) / len(o)) for name, o in sorted(outcomes.items())}


def _confusion(truth: Sequence[str], targets: Sequence[str]) -> dict[str, dict[str, int]]:
    """Rows are the right labels, columns where the queries went; zeros are left out."""
    rows: dict[str, Counter[str]] = {}
    for label, target in zip(truth, targets, strict=True):
        rows.setdefault(label, Counter())[target] += 1
    return {label: dict(sorted(row.items())) for label, row in sorted(rows.items())}
