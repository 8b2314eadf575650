"""The settings under `[training]`: what trains by itself, when, and how much may be asked for."""

from datetime import datetime
from typing import Annotated

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

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
    triggers: TriggerSettings = TriggerSettings()
