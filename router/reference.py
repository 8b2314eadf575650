"""What queries looked like when a router was fitted, as counts, and the same of later ones.

Knows no text: a decision's `Impression` is all that is counted. What a difference means is for
`router.quality.drift` to say.
"""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Container, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import chain
from math import log

import numpy as np
from msgspec import Struct

from router.decision import Impression
from router.features import tokens_of

QUANTILES = 10
LENGTHS = tuple(float(2**power) for power in range(3, 16))
UNKNOWN = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
# Bins with a smaller share of the reference are joined: their logarithms would be mostly noise.
LEAST_SHARE = 0.02
WINDOW = 2_000


class Signal(StrEnum):
    """What is watched of queries; a closed set, as it labels a metric."""

    CONFIDENCE = "confidence"
    LABEL = "label"
    LENGTH = "length"
    UNKNOWN_WORDS = "unknown_words"
    UNSURE = "unsure"


class Bins(Struct, frozen=True):
    """A histogram: `counts` has one more than `edges`, a bin holds what is at most its edge."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Reference(Struct, frozen=True):
    """Each signal's histogram; for labels, bin by bin the ones in `labels`."""

    labels: tuple[str, ...]
    signals: Mapping[Signal, Bins]

    @property
    def n(self) -> int:
        return sum(self.signals[Signal.LABEL].counts)

    def with_label(self, label: str) -> "Reference":
        """With one label more, which was never seen."""
        bins = self.signals[Signal.LABEL]
        wider = Bins((*bins.edges, float(len(bins.edges))), (*bins.counts, 0))
        return Reference((*self.labels, label), {**self.signals, Signal.LABEL: wider})


class Window:
    """Counts of the last `size` impressions by signal and bin; `add` takes some microseconds."""

    def __init__(self, reference: Reference, size: int = WINDOW) -> None:
        self.reference = reference
        self.counts = {s: [0] * len(bins.counts) for s, bins in reference.signals.items()}
        self._size = size
        self._places: deque[tuple[int, ...]] = deque()
        self._rows = [(reference.signals[s].edges, self.counts[s]) for s in Signal]
        self._labels = {label: place for place, label in enumerate(reference.labels)}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, impression: Impression) -> None:
        """Count one, and no longer the one `size` before it."""
        values = _values(impression, self._labels)
        places = tuple(
            bisect_left(edges, value) for (edges, _), value in zip(self._rows, values, strict=True)
        )
        self._count(places, 1)
        self._places.append(places)
        if len(self._places) > self._size:
            self._count(self._places.popleft(), -1)

    def _count(self, places: tuple[int, ...], by: int) -> None:
        for (_, counts), place in zip(self._rows, places, strict=True):
            counts[place] += by


def reference_of(impressions: Iterable[Impression], labels: Sequence[str]) -> Reference:
    """Histograms of these; the quantiles of confidence are theirs."""
    places = {label: place for place, label in enumerate(labels)}
    rows = np.array([_values(each, places) for each in impressions], dtype=np.float64)
    columns = dict(zip(Signal, rows.T, strict=True))
    quantiles = np.quantile(columns[Signal.CONFIDENCE], np.linspace(0, 1, QUANTILES + 1)[1:-1])
    edges = {
        Signal.CONFIDENCE: tuple(np.unique(quantiles).tolist()),
        Signal.LABEL: tuple(float(place) for place in range(len(labels) - 1)),
        Signal.LENGTH: _joined(LENGTHS, columns[Signal.LENGTH]),
        Signal.UNKNOWN_WORDS: _joined(UNKNOWN, columns[Signal.UNKNOWN_WORDS]),
        Signal.UNSURE: (0.0,),
    }
    return Reference(
        tuple(labels),
        {
            signal: Bins(edges[signal], _counted(edges[signal], columns[signal]))
            for signal in Signal
        },
    )


def unknown_shares(
    texts: Sequence[str], aside: Iterable[str], known: Container[str]
) -> list[float]:
    """Of each text the share of tokens that neither another text, nor `aside`, nor `known` has:
    what would be unknown to a vocabulary of all the others."""
    found = [set(tokens_of(text)) for text in texts]
    counts = Counter(chain(*found, *(set(tokens_of(text)) for text in aside)))
    return [
        sum(counts[token] == 1 and token not in known for token in each) / max(len(each), 1)
        for each in found
    ]


def stability_index(now: Sequence[float], then: Sequence[float]) -> float:
    """The population stability index of two histograms: the sum over bins of the difference in
    share times the logarithm of its ratio. Half a count more in each bin keeps it finite."""
    both = [(a + 0.5, b + 0.5) for a, b in zip(now, then, strict=True)]
    all_now, all_then = (float(sum(counts)) for counts in zip(*both, strict=True))
    return sum((a / all_now - b / all_then) * log(a / all_now * all_then / b) for a, b in both)


def _values(impression: Impression, places: Mapping[str, int]) -> tuple[float, ...]:
    """In the order of Signal."""
    return (
        impression.probability,
        places[impression.best],
        impression.characters,
        impression.unknown,
        impression.unsure,
    )


def _counted(edges: Sequence[float], values: np.ndarray) -> tuple[int, ...]:
    places = np.searchsorted(edges, values, side="left")
    return tuple(np.bincount(places, minlength=len(edges) + 1).tolist())


def _joined(edges: Sequence[float], values: np.ndarray) -> tuple[float, ...]:
    """The edges between which at least LEAST_SHARE of `values` lie."""
    kept: list[float] = []
    shares = np.searchsorted(np.sort(values), edges, side="right") / max(len(values), 1)
    below = 0.0
    for edge, share in zip(edges, shares.tolist(), strict=True):
        if share - below >= LEAST_SHARE and 1 - share >= LEAST_SHARE:
            kept.append(edge)
            below = share
    return tuple(kept)
