"""The experiment that a new challenger gets where nobody designs one."""

from dataclasses import dataclass

from adapters.experiments.design import BASE_ARM, DEFAULT_STAGES, Arm, Experiment, Limits
from adapters.experiments.measures import Metric

CONTROL, CHALLENGER = "champion", "challenger"
_OWNER = "training"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a challenger is tried against what serves.

    Args:
        automatic: false leaves challengers to people.
        metric: feedback's metric that decides, and the difference in it that counts as better.
        margin: enough is that the challenger is not worse by more; it takes the effect's place.
        stages: percent of the domain's units for the challenger, one after another.
        days: after which it ends, decided or not.
        approval: a person has to agree before the challenger becomes champion.
    """

    automatic: bool = True
    metric: str = "thumb"
    minimum_effect: float = 0.05
    margin: float | None = None
    stages: tuple[float, ...] = DEFAULT_STAGES
    stage_units: int = 100
    stage_hours: float = 1.0
    days: float = 14.0
    cooldown_hours: float = 24.0
    approval: bool = False

    def experiment(self, domain: str, champion: str | None, challenger: str) -> Experiment:
        """Named like the challenger, so that it gets one and no second. Raises ValueError where the
        plan contradicts itself."""
        effect = None if self.margin is not None else self.minimum_effect
        return Experiment(
            name=challenger,
            domain=domain,
            arms=(Arm(CONTROL, champion or BASE_ARM), Arm(CHALLENGER, challenger)),
            owner=_OWNER,
            metric=Metric(self.metric, minimum_effect=effect, margin=self.margin),
            limits=Limits(
                days=self.days,
                approval=self.approval,
                stage_units=self.stage_units,
                stage_hours=self.stage_hours,
                cooldown_hours=self.cooldown_hours,
            ),
            stages=self.stages,
        )
