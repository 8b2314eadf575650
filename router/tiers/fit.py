"""Fits how much better the strong model answers: ridge regression of the gain on words, word
fragments, static embeddings and the shape of a prompt."""

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import RidgeCV

from router.classifier import LinearClassifier
from router.errors import FitError
from router.features import Vocabulary
from router.fitting.design import Design
from router.fitting.embeddings import PieceEmbeddings
from router.tiers.curve import TierReport, report
from router.tiers.data import Floats, Pairs
from router.tiers.shape import FARTHEST, ShapeWeights, shape_of

MIN_LINES = 20
# Leaving one out takes the cube of this in time; a random part of more lines is used.
MAX_LINES = 4000
PENALTIES = np.geomspace(0.03, 300, 13)
STEPS = np.linspace(0, 1, 101)
LIBRARIES = ("numpy", "scikit-learn", "scipy")


@dataclass(frozen=True, slots=True)
class FittedTiers:
    """All that an artefact holds. `left_out` judges the gains that were foretold for each line by
    a fit without it, `gains` are their quantiles."""

    classifier: LinearClassifier
    vocabulary: Vocabulary
    shape: ShapeWeights
    penalty: float
    gains: Floats
    left_out: TierReport
    data_digest: str
    encoder_digest: str
    libraries: dict[str, str]

    @property
    def quality(self) -> dict[str, float | None]:
        """Of lines left out one by one: what to expect of prompts like them."""
        found = self.left_out
        return {"apgr": found.apgr, "cpt50": found.cpt50, "cpt80": found.cpt80}


def fit(pairs: Pairs, embeddings: PieceEmbeddings, *, whole_words: bool = True) -> FittedTiers:
    """Raises FitError where there is nothing to learn. Without `whole_words` the model says the
    same, slower, and is made sooner."""
    pairs = _usable(pairs)
    design = Design.of(pairs.prompts, embeddings, whole_words=whole_words)
    shapes = np.array([shape_of(prompt) for prompt in pairs.prompts])
    words, looks = design.matrix(pairs.prompts), _Looks.of(shapes)
    columns = sp.hstack([words, sp.csr_array(looks.matrix(shapes))]).tocsr()
    # With a scoring, what RidgeCV stores are the predictions for left-out lines.
    ridge = RidgeCV(PENALTIES, scoring="neg_mean_squared_error", store_cv_results=True)
    ridge.fit(columns, pairs.gains)
    left_out = ridge.cv_results_[:, int(np.argmin(abs(PENALTIES - ridge.alpha_)))]
    by_word, by_shape = np.split(ridge.coef_, [words.shape[1]])
    form, constant = looks.folded(by_shape)
    return FittedTiers(
        classifier=design.folded(by_word[:, None], np.array([ridge.intercept_ + constant])),
        vocabulary=design.vocabulary,
        shape=form,
        penalty=float(ridge.alpha_),
        gains=np.quantile(left_out, STEPS),
        left_out=report(left_out, pairs),
        data_digest=_digest(pairs),
        encoder_digest=embeddings.digest,
        libraries={name: version(name) for name in LIBRARIES},
    )


def _usable(pairs: Pairs) -> Pairs:
    if len(pairs) < MIN_LINES:
        raise FitError(f"{len(pairs)} lines are too few to learn from; give at least {MIN_LINES}")
    if np.ptp(pairs.gains) == 0:
        raise FitError(
            f"on all lines the strong score is {pairs.gains[0]:g} over the weak one: "
            "there is nothing to tell apart"
        )
    if len(pairs) > MAX_LINES:
        drawn = np.random.default_rng(0).choice(len(pairs), MAX_LINES, replace=False)
        return pairs.at(np.sort(drawn))
    return pairs


@dataclass(frozen=True, slots=True)
class _Looks:
    """How values and their products are brought to one size; together they are about as long as a
    text's words are."""

    mean: Floats
    scale: Floats
    product_mean: Floats
    product_scale: Floats

    @classmethod
    def of(cls, shapes: Floats) -> "_Looks":
        mean, scale = shapes.mean(axis=0), _scale(shapes)
        products = _products(_standard(shapes, mean, scale))
        return cls(mean, scale, products.mean(axis=0), _scale(products))

    def matrix(self, shapes: Floats) -> Floats:
        z = _standard(shapes, self.mean, self.scale)
        products = (_products(z) - self.product_mean) / self.product_scale
        columns = np.hstack([z, products])
        return np.asarray(columns / columns.shape[1] ** 0.5)

    def folded(self, weights: Floats) -> tuple[ShapeWeights, float]:
        """The weights of `matrix`'s columns as a form to serve, and what is left as a constant."""
        linear, square = np.split(weights / len(weights) ** 0.5, [len(self.mean)])
        square = square / self.product_scale
        upper = np.zeros((len(linear), len(linear)))
        upper[np.triu_indices(len(linear))] = square
        form = ShapeWeights(
            self.mean.tolist(), self.scale.tolist(), linear.tolist(), upper.tolist()
        )
        return form, -float(square @ self.product_mean)


def _standard(shapes: Floats, mean: Floats, scale: Floats) -> Floats:
    return np.clip((shapes - mean) / scale, -FARTHEST, FARTHEST)


def _products(z: Floats) -> Floats:
    first, second = np.triu_indices(z.shape[1])
    return z[:, first] * z[:, second]


def _scale(columns: Floats) -> Floats:
    """Standard deviations; of what is always the same, one."""
    spread = columns.std(axis=0)
    return np.where(spread > 1e-9, spread, 1.0)


def _digest(pairs: Pairs) -> str:
    rows = [pairs.prompts, pairs.weak.tolist(), pairs.strong.tolist()]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
