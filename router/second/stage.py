"""The second stage: milliseconds and a sentence encoder, for queries the first is unsure about.

Its time goes into the encoder, during which other threads run: call `decide` in a worker thread,
not in an event loop.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from router.calibration import tempered
from router.conversation import context_of
from router.decision import GENERAL, Decision
from router.errors import ArtefactError
from router.examples import read_examples
from router.policy import Thresholds, best_target, thresholds_by_label
from router.router import EXAMPLES, MANIFEST, Router, read_manifest, thresholds_in
from router.second.blend import Blend
from router.second.evidence import Evidence
from router.second.style import Style

if TYPE_CHECKING:
    from router.second.encoder import SentenceEncoder

Matrix = npt.NDArray[np.float64]

EVIDENCE = "second.safetensors"
STYLE = "style.json"
# What is kept of an example to be shown.
EXAMPLE_CHARACTERS = 300


class Neighbour(Struct, frozen=True):
    """An example and the cosine of its vector with the query's."""

    text: str
    label: str
    similarity: float


class SecondStage:
    """Immutable once made; threads may share it."""

    def __init__(
        self,
        encoder: "SentenceEncoder",
        style: Style,
        evidence: Evidence,
        blend: Blend,
        *,
        labels: tuple[str, ...],
        threshold: Thresholds = 0.0,
        temperature: float = 1.0,
        version: str = "",
        examples: Sequence[str] = (),
    ) -> None:
        self._encoder = encoder
        self._style = style
        self._evidence = evidence
        self._blend = blend
        self.labels = labels
        self.thresholds = thresholds_by_label(threshold, labels)
        self._temperature = temperature
        self.version = version
        self._examples = examples

    @property
    def threshold(self) -> float:
        """The lowest of the labels' thresholds."""
        return min(self.thresholds.values())

    @classmethod
    def load(cls, folder: Path, threshold: float | None = None) -> "SecondStage | None":
        """The second stage of a router's folder, or None if that was fitted without one."""
        manifest = read_manifest(folder / MANIFEST)
        row: dict[str, Any] | None = manifest.get("second")
        if row is None:
            return None
        # It brings onnxruntime and tokenizers, which a router without a second stage does not need.
        from router.second.encoder import SentenceEncoder

        labels = tuple(manifest["labels"])
        general = labels.index(GENERAL) if GENERAL in labels else None
        evidence = Evidence.load(folder / EVIDENCE)
        if evidence.labels != len(labels):
            raise ArtefactError(
                f"{folder}: a second stage for {evidence.labels} labels, "
                f"but the manifest names {len(labels)}; fit the router again"
            )
        return cls(
            SentenceEncoder.load(folder),
            Style.load(folder / STYLE),
            evidence,
            Blend.from_json(row["blend"], general),
            labels=labels,
            threshold=thresholds_in(manifest, row["threshold"], threshold),
            temperature=float(row.get("temperature", 1.0)),
            version=str(manifest["version"]),
            examples=_example_texts(folder / EXAMPLES, len(evidence.examples)),
        )

    def decide(
        self, text: str, first: Decision, allowed: Collection[str] | None = None
    ) -> Decision:
        """What `first`, the first stage's decision about `text`, becomes on closer inspection."""
        if not first.probabilities:
            return first
        shares = [[first.probabilities[label] for label in self.labels]]
        scores = self.probabilities([text], np.log(np.maximum(shares, 1e-12)))[0].tolist()
        probabilities = dict(zip(self.labels, scores, strict=True))
        best, target, reason = best_target(probabilities, self.thresholds, allowed)
        return Decision(
            target,
            probabilities[best],
            probabilities,
            reason,
            self.version,
            stage=2,
            impression=first.impression,
        )

    def probabilities(self, texts: Sequence[str], first: Matrix) -> Matrix:
        """[texts, labels]; `first` holds the first stage's log probabilities."""
        vectors, styles = self._encoder.encode(texts), self._style.matrix(texts)
        blended = self._blend.probabilities(*self._evidence.opinions(first, vectors, styles))
        return blended if self._temperature == 1.0 else tempered(blended, self._temperature)

    def nearest(self, text: str, count: int) -> list[Neighbour]:
        """The examples most like `text`, the nearest first; none if the artefact has no texts."""
        if not self._examples:
            return []
        similar = self._evidence.examples @ self._encoder.encode([text])[0]
        return [
            Neighbour(
                self._examples[row],
                self.labels[self._evidence.example_labels[row]],
                float(similar[row]),
            )
            for row in np.argsort(-similar, kind="stable")[:count]
        ]


def _example_texts(file: Path, count: int) -> list[str]:
    """Beginnings of the `count` texts behind the evidence; none where they were not kept."""
    if not file.is_file() or not file.stat().st_size:
        return []
    texts = [example.text[:EXAMPLE_CHARACTERS] for example in read_examples(file)]
    if len(texts) != count:
        raise ArtefactError(f"{file} holds {len(texts)} examples, not {count}; fit again")
    return texts


class Cascade:
    """Both stages behind one another, for callers that may wait."""

    def __init__(self, first: Router, second: SecondStage | None = None) -> None:
        self.first = first
        self.second = second

    @classmethod
    def load(cls, folder: Path, threshold: float | None = None) -> "Cascade":
        return cls(Router.load(folder, threshold), SecondStage.load(folder, threshold))

    @property
    def threshold(self) -> float:
        return self.first.threshold

    def decide(self, text: str, allowed: Collection[str] | None = None) -> Decision:
        return self.decide_turns((text,), allowed)

    def decide_turns(
        self, turns: Sequence[str], allowed: Collection[str] | None = None
    ) -> Decision:
        """About the last of the user's `turns`, oldest first."""
        context = context_of(self.first, turns)
        alone = self.first.decide(context.text, allowed)
        first = context.weighed(alone, self.first.thresholds, self.first.sure, allowed)
        if self.second is None or not first.unsure or not alone.probabilities:
            return first
        second = self.second.decide(context.text, alone, allowed)
        return context.weighed(second, self.second.thresholds, allowed=allowed)
