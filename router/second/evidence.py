"""What a sentence encoder's vector says about a text: five opinions, and signs of its origin.

The same code forms opinions when fitting and when serving. Which of them count how much is
`blend`'s business.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from router.errors import ArtefactError
from router.second.blend import log_softmax, opinion

Floats = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

# exp(similarity / width): how fast a neighbour's vote fades. Chosen on held-out sources.
NEAR_WIDTH = 0.05
TOPIC_WIDTH = 0.06
# A label without a near neighbour is unlikely, not impossible.
LEAST = 1e-3
USUAL_NEIGHBOURS = 3
AROUND = 5
BLOCK = 512
# Brings the encoder's and the style's columns to about one size for the classifier of origins.
VECTOR_SCALE = 2.0
OPINIONS = ("first", "origin", "head", "near", "topic")


@dataclass(frozen=True)
class Evidence:
    """Examples and topics as unit vectors, and two linear classifiers.

    `usual` holds each example's mean similarity to its nearest others. An origin is a place that
    examples of one label come from; `topics` is empty unless every label has some.
    """

    examples: Floats
    example_labels: Numbers
    usual: Floats
    topics: Floats
    topic_labels: Numbers
    head: Floats
    head_bias: Floats
    origins: Floats
    origin_bias: Floats
    origin_labels: Numbers

    @property
    def labels(self) -> int:
        return len(self.head_bias)

    @cached_property
    def _of_example(self) -> Floats:
        return _indicators(self.example_labels, self.labels)

    @cached_property
    def _of_topic(self) -> Floats:
        return _indicators(self.topic_labels, self.labels)

    @cached_property
    def _of_origin(self) -> Floats:
        return _indicators(self.origin_labels, self.labels)

    def opinions(self, first: Matrix, vectors: Floats, styles: Floats) -> tuple[Matrix, Matrix]:
        """[5, texts, labels] in the order of OPINIONS and signs [texts, 5]; `first` holds the
        first stage's log probabilities."""
        shapes = (len(OPINIONS), len(vectors), self.labels)
        found, signs = np.zeros(shapes), np.zeros((len(vectors), 5))
        for start in range(0, len(vectors), BLOCK):
            rows = slice(start, start + BLOCK)
            found[:, rows], signs[rows] = self._block(first[rows], vectors[rows], styles[rows])
        return found, signs

    def _block(self, first: Matrix, vectors: Floats, styles: Floats) -> tuple[Matrix, Matrix]:
        near = vectors @ self.examples.T
        places = log_softmax(
            (described(vectors, styles) @ self.origins + self.origin_bias).astype(np.float64)
        )
        by_origin = np.exp(places) @ self._of_origin
        nearest_topic = np.full(len(vectors), 0.5)
        topical = np.zeros((len(vectors), self.labels))
        if len(self.topics):
            similar = vectors @ self.topics.T
            topical = _faded(similar, TOPIC_WIDTH, self._of_topic)
            nearest_topic = similar.max(axis=1)
        opinions = [
            first,
            np.log(by_origin + LEAST),
            (vectors @ self.head + self.head_bias).astype(np.float64),
            _faded(near, NEAR_WIDTH, self._of_example),
            topical,
        ]
        most = places.max(axis=1)
        signs = [
            self._unusual(near) * 5,
            (near.max(axis=1) - 0.5) * 5,
            (nearest_topic - 0.5) * 5,
            np.log(np.exp(most) + LEAST) + 1,
            np.exp(most) * 2 - 1,
        ]
        return np.stack([opinion(each) for each in opinions]), np.stack(signs, axis=1)

    def _unusual(self, near: Floats) -> Matrix:
        """How near the nearest examples are against how near those are to each other; some
        sources are dense, in others no two queries are alike."""
        around = np.argpartition(near, -AROUND, axis=1)[:, -AROUND:]
        own = nearest_mean(near)
        return np.asarray(own - self.usual[around].mean(axis=1), dtype=np.float64)

    @classmethod
    def load(cls, file: Path) -> "Evidence":
        try:
            tensors: dict[str, npt.NDArray[Any]] = load_file(file)
            for name in ("examples", "topics"):
                tensors[name] = tensors[name].astype(np.float32)
            return cls(**{field.name: tensors[field.name] for field in fields(cls)})
        except (OSError, SafetensorError, KeyError) as exc:
            raise ArtefactError(f"{file} does not hold a second stage: {exc!r}") from exc

    def save(self, file: Path) -> None:
        """Vectors in half precision: neighbours stay the same, the file is half as long."""
        tensors = {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}
        for name in ("examples", "topics"):
            tensors[name] = tensors[name].astype(np.float16)
        save_file(tensors, file)


def described(vectors: Floats, styles: Floats) -> Floats:
    """What origins are told apart by."""
    return np.concatenate([vectors * np.float32(VECTOR_SCALE), styles], axis=1)


def nearest_mean(similarities: Floats) -> Floats:
    """Mean of each row's USUAL_NEIGHBOURS greatest values."""
    top = np.partition(similarities, -USUAL_NEIGHBOURS, axis=1)[:, -USUAL_NEIGHBOURS:]
    return np.asarray(top.mean(axis=1), dtype=np.float32)


def usual_similarities(vectors: Floats) -> Floats:
    """Each vector's mean similarity to its nearest others."""
    found = np.zeros(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK):
        near = vectors[start : start + BLOCK] @ vectors.T
        rows = np.arange(len(near))
        near[rows, start + rows] = -1
        found[start : start + BLOCK] = nearest_mean(near)
    return found


def _faded(similarities: Floats, width: float, belongs: Floats) -> Matrix:
    """Log share of the votes for each label, a vote fading with distance."""
    most = similarities.max(axis=1, keepdims=True)
    votes = np.exp((similarities - most) / np.float32(width)) @ belongs
    return np.asarray(np.log(votes / votes.sum(axis=1, keepdims=True) + LEAST), dtype=np.float64)


def _indicators(labels: Numbers, count: int) -> Floats:
    """[rows, labels] with a one at each row's label."""
    return np.eye(count, dtype=np.float32)[labels]
