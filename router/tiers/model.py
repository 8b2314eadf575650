"""How much better the strong tier would answer a prompt, ready to say; knows nothing of prices."""

import math
from bisect import bisect_left
from pathlib import Path

import msgspec
from msgspec import Struct

from router.classifier import LinearClassifier
from router.errors import ArtefactError
from router.features import Vocabulary
from router.tiers.shape import ShapeWeights

FORMAT = 1
MANIFEST = "tiers.json"
VOCABULARY = "vocabulary.json"
WEIGHTS = "weights.safetensors"


class Manifest(Struct, frozen=True):
    """What a fit leaves beside words and weights.

    Args:
        n: lines it was fitted on.
        gains: expected gains of those lines, each by a fit without it, in ascending order at even
            steps: the quantiles that a share of calls is turned into a threshold by.
        shape: what the look of a prompt adds to what its words say.
        penalty: of the ridge regression, chosen by leaving one line out.
        left_out: APGR and CPT of the gains that `gains` are quantiles of; None without a gap.
    """

    format: int
    version: str
    created: str
    n: int
    gains: list[float]
    shape: ShapeWeights
    penalty: float
    left_out: dict[str, float | None]
    data_digest: str
    encoder_digest: str
    libraries: dict[str, str]


class TierModel:
    """Immutable once made; threads may share it."""

    def __init__(
        self, vocabulary: Vocabulary, classifier: LinearClassifier, manifest: Manifest
    ) -> None:
        self._vocabulary = vocabulary
        self._classifier = classifier
        self.manifest = manifest

    @property
    def version(self) -> str:
        return self.manifest.version

    @classmethod
    def load(cls, folder: Path) -> "TierModel":
        """Read what `turnout router tiers fit` wrote; raises ArtefactError if it is not whole."""
        manifest = _read_manifest(folder / MANIFEST)
        vocabulary = Vocabulary.load(folder / VOCABULARY)
        classifier = LinearClassifier.load(folder / WEIGHTS)
        expected = (len(vocabulary.words), len(vocabulary.pairs), 1)
        found = (len(classifier.words), len(classifier.pairs), len(classifier.bias))
        if expected != found:
            raise ArtefactError(
                f"{folder}: weights for {found} words, pairs and outputs, but the vocabulary has "
                f"{expected}; run `turnout router tiers fit` again"
            )
        return cls(vocabulary, classifier, manifest)

    def gain(self, prompt: str) -> float:
        """The strong answer's expected score less the weak one's."""
        features = self._vocabulary.features(prompt)
        (said,) = self._classifier.logits(features, self._vocabulary)
        return said + self.manifest.shape.score(prompt)

    def threshold_at(self, share: float) -> float:
        """The gain that this share of prompts like the fit's reaches."""
        if share <= 0:
            return math.inf
        if share >= 1:
            return -math.inf
        place = (1 - share) * (len(self.manifest.gains) - 1)
        low = int(place)
        least, most = self.manifest.gains[low : low + 2]
        return least + (place - low) * (most - least)

    def share_at(self, threshold: float) -> float:
        """The share of prompts like the fit's that reach this gain, to one step of `gains`."""
        gains = self.manifest.gains
        return 1 - bisect_left(gains, threshold) / len(gains)


def _read_manifest(file: Path) -> Manifest:
    again = "run `turnout router tiers fit` again"
    try:
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
    except FileNotFoundError as exc:
        raise ArtefactError(
            f"{file} is missing; make one with: turnout router tiers fit --data F"
        ) from exc
    except (OSError, msgspec.DecodeError) as exc:
        raise ArtefactError(f"{file} is not a tier model's ({exc}); {again}") from exc
    if manifest.format != FORMAT:
        raise ArtefactError(
            f"{file} has format {manifest.format}, this version reads {FORMAT}; {again}"
        )
    return manifest
