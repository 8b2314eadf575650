"""Items to review, as tests want them."""

from adapters.review.item import Example, ItemKind, Verdict
from adapters.review.proposal import NewItem

LABELS = ("cold", "leak", "noise")


def item(
    question: str,
    answer: str = "leak",
    *,
    labels: tuple[str, ...] = LABELS,
    wanted: int = 1,
    kind: ItemKind = ItemKind.SYNTHETIC,
    batch: str = "",
) -> NewItem:
    example = Example((("user", question),), answer, task="fault", labels=labels)
    return NewItem("boiler", kind, example, batch=batch, wanted=wanted)


def pair(question: str, one: str, other: str, wanted: int = 1) -> NewItem:
    example = Example((("user", question),), one, other, task="fault")
    origin = {"models": ["a", "b"], "of": ["a", "b"]}
    return NewItem("boiler", ItemKind.HUMAN_EVAL, example, origin, batch="c", wanted=wanted)


ACCEPT, CORRECT, REJECT, SKIP = Verdict.ACCEPT, Verdict.CORRECT, Verdict.REJECT, Verdict.SKIP
