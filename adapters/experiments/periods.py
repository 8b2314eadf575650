"""When an experiment had which weights, and by which of them a unit was assigned.

Units that came by other weights may not be compared with each other, nor counted against the same
promise: another share of them, at another time, went to each arm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapters.experiments.entry import Entry
from adapters.experiments.observations import Array, Places
from adapters.store import instant

_EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Periods:
    """Times of the same weights, one after another: since when (unix seconds), and what."""

    begins: Array
    weights: tuple[Mapping[str, float], ...]

    @classmethod
    def of(cls, entry: Entry, moves: Sequence[Mapping[str, Any]]) -> "Periods":
        """As the audit log tells them."""
        begins, weights = [-np.inf], [moves[0]["after"]["weights"] if moves else entry.weights]
        for move in moves[1:]:
            if move["after"]["weights"] != weights[-1]:
                begins.append(instant(move["at"]))
                weights.append(move["after"]["weights"])
        return cls(np.array(begins), tuple(weights))

    def __len__(self) -> int:
        return len(self.weights)

    def shares(self, arm: str) -> Array:
        """An arm's share of the units in each."""
        return np.array([one[arm] / sum(one.values()) for one in self.weights])

    def places(self, arm: str, first: Array, propensity: Array) -> Places:
        """The period in which each unit was assigned to `arm`: the last one before it came whose
        weights give the propensity that was logged, since gateways take up a move a little later,
        or much later when the store is down. By time alone where no period does.
        """
        places = np.searchsorted(self.begins, first, "right") - 1
        shares = self.shares(arm)
        for logged in np.unique(propensity):
            fits = np.flatnonzero(np.abs(shares - logged) < _EQUAL)
            if len(fits):
                here = propensity == logged
                latest = np.searchsorted(self.begins[fits], first[here], "right") - 1
                places[here] = fits[np.maximum(latest, 0)]
        return places
