"""Whether queries are still what a router was fitted on, and what to do if they are not.

Looks at what the first stage makes of them; labels of the new queries are not needed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

from scipy.stats import chi2

from router.decision import Decision, Impression
from router.errors import ArtefactError
from router.features import words_of
from router.reference import Bins, Reference, Signal, Window, reference_of, stability_index
from router.router import Router

# The customary limits of the index (Siddiqi, "Credit Risk Scorecards", 2006).
WATCH, DRIFTED = 0.1, 0.25
# Of a signal that has not moved, how often it seems beyond noise: 5 % for all five together.
ALPHA = 0.05 / len(Signal)
MOST_WORDS = 15
MOST_QUERIES = 5
# Of fewer queries nothing can be said, least of all of rare labels.
FEWEST = 50


class Verdict(StrEnum):
    STABLE = "stable"
    WATCH = "watch"
    DRIFTED = "drifted"


class Advice(StrEnum):
    """What is worth doing; ordered by how much work it is."""

    NOTHING = "nothing"
    LOOK = "look at these queries"
    CALIBRATE = "calibrate"
    REFIT = "refit"


REASONS = {
    Advice.NOTHING: "no signal is beyond noise and the limit",
    Advice.LOOK: "something moved, but not what the router stands on",
    Advice.CALIBRATE: "the mix or the confidence moved, the words did not: label some of today's "
    "queries for `turnout router calibrate`",
    Advice.REFIT: "words the router does not know, or queries it is less sure of: label some of "
    "today's, add them to the data, and run `turnout router fit`",
}


@dataclass(frozen=True, slots=True)
class Shift:
    """One signal then and now, counts by bin. `noise` is what the index of queries that have not
    changed exceeds in one of a hundred windows of this size."""

    then: tuple[int, ...]
    now: tuple[int, ...]
    names: tuple[str, ...]
    index: float
    noise: float

    @property
    def verdict(self) -> Verdict:
        if self.index < WATCH or self.index <= self.noise:
            return Verdict.STABLE
        return Verdict.DRIFTED if self.index > DRIFTED else Verdict.WATCH


@dataclass(frozen=True, slots=True)
class DriftReport:
    """`words` are unknown ones with the number of queries they are in; `queries` the least sure."""

    n: int
    reference_n: int
    shifts: Mapping[Signal, Shift]
    words: Mapping[str, int]
    queries: Sequence[str]

    @property
    def drifted(self) -> bool:
        return any(shift.verdict is Verdict.DRIFTED for shift in self.shifts.values())

    @property
    def advice(self) -> Advice:
        """By what moved, and whether confidence fell with it."""
        moved = {s for s, shift in self.shifts.items() if shift.verdict is Verdict.DRIFTED}
        watched = any(shift.verdict is Verdict.WATCH for shift in self.shifts.values())
        if not moved:
            return Advice.LOOK if watched else Advice.NOTHING
        sure = self.shifts[Signal.CONFIDENCE]
        less_sure = _mean_bin(sure.now) < _mean_bin(sure.then)
        if Signal.UNKNOWN_WORDS in moved or (
            less_sure and moved & {Signal.CONFIDENCE, Signal.UNSURE}
        ):
            return Advice.REFIT
        if moved & {Signal.LABEL, Signal.CONFIDENCE, Signal.UNSURE}:
            return Advice.CALIBRATE
        return Advice.LOOK

    def as_json(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "reference_n": self.reference_n,
            "drifted": self.drifted,
            "advice": self.advice,
            "signals": {
                signal: {
                    "psi": shift.index,
                    "noise": shift.noise,
                    "verdict": shift.verdict,
                    "bins": shift.names,
                    "then": _shares(shift.then),
                    "now": _shares(shift.now),
                }
                for signal, shift in self.shifts.items()
            },
            "words": self.words,
            "queries": list(self.queries),
        }


def drift_of(
    router: Router,
    texts: Sequence[str],
    on_progress: Callable[[int], None] = lambda done: None,
) -> DriftReport:
    """Compare `texts` with the window of the fit. Raises ArtefactError without such a window, or
    with fewer than FEWEST texts that have words."""
    if router.reference is None:
        raise ArtefactError(
            f"router {router.version} was fitted without a window to compare with; fit it again"
        )
    window = Window(router.reference, size=len(texts))
    decisions: list[tuple[str, Decision]] = []
    for done, text in enumerate(texts, 1):
        decision = router.decide(text)
        if decision.impression is not None:
            window.add(decision.impression)
            decisions.append((text, decision))
        on_progress(done)
    if len(decisions) < FEWEST:
        raise ArtefactError(
            f"{len(decisions)} queries with words are too few to compare, {FEWEST} are needed; "
            "widen --since or --data"
        )
    least_sure = sorted(decisions, key=lambda pair: pair[1].probability)
    return DriftReport(
        n=len(window),
        reference_n=router.reference.n,
        shifts={s: _shift(router.reference, s, window.counts[s]) for s in Signal},
        words=_unknown_words(router, texts),
        queries=tuple(text for text, _ in least_sure[:MOST_QUERIES]),
    )


def most_moved(router: Router, then: Sequence[str], now: Sequence[str]) -> float:
    """The largest index, 0 if none is beyond noise, between two sets of texts as `router` sees
    them; neither may be without words."""
    before, after = (_impressions(router, texts) for texts in (then, now))
    reference = reference_of(before, router.labels)
    window = Window(reference, size=len(after))
    for impression in after:
        window.add(impression)
    shifts = (_shift(reference, signal, window.counts[signal]) for signal in Signal)
    return max((s.index for s in shifts if s.index > s.noise), default=0.0)


def _impressions(router: Router, texts: Sequence[str]) -> list[Impression]:
    found = (router.decide(text).impression for text in texts)
    return [impression for impression in found if impression is not None]


def noise_level(bins: int, now: int, then: int) -> float:
    """Of two windows from one distribution the index is nearly (1/now + 1/then) chi squared with
    bins - 1 degrees of freedom (Yurdakul, "Statistical Properties of PSI", 2018)."""
    if bins < 2:
        return 0.0
    return float((1 / now + 1 / then) * chi2.ppf(1 - ALPHA, bins - 1))


def _shift(reference: Reference, signal: Signal, now: Sequence[int]) -> Shift:
    bins = reference.signals[signal]
    names = reference.labels if signal is Signal.LABEL else _names(signal, bins)
    return Shift(
        then=bins.counts,
        now=tuple(now),
        names=names,
        index=stability_index(now, bins.counts),
        noise=noise_level(len(now), sum(now), sum(bins.counts)),
    )


def _names(signal: Signal, bins: Bins) -> tuple[str, ...]:
    if signal is Signal.UNSURE:
        return ("sure", "unsure")
    if not bins.edges:
        return ("any",)
    edges = [f"{edge:.5g}" for edge in bins.edges]
    return (f"≤ {edges[0]}", *(f"{low}-{high}" for low, high in pairwise(edges)), f"> {edges[-1]}")


def _unknown_words(router: Router, texts: Sequence[str]) -> dict[str, int]:
    """Those in more than one query, the most frequent first."""
    known = router.vocabulary.words
    counts = Counter(word for text in texts for word in set(words_of(text)))
    found = {w: n for w, n in counts.most_common() if n > 1 and w not in known}
    return dict(list(found.items())[:MOST_WORDS])


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / max(sum(counts), 1) for count in counts]


def _mean_bin(counts: Sequence[int]) -> float:
    return sum(place * count for place, count in enumerate(counts)) / max(sum(counts), 1)
