"""Why the first stage favours a target: what in the conversation speaks for it and against the
runner-up, and the examples that are most like the query. Takes milliseconds."""

from collections.abc import Sequence
from enum import StrEnum
from math import log

from msgspec import Struct

from router.conversation import Context, context_of
from router.features import FORM, Features, Vocabulary
from router.router import Router
from router.second.stage import Neighbour, SecondStage

NEIGHBOURS = 5


class Kind(StrEnum):
    """What a feature is. A form is how a text is written: its case, its last mark, and these with
    the last word. An unknown word speaks by its parts."""

    WORD = "word"
    PAIR = "pair"
    FORM = "form"
    UNKNOWN = "unknown"
    EARLIER_TURNS = "earlier_turns"


class Feature(Struct, frozen=True):
    """`weight` is what it adds to the log-odds."""

    kind: Kind
    text: str
    weight: float


class Explanation(Struct, frozen=True):
    """Why `best` and not `runner_up`: `bias` and the weights of all features, the weightiest
    first, add up to `margin`, the logarithm of the ratio of the first stage's two probabilities.
    """

    best: str
    runner_up: str
    margin: float
    bias: float
    features: tuple[Feature, ...]
    examples: tuple[Neighbour, ...]


def explain(
    router: Router, turns: Sequence[str], second: SecondStage | None = None
) -> Explanation | None:
    """Why the last of the user's `turns` goes where it goes; None where no word speaks. Examples
    need the `second` stage."""
    context = context_of(router, turns)
    decision = context.weighed(router.decide(context.text), router.thresholds)
    found = router.vocabulary.features(context.text)
    if not found.words and not found.unseen:
        return None
    best, runner_up = sorted(decision.probabilities, key=decision.probabilities.__getitem__)[:-3:-1]
    columns = [router.labels.index(label) for label in (best, runner_up)]
    shares = router.classifier.shares(found, router.vocabulary)[:, columns]
    scale = (context.weight if context.prior else 1.0) / router.temperature
    weights = ((shares[:, 0] - shares[:, 1]) * scale).tolist()
    first, other = (float(router.classifier.bias[column]) for column in columns)
    bias = (first - other) * scale
    features = [
        Feature(kind, text, weight)
        for (kind, text), weight in zip(_names(found, router.vocabulary), weights, strict=True)
    ]
    if context.prior:
        features.append(_earlier(context, best, runner_up))
    return Explanation(
        best,
        runner_up,
        margin=bias + sum(feature.weight for feature in features),
        bias=bias,
        features=tuple(sorted(features, key=lambda feature: -abs(feature.weight))),
        examples=tuple(second.nearest(context.text, NEIGHBOURS)) if second is not None else (),
    )


def _earlier(context: Context, best: str, runner_up: str) -> Feature:
    return Feature(Kind.EARLIER_TURNS, "", log(context.prior[best] / context.prior[runner_up]))


def _names(found: Features, vocabulary: Vocabulary) -> list[tuple[Kind, str]]:
    """In the order of `LinearClassifier.shares`."""
    words, pairs = list(vocabulary.words), list(vocabulary.pairs)
    return [
        *(_named(Kind.WORD, words[row]) for row in found.words),
        *(_named(Kind.PAIR, pairs[row]) for row in found.pairs),
        *((Kind.UNKNOWN, word) for word in found.unseen),
    ]


def _named(kind: Kind, name: str) -> tuple[Kind, str]:
    return (Kind.FORM, name.replace(FORM, "")) if FORM in name else (kind, name)
