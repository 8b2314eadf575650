"""Where examples come from, and how to hold places back: for each label its sources, or clusters of
its examples where sources are not known."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# A smaller source joins those that have its name up to the first slash.
LEAST_SOURCE = 60
CLUSTERS = 4

Fold = tuple[Numbers, Numbers]


def origins_of(sources: Sequence[str], labels: Numbers, vectors: Floats, seed: int) -> Numbers:
    """A number for each row; rows of one origin share a label."""
    merged = _merged(sources)
    found = np.zeros(len(labels), dtype=np.int64)
    total = 0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        names = [merged[row] for row in rows]
        distinct = sorted(set(names))
        if len(distinct) > 1:
            places = np.array([distinct.index(name) for name in names])
        else:
            clusters = min(CLUSTERS, len(rows))
            places = KMeans(clusters, n_init=2, random_state=seed).fit_predict(vectors[rows])
        found[rows] = total + places
        total += int(places.max()) + 1
    return found


def held_out(origins: Numbers, labels: Numbers, folds: int) -> Iterator[Fold]:
    """Rows to learn from and rows of origins not among them, each row held out once.

    Of each label a fold holds back one origin, or a few of the many, never all.
    """
    places = np.zeros(len(labels), dtype=np.int64)
    for number, label in enumerate(np.unique(labels)):
        inside = labels == label
        sizes = Counter(origins[inside].tolist())
        ordered = sorted(sizes, key=lambda origin: (-sizes[origin], origin))
        for rank, origin in enumerate(ordered):
            # Few origins are spread over the folds.
            place = rank if len(ordered) >= folds else rank * folds // len(ordered)
            places[inside & (origins == origin)] = (place + number) % folds
    for fold in range(folds):
        outside = places == fold
        if outside.any():
            yield np.flatnonzero(~outside), np.flatnonzero(outside)


def _merged(sources: Sequence[str]) -> list[str]:
    sizes = Counter(sources)
    return [source if sizes[source] >= LEAST_SOURCE else source.split("/")[0] for source in sources]
