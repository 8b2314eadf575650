"""Which general tier answers what the router leaves to the first one: the model of both tiers'
quality, and the threshold the configuration asks for."""

from dataclasses import dataclass

from msgspec.structs import replace

from gateway.configuration import ConfigurationError, nearest
from gateway.settings import Settings
from router.decision import Decision, Reason
from router.router import current_folder
from router.tiers.model import TierModel

# Drawn at random, or without a word to judge by.
_AS_THEY_ARE = frozenset({Reason.EXPLORATION, Reason.EMPTY_TEXT})


@dataclass(frozen=True, slots=True)
class TierChoice:
    """`threshold` is the gain in score from which on a query goes to `strong`."""

    model: TierModel
    weak: str
    strong: str
    threshold: float

    @classmethod
    def of(cls, settings: Settings) -> "TierChoice | None":
        """None where no tiers are configured.

        Raises:
            ConfigurationError: for a tier nobody configured.
            ArtefactError: for a model that is missing or broken.
        """
        tiers = settings.router.tiers
        if tiers is None:
            return None
        names = [target.name for target in settings.targets]
        for field, name in (("weak", tiers.weak), ("strong", tiers.strong)):
            if name not in names:
                raise ConfigurationError(
                    f"router.tiers.{field}: there is no target {name!r}; {nearest(name, names)}"
                )
        if tiers.weak != names[0]:
            raise ConfigurationError(
                f"router.tiers.weak: {tiers.weak!r} is not the first of [[targets]], {names[0]!r}, "
                "which is where general queries go"
            )
        folder = current_folder(settings.artifact_root / "tiers")
        if folder is None:
            raise ConfigurationError(
                "router.tiers: no model is fitted; run `turnout router tiers fit --data F`"
            )
        model = TierModel.load(folder)
        threshold = tiers.threshold
        if threshold is None:
            threshold = model.threshold_at(tiers.strong_share or 0.0)
        return cls(model, tiers.weak, tiers.strong, threshold)

    def applied(self, decision: Decision, text: str) -> Decision:
        """The decision about `text`, or the strong tier where that is worth its price."""
        if decision.target != self.weak or decision.reason in _AS_THEY_ARE or not text.strip():
            return decision
        if self.model.gain(text) < self.threshold:
            return decision
        return replace(decision, target=self.strong, reason=Reason.TIER)
