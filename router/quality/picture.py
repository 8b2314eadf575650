"""Pictures of a router: how calibrated it is, and how its queries have changed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import beta

from router.figures import figure, save
from router.quality.drift import DriftReport, Shift
from router.quality.evaluate import RouterReport
from router.reference import Signal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREY = "#1f5fa8", "#d9822b", "#777777"


def draw_calibration(report: RouterReport, file: Path) -> None:
    """Reliability diagram and risk-coverage curve side by side, to a .svg or .png."""
    drawn = figure(11, 4.8)
    left, right = drawn.subplots(1, 2)
    _reliability(left, report)
    _risk_coverage(right, report)
    save(drawn, file)


def draw_drift(report: DriftReport, file: Path) -> None:
    """Each signal's shares at the fit and now, to a .svg or .png."""
    drawn = figure(15, 7.5)
    places = drawn.subplots(2, 3).flatten()
    for axes, (signal, shift) in zip(places, report.shifts.items(), strict=False):
        _shares(axes, signal, shift)
    places[0].legend(fontsize=8)
    _words(places[-1], report.words, report.n)
    drawn.suptitle(f"{report.n} queries against {report.reference_n} at the fit: {report.advice}")
    save(drawn, file)


def _reliability(axes: "Axes", report: RouterReport) -> None:
    """A point above the diagonal is more often right than it said; its bar is its share."""
    said = np.array([each.confidence for each in report.bins])
    right = np.array([each.accuracy for each in report.bins])
    counts = np.array([each.n for each in report.bins])
    hits = right * counts
    low, high = (beta.ppf(q, hits + 0.5, counts - hits + 0.5) for q in (0.025, 0.975))
    error = np.maximum([right - low, high - right], 0)  # Jeffreys' 95 % interval
    width = report.bins[0].high - report.bins[0].low
    middles = [(each.low + each.high) / 2 for each in report.bins]
    axes.bar(middles, counts / counts.sum(), width, color=_GREY, alpha=0.25, label="share")
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--", label="calibrated")
    axes.errorbar(said, right, error, color=_BLUE, fmt="o", markersize=4, label="right")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="probability it said", ylabel="share right")
    axes.set_title(f"reliability: ECE {report.ece:.3f}, {report.n} queries", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize=8)


def _risk_coverage(axes: "Axes", report: RouterReport) -> None:
    coverage, risk = zip(*report.risk_coverage, strict=True)
    axes.plot([100 * c for c in coverage], [100 * r for r in risk], color=_BLUE)
    axes.axvline(100 * report.coverage, color=_ORANGE, linestyle="--", linewidth=1)
    axes.annotate(
        f"at the thresholds:\n{report.coverage:.1%} decided",
        (100 * report.coverage, 0.95),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-4, 0),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
        color=_ORANGE,
    )
    axes.set(xlim=(0, 102), xlabel="surest queries (%)", ylabel="wrong among them (%)")
    axes.set_ylim(bottom=0)
    axes.set_title(f"risk and coverage: AURC {report.aurc:.4f}", fontsize=10)
    axes.grid(alpha=0.3)


def _shares(axes: "Axes", signal: Signal, shift: Shift) -> None:
    places = np.arange(len(shift.names))
    for offset, counts, color, name in (
        (-0.2, shift.then, _GREY, "at the fit"),
        (0.2, shift.now, _BLUE, "now"),
    ):
        shares = np.array(counts) / max(sum(counts), 1)
        axes.bar(places + offset, shares, 0.4, color=color, label=name)
    axes.set_xticks(places, shift.names, rotation=40, ha="right", fontsize=8)
    axes.set_title(
        f"{signal.replace('_', ' ')}: {shift.verdict}, PSI {shift.index:.3f} "
        f"(noise {shift.noise:.3f})",
        fontsize=10,
    )


def _words(axes: "Axes", words: Mapping[str, int], n: int) -> None:
    shown: Sequence[tuple[str, int]] = list(words.items())[::-1]
    axes.barh([word for word, _ in shown], [100 * count / n for _, count in shown], color=_BLUE)
    axes.set_title("unknown words, % of queries" if shown else "no unknown word twice", fontsize=10)
    axes.tick_params(axis="y", labelsize=8)
    if not shown:
        axes.set_axis_off()
