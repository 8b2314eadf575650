"""A fitted router, ready to decide; the same object answers live traffic and evaluations."""

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from msgspec import ValidationError, convert

from router.classifier import LinearClassifier
from router.decision import GENERAL, Decision, Impression, Reason
from router.errors import ArtefactError
from router.features import Vocabulary
from router.policy import Thresholds, best_target, thresholds_by_label
from router.reference import Reference

FORMAT = 1
MANIFEST = "manifest.json"
VOCABULARY = "vocabulary.json"
WEIGHTS = "weights.safetensors"
EXAMPLES = "examples.jsonl"


class Router:
    """Immutable once made, so one may be shared by threads and swapped for the next."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        classifier: LinearClassifier,
        *,
        labels: tuple[str, ...],
        temperature: float = 1.0,
        threshold: Thresholds = 0.0,
        sure: float = 0.0,
        version: str = "",
        reference: Reference | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.classifier = classifier
        self.temperature = temperature
        self.labels = labels
        self.thresholds = thresholds_by_label(threshold, labels)
        self.sure = sure
        self.version = version
        self.reference = reference

    @property
    def threshold(self) -> float:
        """The lowest of the labels' thresholds."""
        return min(self.thresholds.values())

    @classmethod
    def load(cls, folder: Path, threshold: float | None = None) -> "Router":
        """Read what `turnout router fit` wrote; raises ArtefactError if it is not whole.

        `threshold` takes the place of all that were fitted or chosen for a goal.
        """
        manifest = read_manifest(folder / MANIFEST)
        classifier = LinearClassifier.load(folder / WEIGHTS)
        vocabulary = Vocabulary.load(folder / VOCABULARY)
        labels = tuple(manifest["labels"])
        expected = (len(vocabulary.words), len(vocabulary.pairs), len(labels))
        found = (len(classifier.words), len(classifier.pairs), len(classifier.bias))
        if expected != found:
            raise ArtefactError(
                f"{folder}: weights for {found} words, pairs and labels, "
                f"but the vocabulary and manifest name {expected}; fit the router again"
            )
        return cls(
            vocabulary,
            classifier,
            labels=labels,
            temperature=float(manifest["temperature"]),
            threshold=thresholds_in(manifest, manifest["threshold"], threshold),
            sure=float(manifest.get("sure", 0.0)),
            version=str(manifest["version"]),
            reference=reference_in(manifest),
        )

    def decide(self, text: str, allowed: Collection[str] | None = None) -> Decision:
        """Where `text` should go; of the domains only those in `allowed`, None allowing all.

        Costs tens of microseconds; long text is judged by its beginning and its end. The first
        stage of a cascade: below the probability `sure` its decision is marked as unsure.
        """
        features = self.vocabulary.features(text)
        if not features.words and not features.unseen:
            return Decision(GENERAL, 0.0, {}, Reason.EMPTY_TEXT, self.version)
        logits = self.classifier.logits(features, self.vocabulary)
        scores = _softmax(logits, self.temperature)
        probabilities = dict(zip(self.labels, scores, strict=True))
        best, target, reason = best_target(probabilities, self.thresholds, allowed)
        probability = probabilities[best]
        unseen, unsure = len(features.unseen), probability < self.sure
        unknown = unseen / (unseen + len(features.words))
        return Decision(
            target,
            probability,
            probabilities,
            reason,
            self.version,
            unsure=unsure,
            impression=Impression(best, probability, len(text), unknown, unsure),
        )


def _softmax(logits: list[float], temperature: float) -> list[float]:
    """Probabilities; for a handful of labels plain Python is quicker than numpy."""
    most = max(logits)
    exponentials = [math.exp((logit - most) / temperature) for logit in logits]
    total = sum(exponentials)
    return [value / total for value in exponentials]


def thresholds_in(manifest: Mapping[str, Any], fitted: float, chosen: float | None) -> Thresholds:
    """`chosen`, or those that were chosen for a goal, or the stage's `fitted` one."""
    if chosen is not None:
        return chosen
    for_goal: Mapping[str, float] | None = manifest.get("thresholds")
    return float(fitted) if for_goal is None else for_goal


def reference_in(manifest: Mapping[str, Any]) -> Reference | None:
    """None in the manifest of a router that was fitted without one."""
    row = manifest.get("reference")
    if row is None:
        return None
    try:
        reference = convert(row, Reference)
    except ValidationError as exc:
        raise ArtefactError(
            f"the manifest's 'reference' cannot be read ({exc}); fit again"
        ) from exc
    if reference.labels != tuple(manifest["labels"]):
        raise ArtefactError("the manifest's 'reference' is of other labels; fit again")
    return reference


def current_folder(root: Path) -> Path | None:
    """The router under `root` that current.json points to, or None before the first fit."""
    pointer = root / "current.json"
    try:
        version = json.loads(pointer.read_bytes())["version"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as exc:
        raise ArtefactError(f"{pointer} does not name a version; fit the router again") from exc
    return root / str(version)


def read_manifest(file: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(file.read_bytes())
    except FileNotFoundError as exc:
        raise ArtefactError(f"{file} is missing; make a router with: turnout router fit") from exc
    except ValueError as exc:
        raise ArtefactError(f"{file} is not JSON; fit the router again") from exc
    needed = {"format", "version", "labels", "temperature", "threshold"}
    if not isinstance(manifest, dict) or not needed <= manifest.keys():
        raise ArtefactError(f"{file} lacks one of {', '.join(sorted(needed))}; fit again")
    if manifest["format"] != FORMAT:
        raise ArtefactError(
            f"{file} has format {manifest['format']}, this version reads {FORMAT}; fit again"
        )
    return manifest
