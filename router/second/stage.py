"""The second stage: milliseconds and a sentence encoder, for queries the first is unsure about.

Its time goes into matrix products, during which numpy lets other threads run: call `decide` in a
worker thread, not in an event loop.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from router.decision import GENERAL, Decision
from router.errors import ArtefactError
from router.policy import final_target
from router.router import MANIFEST, Router, read_manifest
from router.second.blend import Blend
from router.second.encoder import SentenceEncoder
from router.second.evidence import Evidence
from router.second.style import Style

Matrix = npt.NDArray[np.float64]

EVIDENCE = "second.safetensors"
STYLE = "style.json"


class SecondStage:
    """Immutable once made; threads may share it."""

    def __init__(
        self,
        encoder: SentenceEncoder,
        style: Style,
        evidence: Evidence,
        blend: Blend,
        *,
        labels: tuple[str, ...],
        threshold: float = 0.0,
        version: str = "",
    ) -> None:
        self._encoder = encoder
        self._style = style
        self._evidence = evidence
        self._blend = blend
        self.labels = labels
        self.threshold = threshold
        self.version = version

    @classmethod
    def load(cls, folder: Path, threshold: float | None = None) -> "SecondStage | None":
        """The second stage of a router's folder, or None if that was fitted without one."""
        manifest = read_manifest(folder / MANIFEST)
        row: dict[str, Any] | None = manifest.get("second")
        if row is None:
            return None
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
            threshold=float(row["threshold"] if threshold is None else threshold),
            version=str(manifest["version"]),
        )

    def decide(
        self, text: str, first: Decision, allowed: Collection[str] | None = None
    ) -> Decision:
        """What `first`, the first stage's decision about `text`, becomes on closer inspection."""
        if not first.probabilities:
            return first
        shares = [[first.probabilities[label] for label in self.labels]]
        scores = self.probabilities([text], np.log(np.maximum(shares, 1e-12)))[0].tolist()
        probability = max(scores)
        best = self.labels[scores.index(probability)]
        target, reason = final_target(best, probability, self.threshold, allowed)
        probabilities = dict(zip(self.labels, scores, strict=True))
        return Decision(target, probability, probabilities, reason, self.version, stage=2)

    def probabilities(self, texts: Sequence[str], first: Matrix) -> Matrix:
        """[texts, labels]; `first` holds the first stage's log probabilities."""
        vectors, styles = self._encoder.encode(texts), self._style.matrix(texts)
        return self._blend.probabilities(*self._evidence.opinions(first, vectors, styles))


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
        decision = self.first.decide(text, allowed)
        if self.second is None or not decision.unsure:
            return decision
        return self.second.decide(text, decision, allowed)
