"""An advice as a picture: scores of the approaches, and what each costs."""

from pathlib import Path

from router.figures import figure, save
from training.prompting.advise import Advice


def draw(advice: Advice, title: str, file: Path) -> None:
    """To a .svg or .png; raises PictureError without matplotlib or by reason of the disk.

    Each line reaches from the interval's lower to its upper end below the best score.
    """
    approaches = advice.approaches
    places = range(len(approaches))
    drawn = figure(9, 1.5 + 0.5 * len(approaches))
    scores, costs = drawn.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    best, advised = advice.best.score, advice.advised
    for place, one in enumerate(approaches):
        colour = "tab:green" if one is advised else "tab:gray"
        low, high = advice.behind(one)
        scores.barh(place, one.score, color=colour, alpha=0.6)
        scores.plot([best + low, best + high], [place, place], color="black")
        if one.tokens is not None:
            costs.barh(place, one.tokens, color=colour, alpha=0.6)
    scores.axvline(best - advice.margin, color="tab:red", linestyle=":")
    scores.set_yticks(places, [one.name for one in approaches])
    scores.invert_yaxis()
    scores.set_xlim(0, 1)
    scores.set_xlabel("score; dotted: the best less the margin")
    costs.set_xlabel("tokens per question")
    drawn.suptitle(title)
    save(drawn, file)
