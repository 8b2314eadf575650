"""Several opinions about a text to one calibrated probability per label.

There are two ways to weigh the opinions: one for text like the examples, one for text from
elsewhere, of which held-out places are the model. A gate says which of the two a text looks like.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

# A sure opinion that is wrong must not outvote all others: e^-12 is its least probability.
LOWEST = -12.0


@dataclass(frozen=True, slots=True)
class Weights:
    """What each opinion counts, and what `general` is given beforehand."""

    opinions: Matrix
    general: float

    def log_probabilities(self, opinions: Matrix, general: int | None) -> Matrix:
        """[texts, labels] of `opinions` [opinions, texts, labels]."""
        total = np.einsum("k,knl->nl", self.opinions, opinions)
        if general is not None:
            total[:, general] += self.general
        return log_softmax(total)


@dataclass(frozen=True, slots=True)
class Blend:
    """`gate` holds a constant and a weight for each sign of being like the examples."""

    known: Weights
    new: Weights
    gate: Matrix
    general: int | None

    def probabilities(self, opinions: Matrix, signs: Matrix) -> Matrix:
        """[texts, labels] of `opinions` [opinions, texts, labels] and `signs` [texts, signs]."""
        known = np.exp(self.known.log_probabilities(opinions, self.general))
        new = np.exp(self.new.log_probabilities(opinions, self.general))
        share = sigmoid(with_constant(signs) @ self.gate)[:, None]
        return np.asarray(share * known + (1 - share) * new)

    def as_json(self) -> dict[str, object]:
        return {
            "known": [*self.known.opinions.tolist(), self.known.general],
            "new": [*self.new.opinions.tolist(), self.new.general],
            "gate": self.gate.tolist(),
        }

    @classmethod
    def from_json(cls, row: dict[str, Sequence[float]], general: int | None) -> "Blend":
        *known, known_general = row["known"]
        *new, new_general = row["new"]
        return cls(
            Weights(np.array(known), known_general),
            Weights(np.array(new), new_general),
            np.array(row["gate"]),
            general,
        )


def log_softmax(values: Matrix) -> Matrix:
    shifted = values - values.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def opinion(logits: Matrix) -> Matrix:
    """Log probabilities of one opinion, none of them below LOWEST."""
    return log_softmax(np.maximum(log_softmax(logits), LOWEST))


def with_constant(signs: Matrix) -> Matrix:
    return np.concatenate([np.ones((len(signs), 1)), signs], axis=1)


def sigmoid(values: Matrix) -> Matrix:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -30, 30))))
