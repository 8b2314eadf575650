"""How quickly answers came, and how long they were."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.evaluation.evaluate import rounded


@dataclass
class Meter:
    """Told of every answer by whoever got it. In a batch no answer has a time of its own."""

    seconds: float = 0.0  # for all of them, side by side
    waited: list[float] = field(default_factory=list)  # seconds of each, where it is known
    tokens: list[int] = field(default_factory=list)  # of each answer, where the server tells
    asked: list[int] = field(default_factory=list)  # tokens of each prompt, the same

    def as_json(self) -> dict[str, Any]:
        """Rates and medians; null where nothing is known."""
        quick, slow = np.percentile(self.waited, [50, 95]).tolist() if self.waited else (None, None)
        known = bool(self.tokens and self.seconds)
        return rounded(
            {
                "seconds": self.seconds,
                "answer_seconds": {"p50": quick, "p95": slow},
                "tokens_per_second": sum(self.tokens) / self.seconds if known else None,
                "answer_tokens": float(np.mean(self.tokens)) if self.tokens else None,
            }
        )
