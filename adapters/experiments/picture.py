"""The picture of an experiment: each arm's effect as units came, with its band."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from adapters.errors import ExportFailed
from adapters.experiments.design import Experiment
from adapters.experiments.measures import Direction, Metric
from adapters.experiments.observations import Array
from adapters.experiments.report import Report, Verdict
from adapters.store import instant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _GREEN, _GREY = "#1f5fa8", "#2e7d32", "#777777"
_MOST_COLUMNS = 3
_MOST_DATES = 4
_MOST_LABELS = 8  # of changes of the weights; a bandit's are many
_DAY = 86_400.0


def draw(
    report: Report,
    design: Experiment,
    moves: Sequence[Mapping[str, Any]],
    file: BinaryIO,
    form: str,
) -> None:
    """Every arm under test beside the others; `moves` is the audit log, `form` svg or png.

    Raises ExportFailed without matplotlib, and where all arms under test are shadows.
    """
    try:
        from matplotlib.figure import Figure  # an extra, of 100 MB with what it needs
    except ModuleNotFoundError as exc:
        raise ExportFailed("pictures need matplotlib: pip install 'turnout[plots]'") from exc
    if not report.verdicts:
        raise ExportFailed(f"{report.experiment}: no arm under test gets traffic, nothing to draw")
    columns = min(len(report.verdicts), _MOST_COLUMNS)
    rows = -(-len(report.verdicts) // columns)
    size = max(8.0, 5.5 * columns), 4.5 * rows
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    places = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    for axes, verdict in zip(places, report.verdicts, strict=False):
        _panel(axes, verdict, design, moves)
    for axes in places[len(report.verdicts) :]:
        axes.set_axis_off()
    metric = design.metric
    better = "more" if metric.measure.direction is Direction.HIGHER else "less"
    figure.supylabel(f"difference in {metric.name} ({better} is better)", fontsize=10)
    places[0].set_ylim(*_range(report, _goal(metric)[0]))
    figure.savefig(file, format=form)


def _panel(
    axes: "Axes", verdict: Verdict, design: Experiment, moves: Sequence[Mapping[str, Any]]
) -> None:
    told = [point for point in verdict.course if point.low is not None]
    units = np.array([sum(point.units) for point in told])
    low, high = (
        np.array([getattr(p, side) for p in told], dtype=float) for side in ("low", "high")
    )
    axes.fill_between(units, low, high, color=_BLUE, alpha=0.2, linewidth=0, label="interval")
    axes.plot(units, [point.effect for point in told], color=_BLUE, label="effect")
    axes.axhline(0, color="black", linewidth=0.8)
    goal, name = _goal(design.metric)
    axes.axhline(goal, color=_GREEN, linewidth=1, linestyle="--", label=name)
    axes.set_title(
        f"{verdict.arm} against {design.control.name}: {verdict.outcome.replace('_', ' ')}\n"
        f"{verdict.primary.numbers}",
        fontsize=10,
    )
    axes.set_xlabel(f"units with {design.metric.name}, both arms")
    axes.grid(axis="y", alpha=0.3)
    if not told:
        axes.text(0.5, 0.6, "too few units so far", ha="center", transform=axes.transAxes)
        return
    axes.legend(loc="lower right", fontsize=8)
    times = np.array([point.at for point in told])
    _dates(axes, units, times)
    _changes(axes, units, times, verdict.arm, moves)


def _dates(axes: "Axes", units: Array, times: Array) -> None:
    """When units had come, above them."""
    form = "%d %b %Y" if times[-1] - times[0] > 2 * _DAY else "%d %b %H:%M"
    marks = np.linspace(units[0], units[-1], _MOST_DATES)
    days = [datetime.fromtimestamp(at, UTC).strftime(form) for at in np.interp(marks, units, times)]
    above = axes.secondary_xaxis("top")
    above.set_xticks(marks, days, fontsize=8, color=_GREY)


def _changes(
    axes: "Axes", units: Array, times: Array, arm: str, moves: Sequence[Mapping[str, Any]]
) -> None:
    """Where the weights changed, with the arm's share from then on."""
    changed = [
        (instant(after["at"]), after["after"]["weights"])
        for before, after in zip(moves, moves[1:], strict=False)
        if before["after"]["weights"] != after["after"]["weights"]
    ]
    within = [(at, weights) for at, weights in changed if times[0] <= at <= times[-1]]
    for at, weights in within:
        place = float(np.interp(at, times, units))
        axes.axvline(place, color=_GREY, linewidth=0.8, linestyle=":")
        if len(within) <= _MOST_LABELS:
            share = 100 * weights[arm] / sum(weights.values())
            axes.annotate(
                f"{share:.3g} %",
                (place, 0.02),
                xycoords=axes.get_xaxis_transform(),
                xytext=(2, 0),
                textcoords="offset points",
                fontsize=8,
                color=_GREY,
            )


def _goal(metric: Metric) -> tuple[float, str]:
    """The difference that the experiment is about, on the side where it lies."""
    sign = 1 if metric.measure.direction is Direction.HIGHER else -1
    if metric.margin:
        return -sign * metric.margin, "margin"
    return sign * (metric.effect or 0.0), "minimum effect"


def _range(report: Report, goal: float) -> tuple[float, float]:
    """What is worth seeing: not how wide the bands were at first."""
    shown = [0.0, goal]
    for verdict in report.verdicts:
        later = [p for p in verdict.course if sum(p.units) >= sum(verdict.primary.units) / 2]
        shown += [value for p in later for value in (p.low, p.effect, p.high) if value is not None]
    room = 0.1 * (max(shown) - min(shown)) or 1.0
    return min(shown) - room, max(shown) + room
