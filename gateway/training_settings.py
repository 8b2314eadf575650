"""The settings under `[training]`: what trains by itself, when, and how much may be asked for."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Self

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, model_validator

from adapters.experiments.design import DEFAULT_STAGES
from adapters.experiments.measures import MetricName
from adapters.experiments.plan import Plan
from gateway.router_settings import Group


def _schedule(text: str) -> str:
    try:
        CronSim(text, datetime(2026, 1, 1))
    except CronSimError as exc:
        raise ValueError(f"{text!r} is not cron's five fields, such as '0 3 * * 1': {exc}") from exc
    return text


Hours = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]


class TriggerSettings(Group):
    """What `training.service.triggers.Rules` takes."""

    feedback: int | None = Field(
        None,
        ge=1,
        description="Usable judged answers of a domain since its last run that start one; some "
        "hundreds teach more than some tens.",
    )
    schedule: Annotated[str, AfterValidator(_schedule)] | None = Field(
        None, description="Cron's five fields on the host's clock, such as `0 3 * * 1`."
    )
    drift: float | None = Field(
        None, gt=0, description="Drift that starts a run; 0.25 is what PSI calls a large change."
    )
    cooldown_hours: float = Field(
        24, ge=0, description="How long a domain waits after a run that came to nothing."
    )
    minutes_per_day: float | None = Field(
        None, gt=0, description="Most that triggered runs may take in a day, evaluation included."
    )
    only_between: Hours | None = Field(
        None, description="When triggered runs may be under way, such as `22:00-06:00`."
    )
    never_between: Hours | None = Field(
        None, description="When they may not be, such as `08:00-18:00`."
    )
    domains: tuple[str, ...] = Field((), description="Domains that are watched; none for all.")


class RolloutSettings(Group):
    """What `adapters.experiments.plan.Plan` takes."""

    automatic: bool = Field(
        True,
        description="A triggered run's version gets a rollout by itself, once the gate passed it.",
    )
    metric: MetricName = Field(
        "thumb", description="Metric that decides, such as feedback's `thumb`."
    )
    minimum_effect: float = Field(
        0.05, gt=0, description="Difference in the metric that counts as better."
    )
    margin: float | None = Field(
        None,
        gt=0,
        description="Instead: enough is that the version is not worse by more than this.",
    )
    stages: tuple[float, ...] = Field(
        DEFAULT_STAGES, description="Percent of the domain's traffic, one after another."
    )
    stage_units: int = Field(100, ge=1, description="Units of a stage at the least.")
    stage_hours: float = Field(1.0, ge=0, description="Hours of a stage at the least.")
    days: float = Field(14.0, gt=0, description="After which it ends, decided or not.")
    cooldown_hours: float = Field(
        24.0, ge=0, description="How long the domain gets no other after a rollback."
    )
    approval: bool = Field(
        False, description="A person has to agree before the version becomes champion."
    )

    @model_validator(mode="after")
    def _makes_an_experiment(self) -> Self:
        Plan(**self.model_dump()).experiment("domain", None, "domain--v1-00000000")
        return self


class CriteriaSettings(Group):
    """How sure the gate has to be; `training.evaluation.gate.Criteria` takes it."""

    alpha: float = Field(
        0.025,
        gt=0,
        le=0.2,
        description="Of candidates that are no better than a rival, the most that may be called "
        "better.",
    )
    margin: float = Field(
        0.05, ge=0, lt=1, description="Loss of a protected capability that is put up with."
    )
    demand_retention: bool = Field(
        False,
        description="A capability has to be surely kept to within the margin, which takes hundreds "
        "of rows; else it must not be surely lost.",
    )


class TrialSettings(Group):
    """How much a candidate's trial asks; `training.evaluation.trial.TrialSettings` takes it."""

    rows: int = Field(300, ge=20, description="Held-out rows of each task.")
    prompt_rows: int = Field(
        20,
        ge=0,
        description="Validation rows of each task by which the base model's prompt is chosen; with "
        "0 it is asked as it is.",
    )
    protected_rows: int = Field(40, ge=1, description="Rows of each protected capability.")
    criteria: CriteriaSettings = CriteriaSettings()


class TrainingSettings(Group):
    """Everything under `[training]`."""

    automatic: bool = Field(
        True, description="`turnout up` trains a first adapter for packs that have none."
    )
    minutes: float = Field(6.0, gt=0, description="Time budget of such a run, or a triggered one.")
    worker: bool = Field(
        True,
        description="`turnout up` works on the queue; false where `turnout jobs work` runs.",
    )
    general: Path | None = Field(
        None,
        description="JSONL chat file of what adapters are held to say as the base model says it, "
        "against forgetting; none: a small set of the package's own.",
    )
    general_share: float = Field(
        0.1, ge=0, lt=1, description="Share of such rows among all that a run learns from."
    )
    grounded_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of a domain's rows that are learned with the passages of its index; "
        "with any, the trial asks with passages as well. The log's rows have theirs anyway.",
    )
    protect: tuple[Path, ...] = Field(
        (),
        description="JSONL chat files of what no adapter may forget, by task; none: a small set of "
        "arithmetic, instructions and common knowledge.",
    )
    job_minutes: float = Field(
        60, gt=0, description="Most that the training of a job over HTTP may take."
    )
    jobs_per_key: int = Field(
        10, ge=1, description="Jobs of a key that may be open at once; more get 429."
    )
    file_bytes: int = Field(
        64 * 2**20, ge=1024, description="Largest upload; more get 413, as a job reads it whole."
    )
    key_bytes: int = Field(
        2**30, ge=1024, description="Most that the uploads of a key may hold together."
    )
    opted_out: tuple[str, ...] = Field(
        (), description="Ids of keys (`turnout keys list`) whose answers are never trained on."
    )
    triggers: TriggerSettings = TriggerSettings()
    trial: TrialSettings = TrialSettings()
    rollout: RolloutSettings = RolloutSettings()
