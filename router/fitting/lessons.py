"""What a fit learns from: queries with their sources, documents and topics, labels as numbers."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from router.decision import GENERAL
from router.errors import FitError
from router.examples import Example
from router.fitting.topics import topics_of

MIN_EXAMPLES = 4
DOCUMENT_CHARACTERS = 600

Labels = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FitArguments:
    """How a router is fitted.

    `strength` is the inverse of the regularisation, `document_weight` and `topic_weight` what a
    document and a topic count against a query's 1. A `threshold` of None is chosen by
    `calibration.fitted_threshold`. `second_share` of queries like the examples go on to the
    second stage, those that the first is least sure of: it sets what a decision costs on average.
    """

    strength: float = 10.0
    document_weight: float = 0.1
    topic_weight: float = 0.3
    folds: int = 5
    source_folds: int = 8
    seed: int = 0
    threshold: float | None = None
    second_share: float = 0.30


@dataclass(frozen=True, slots=True)
class Aside:
    """Texts that are no queries but teach a label's words, and what each counts."""

    texts: list[str]
    labels: Labels
    weights: Matrix


@dataclass(frozen=True, slots=True)
class Lessons:
    """Queries with their sources and weakly labelled texts, labels as numbers."""

    texts: list[str]
    labels: Labels
    sources: list[str]
    documents: Aside
    topics: Aside
    names: tuple[str, ...]

    @property
    def general(self) -> int | None:
        return self.names.index(GENERAL) if GENERAL in self.names else None

    def fewest(self) -> int:
        """Queries of the label that has the fewest."""
        return int(np.bincount(self.labels).min())

    def counted(self, labels: Labels) -> dict[str, int]:
        """How often each name is in `labels`."""
        counts = np.bincount(labels, minlength=len(self.names)).tolist()
        return dict(zip(self.names, counts, strict=True))

    def examples(self) -> list[Example]:
        """The queries, in the order of the rows of all that is fitted on them."""
        rows = zip(self.texts, self.labels, self.sources, strict=True)
        return [Example(text, self.names[label], source=source) for text, label, source in rows]

    def digest(self) -> str:
        """Names the data: equal for equal queries and documents, whatever their order was."""
        digest = hashlib.sha256()
        for row in _named_rows(self):
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()


def lessons_from(
    examples: Sequence[Example], documents: Mapping[str, Sequence[str]], arguments: FitArguments
) -> Lessons:
    """Distinct, sorted queries: their order in a file must not change the folds."""
    sources = {(e.text.strip(), e.label): e.source for e in reversed(examples) if e.text.strip()}
    pairs = sorted(sources)
    counts = Counter(label for _, label in pairs)
    if len(counts) < 2:
        raise FitError(f"a router needs at least two labels, the data has {sorted(counts)}")
    for label, count in sorted(counts.items()):
        if count < MIN_EXAMPLES:
            raise FitError(
                f"label {label!r} has {count} distinct examples, a fit needs {MIN_EXAMPLES}; "
                "write more or remove it"
            )
    names = tuple(sorted(counts))
    cut = {
        label: [text[:DOCUMENT_CHARACTERS] for text in sorted(documents.get(label, ()))]
        for label in names
    }
    topics = _topics(names)
    topic_weights = {
        label: arguments.topic_weight * min(1.0, counts[label] / len(entries))
        for label, entries in topics.items()
    }
    return Lessons(
        texts=[text for text, _ in pairs],
        labels=np.array([names.index(label) for _, label in pairs]),
        sources=[sources[pair] for pair in pairs],
        documents=_aside(cut, names, dict.fromkeys(names, arguments.document_weight)),
        topics=_aside(topics, names, topic_weights),
        names=names,
    )


def _topics(names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Those of `general` only beside topics of every domain: alone they would claim a domain's
    subjects for general."""
    found = topics_of(names)
    if len(found) < len(names):
        found.pop(GENERAL, None)
    return found


def _aside(
    texts: Mapping[str, Sequence[str]], names: Sequence[str], weights: Mapping[str, float]
) -> Aside:
    rows = [(text, label) for label in names for text in texts.get(label, ())]
    return Aside(
        [text for text, _ in rows],
        np.array([names.index(label) for _, label in rows], dtype=np.int64),
        np.array([weights[label] for _, label in rows], dtype=np.float64),
    )


def _named_rows(data: Lessons) -> Iterator[tuple[str, str, str]]:
    for text, label in zip(data.texts, data.labels, strict=True):
        yield "query", text, data.names[label]
    for kind, aside in (("document", data.documents), ("topic", data.topics)):
        for text, label in zip(aside.texts, aside.labels, strict=True):
            yield kind, text, data.names[label]
