"""Quality against the share of strong calls: APGR and CPT of RouteLLM (arXiv 2406.18665).

PGR is the part of the gap between the models that a router recovers; APGR the area under it over
the share of calls that go to the strong model; CPT(x) the least share that recovers x. Prompts with
equal scores count as sent in random order, so a constant score has an APGR of 0.5.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from router.tiers.data import Floats, Pairs

SHARES = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class Trade:
    """What one share of strong calls brings: mean score, PGR where it is defined, mean cost where
    costs are known, and the router's score from which on prompts are sent, None for no prompt."""

    share: float
    score: float
    recovered: float | None
    cost: float | None
    threshold: float | None

    def as_json(self) -> dict[str, float | None]:
        return {
            "strong_share": self.share,
            "score": self.score,
            "pgr": self.recovered,
            "cost": self.cost,
            "threshold": self.threshold,
        }


@dataclass(frozen=True, slots=True)
class TierReport:
    """A router on lines with both scores. `apgr`, `cpt50` and `cpt80` are None where the strong
    model is no better on the whole: there is no gap to recover."""

    n: int
    apgr: float | None
    cpt50: float | None
    cpt80: float | None
    curve: tuple[Trade, ...]

    def at(self, share: float) -> Trade:
        """The nearest point of the curve."""
        return self.curve[round(share * (len(self.curve) - 1))]

    def as_json(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "apgr": self.apgr,
            "cpt50": self.cpt50,
            "cpt80": self.cpt80,
            "weak_score": self.curve[0].score,
            "strong_score": self.curve[-1].score,
            "curve": [trade.as_json() for trade in self.curve],
        }


def report(scores: Floats, pairs: Pairs) -> TierReport:
    """What sending the prompts with the highest `scores` to the strong model does."""
    shares, gained = _gathered(scores, pairs.gains)
    gap = float(gained[-1])
    recovered = gained / gap if gap > 0 else None
    costs = _costs(scores, pairs)
    return TierReport(
        n=len(pairs),
        apgr=None if recovered is None else float(np.trapezoid(recovered, shares)),
        cpt50=None if recovered is None else _least_share(shares, recovered, 0.5),
        cpt80=None if recovered is None else _least_share(shares, recovered, 0.8),
        curve=tuple(
            Trade(
                share=float(share),
                score=float(pairs.weak.mean() + np.interp(share, shares, gained)),
                recovered=None if recovered is None else float(np.interp(share, shares, recovered)),
                cost=None if costs is None else float(np.interp(share, shares, costs)),
                threshold=float(np.quantile(scores, 1 - share)) if share else None,
            )
            for share in SHARES
        ),
    )


def _gathered(scores: Floats, differences: Floats) -> tuple[Floats, Floats]:
    """Shares of calls, and the sum of their `differences` over the number of all, at the ends of
    runs of equal scores; between them both grow evenly."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1, [len(scores)]])
    sums = np.concatenate([[0.0], np.cumsum(differences[order])])
    return ends / len(scores), sums[ends] / len(scores)


def _costs(scores: Floats, pairs: Pairs) -> Floats | None:
    if pairs.weak_costs is None or pairs.strong_costs is None:
        return None
    _, extra = _gathered(scores, pairs.strong_costs - pairs.weak_costs)
    return np.asarray(pairs.weak_costs.mean() + extra)


def _least_share(shares: Floats, recovered: Floats, part: float) -> float:
    """Where the curve first reaches `part`, which it does at the latest where all are sent."""
    reached = int(np.argmax(recovered >= part - 1e-12))
    before = slice(reached - 1, reached + 1)
    return float(np.interp(part, recovered[before], shares[before]))
