"""How likely a model holds the expected answers to be, whatever it would say itself."""

import math
from dataclasses import dataclass
from typing import Any

from training.evaluation.evaluate import rounded

_MOST = 700.0  # nats; e to a little more is no number any more


@dataclass(frozen=True, slots=True)
class Loss:
    """Negative log-likelihood of one expected answer in nats, summed over its tokens."""

    total: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The losses of a set of rows, None where a row does not fit into the model."""

    losses: tuple[Loss | None, ...]

    @property
    def known(self) -> list[Loss]:
        return [loss for loss in self.losses if loss is not None]

    @property
    def per_token(self) -> float:
        """Mean loss of an answer token in nats; NaN where nothing is known."""
        tokens = sum(loss.tokens for loss in self.known)
        return sum(loss.total for loss in self.known) / tokens if tokens else math.nan

    @property
    def perplexity(self) -> float:
        """What it comes to: as unsure as among so many equally likely tokens."""
        return math.exp(min(self.per_token, _MOST))

    def as_json(self) -> dict[str, Any]:
        """What the `evaluate` verb prints; null where nothing is known."""
        tokens = sum(loss.tokens for loss in self.known)
        found = {"loss": self.per_token, "perplexity": self.perplexity} if tokens else {}
        return rounded(
            {"n": len(self.known), "tokens": tokens, "loss": None, "perplexity": None, **found}
        )
