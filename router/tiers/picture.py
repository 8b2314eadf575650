"""The curve of a tier router as a picture."""

from pathlib import Path

from router.figures import figure, save
from router.tiers.curve import TierReport


def draw(found: TierReport, file: Path) -> None:
    """Score over the share of strong calls, and over cost where costs are known, each beside the
    straight line of a random router; the form is that of the file's suffix."""
    axes = {"share of calls to the strong model": [trade.share for trade in found.curve]}
    costs = [trade.cost for trade in found.curve if trade.cost is not None]
    if costs:
        axes["mean cost of a call"] = costs
    scores = [trade.score for trade in found.curve]
    drawn = figure(5 * len(axes), 4)
    for place, (name, values) in enumerate(axes.items(), 1):
        plot = drawn.add_subplot(1, len(axes), place)
        plot.plot(values, scores, label="router")
        plot.plot([values[0], values[-1]], [scores[0], scores[-1]], "--", label="random")
        plot.set(xlabel=name, ylabel="mean score")
        plot.legend()
    save(drawn, file)
