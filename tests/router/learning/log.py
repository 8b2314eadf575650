"""Logged requests, and a router that can be checked by eye."""

from collections.abc import Sequence
from dataclasses import dataclass

from router.decision import Decision
from router.logged import Logged

METRIC = "thumb"


def logged(text: str, target: str, reward: float | None = None, **changes: object) -> Logged:
    values: dict[str, object] = {
        "turns": (text,),
        "target": target,
        "propensity": 1.0,
        "probability": 0.9,
        "reason": "classifier",
        "router_version": "v1",
        "created": 1.0,
        "unit": "u1",
        "session": None,
        "ok": True,
        "rewards": {} if reward is None else {METRIC: reward},
        "demonstrated": False,
        "cost": None,
        "total_ms": 20.0,
        "train": True,
    }
    return Logged(**{**values, **changes})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Constant:
    """Thinks the same of every text."""

    probabilities: dict[str, float]
    threshold: float = 0.0

    def decide_turns(self, turns: Sequence[str]) -> Decision:
        return self.decide(turns[-1])

    def decide(self, text: str) -> Decision:
        best = max(self.probabilities, key=self.probabilities.__getitem__)
        return Decision(best, self.probabilities[best], self.probabilities)
