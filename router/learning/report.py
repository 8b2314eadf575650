"""Off-policy evaluation of a router: would it have done better on the log than the one before?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from router.learning.estimators import (
    MOST_WEIGHT,
    Estimate,
    Estimator,
    differences,
    effective_size,
    mean_reward,
    values,
)
from router.learning.rewards import Replay

# Of what the routers would do differently, the log has to have tried so much, and so often.
LEAST_OVERLAP = 0.95
LEAST_MATCHES = 20
# What is chosen with more than this chance is the router's own choice, the rest exploration.
LIKELY = 0.5

Flags = npt.NDArray[np.bool_]


class Verdict(StrEnum):
    """What the log says of the new router against the one before; by the doubly robust interval."""

    BETTER = "better"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"
    NO_SUPPORT = "no_support"


@dataclass(frozen=True, slots=True)
class OffPolicyReport:
    """Both routers on the same rated requests.

    Estimates are of the `explored` ones: requests that could have gone elsewhere. `n` counts all
    that were rated, `differing` those explored on which the routers disagree and `matches` those of
    them on which the log did as the new one would. `overlap` is the share of the new router's
    choices on all `n` that the log could have made; `effective_size` that of the explored under
    the new router's weights, of which `clipped` were too large.
    """

    n: int
    explored: int
    units: int
    differing: int
    matches: int
    overlap: float
    effective_size: float
    clipped: int
    logged: Estimate | None
    before: Mapping[Estimator, Estimate]
    after: Mapping[Estimator, Estimate]
    difference: Mapping[Estimator, Estimate]
    verdict: Verdict
    why: str

    @property
    def gain(self) -> Estimate | None:
        """What decides; None without anything explored."""
        return self.difference.get(Estimator.DR)

    def as_json(self) -> dict[str, Any]:
        row = asdict(self)
        for name in ("before", "after", "difference"):
            row[name] = {str(of): _plain(each) for of, each in getattr(self, name).items()}
        return {**row, "logged": self.logged and _plain(self.logged)}


def off_policy_report(replay: Replay) -> OffPolicyReport:
    """Only what was explored says what another target would have been worth."""
    could_differ = replay.rows.propensities < 1
    possible = _possible(replay)
    explored = replay.where(could_differ)
    rows, differ = explored.rows, explored.before != explored.after
    weights = rows.weights(explored.after)
    matches = int((differ & (explored.after == rows.actions)).sum())
    anything = len(rows.rewards) > 0
    difference = differences(rows, explored.before, explored.after) if anything else {}
    verdict, why = _verdict(replay, difference, int(differ.sum()), matches, possible[could_differ])
    return OffPolicyReport(
        n=len(replay.after),
        explored=len(rows.rewards),
        units=len(set(rows.units.tolist())),
        differing=int(differ.sum()),
        matches=matches,
        overlap=float(possible.mean()) if len(possible) else 0.0,
        effective_size=effective_size(weights),
        clipped=int((weights == MOST_WEIGHT).sum()),
        logged=mean_reward(rows) if anything else None,
        before=values(rows, explored.before) if anything else {},
        after=values(rows, explored.after) if anything else {},
        difference=difference,
        verdict=verdict,
        why=why,
    )


def _plain(estimate: Estimate) -> dict[str, float | None]:
    """JSON has no infinite interval of a single unit, and no mean of nothing."""
    return {name: v if np.isfinite(v) else None for name, v in asdict(estimate).items()}


def _possible(replay: Replay) -> Flags:
    """[rows] whether the log could have made the new router's choice: it did, or it explores to
    that target; where it was exploring, its usual choices were possible too."""
    rows = replay.rows
    explores, explored = rows.propensities < 1, rows.propensities <= LIKELY
    reached = np.isin(replay.after, rows.actions[explored])
    usual = explored & np.isin(replay.after, rows.actions[explores])
    return np.asarray(explores & (reached | usual) | (replay.after == rows.actions))


def _verdict(
    replay: Replay,
    difference: Mapping[Estimator, Estimate],
    differing: int,
    matches: int,
    possible: Flags,
) -> tuple[Verdict, str]:
    """`possible` is of the explored rows; the sentence says what to do where the log is silent."""
    count = len(replay.after)
    if not count:
        return Verdict.NO_SUPPORT, "no routed request was rated; see --metric and --since"
    if (replay.before == replay.after).all():
        return Verdict.INCONCLUSIVE, f"both routers do the same on all {count} rated requests"
    if not difference:
        return Verdict.NO_SUPPORT, (
            "no rated request could have gone elsewhere; let the gateway explore first"
        )
    if possible.mean() < LEAST_OVERLAP:
        return Verdict.NO_SUPPORT, (
            f"{1 - possible.mean():.0%} of the new choices were never explored; explore them first"
        )
    if matches < LEAST_MATCHES:
        return Verdict.NO_SUPPORT, (
            f"of {differing} requests on which the routers differ {matches} went where the new one "
            f"would send them; {LEAST_MATCHES} are needed: explore longer or more"
        )
    gain = difference[Estimator.DR]
    said = f"{gain.value:+.3f} per rated request, between {gain.low:+.3f} and {gain.high:+.3f}"
    if gain.low > 0:
        return Verdict.BETTER, f"the new router would have earned more: {said}"
    if gain.high < 0:
        return Verdict.WORSE, f"the new router would have earned less: {said}"
    return Verdict.INCONCLUSIVE, f"the log does not tell the routers apart: {said}"
