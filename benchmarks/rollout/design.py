"""The experiment that is run, and what it may take at most: said before it begins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.experiments.design import Arm, Experiment, Limits
from adapters.experiments.forecast import Forecast, forecast
from adapters.experiments.measures import Guardrail, Metric
from adapters.experiments.statistics.populations import Proportion
from benchmarks.rollout.users import Manner

CONTROL, CHALLENGER = "control", "challenger"
_FORECASTS = 500
# Losing a replica's time slice on a shared core is no harm: twice as slow is.
_GUARDRAILS = (
    Guardrail("error", 0.05),
    Guardrail("fallback", 0.05),
    Guardrail("refusal", 0.05),
    Guardrail("total_ms", 1.0, relative=True),
)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a rollout goes: percent by stage, units of the challenger in each, and the difference of
    thumbs that counts."""

    stages: tuple[float, ...] = (10.0, 25.0, 50.0, 100.0)
    stage_units: int = 30
    effect: float = 0.2

    def forecast(self) -> Forecast:
        """As `turnout experiments simulate` tells it for the worst case: a challenger whose thumbs
        are half up, where they vary most, at the first stage's share, the smallest."""
        control = Proportion(0.5 - self.effect)
        share = self.stages[0] / 100
        return forecast(control, self.effect, share=share, experiments=_FORECASTS)

    def most_units(self, told: Forecast, manner: Manner) -> int:
        """Sessions until the forecast's horizon, of which not each brings feedback."""
        return math.ceil(told.horizon_units / manner.sessions_judged)

    def experiment(
        self, name: str, domain: str, models: Sequence[str], units: int, salt: str
    ) -> Experiment:
        """Between a champion and a challenger, by the versions' names."""
        limits = Limits(units=units, stage_units=self.stage_units, stage_hours=0.0)
        return Experiment(
            name=name,
            domain=domain,
            arms=(Arm(CONTROL, models[0]), Arm(CHALLENGER, models[1])),
            owner="benchmark",
            salt=salt,
            metric=Metric("thumb", minimum_effect=self.effect),
            guardrails=_GUARDRAILS,
            limits=limits,
            stages=self.stages,
        )
