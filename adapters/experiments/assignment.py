"""Which arm a unit sees: a pure function of (salt, unit, weights), the same on every gateway.

Weighted rendezvous hashing (Thaler & Ravishankar 1998; weights after Schindelhauer & Schomaker
2005): every arm draws
-ln(u)/w with u uniform from the hash of (salt, unit, arm), the smallest wins. An arm wins with
probability w / sum(w)
exactly, which is the propensity. When one arm's weight grows, units move only into that arm:
assignment is monotone.
"""

import hashlib
import math
from dataclasses import dataclass

from msgspec import Struct

from adapters.errors import InvalidExperiment

BASE_ARM = "base"


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of an experiment: an adapter version's name, or `base`. Weights are relative."""

    name: str
    model: str
    weight: float


@dataclass(frozen=True, slots=True)
class Experiment:
    """A running split of one domain's traffic."""

    name: str
    domain: str
    salt: str
    arms: tuple[Arm, ...]

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if len(names) < 2:
            raise InvalidExperiment(f"experiment {self.name}: needs at least two arms, got {names}")
        if len(set(names)) != len(names):
            raise InvalidExperiment(f"experiment {self.name}: two arms share a name: {names}")
        if not all(math.isfinite(arm.weight) and arm.weight >= 0 for arm in self.arms):
            raise InvalidExperiment(
                f"experiment {self.name}: weights must be finite and not negative"
            )
        if sum(arm.weight for arm in self.arms) <= 0:
            raise InvalidExperiment(f"experiment {self.name}: at least one weight must be above 0")


class Assignment(Struct, frozen=True):
    """The arm a unit got, and how likely that was."""

    experiment: str
    arm: Arm
    propensity: float


def assign(experiment: Experiment, unit: str) -> Assignment:
    """Choose the unit's arm. Stateless: no lookup, no memory, no randomness beyond the hash."""
    arm = min(experiment.arms, key=lambda arm: _draw(experiment.salt, unit, arm))
    total = sum(arm.weight for arm in experiment.arms)
    return Assignment(experiment.name, arm, arm.weight / total)


def _draw(salt: str, unit: str, arm: Arm) -> float:
    if arm.weight == 0:
        return math.inf
    digest = hashlib.blake2b(f"{salt}\0{unit}\0{arm.name}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "big") + 0.5) / 2**64
    return -math.log(uniform) / arm.weight
