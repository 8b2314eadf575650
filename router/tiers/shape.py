"""What a prompt looks like, whatever it is about: length, figures, signs, questions, long words."""

import math
import re

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from router.features import shortened

Floats = npt.NDArray[np.float64]

NAMES = ("characters", "digits", "signs", "questions", "word_length")
# Standard deviations from the mean; what lies beyond is not known to be more of the same.
FARTHEST = 4.0
DIGIT = re.compile(r"[0-9]")
SIGN = re.compile(r"[$\\{}^=+*<>/|]")


def shape_of(prompt: str) -> list[float]:
    """One value per name: logarithms of length and questions, shares of figures and of signs, and
    the mean length of words. Of a long text, all but the length is that of head and tail."""
    text = shortened(prompt)
    characters, words = max(len(text), 1), text.split()
    return [
        math.log1p(len(prompt)),
        len(DIGIT.findall(text)) / characters,
        len(SIGN.findall(text)) / characters,
        math.log1p(text.count("?")),
        sum(map(len, words)) / max(len(words), 1),
    ]


class ShapeWeights(Struct, frozen=True):
    """A quadratic form in the standardised shape, z = (shape - mean) / scale: `linear` [names]
    weighs z, `square` [names, names] z zᵀ."""

    mean: list[float]
    scale: list[float]
    linear: list[float]
    square: list[list[float]]

    def score(self, prompt: str) -> float:
        z = [
            min(max((value - mean) / scale, -FARTHEST), FARTHEST)
            for value, mean, scale in zip(shape_of(prompt), self.mean, self.scale, strict=True)
        ]
        return sum(
            value * (weight + sum(map(float.__mul__, row, z)))
            for value, weight, row in zip(z, self.linear, self.square, strict=True)
        )
