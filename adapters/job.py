"""A training job as a value: what was asked for, how far it is, what happened to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct, convert
from sqlalchemy import Row

TRIGGER = "trigger"  # the owner of jobs that no key asked for


class JobState(StrEnum):
    """Where a job stands. It may be changed as long as it is not over."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = frozenset({JobState.QUEUED, JobState.RUNNING, JobState.PAUSED})


class EventKind(StrEnum):
    """What an event tells: something to read, the figures of a step, a checkpoint to go on from."""

    MESSAGE = "message"
    METRICS = "metrics"
    CHECKPOINT = "checkpoint"


class Level(StrEnum):
    """How bad an event is."""

    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class TrainingRequest(Struct, frozen=True):
    """What to train. `model` is what the caller asked for, files are uploads; what is None is left
    to training. `minutes` is for the training itself.

    `challenge`: a version that the gate passes becomes its domain's challenger.
    """

    domain: str
    model: str
    training_file: str | None = None
    validation_file: str | None = None
    from_log: bool = False
    method: Literal["sft", "dpo", "kto"] = "sft"
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None
    beta: float | None = None
    seed: int = 0
    suffix: str | None = None
    metadata: dict[str, str] = {}
    minutes: float | None = None
    challenge: bool = True


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed; `param` names the field of the request that was the reason."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A job as it stands. Times are unix seconds; `seconds` is what its runs took together.

    `version` is what it made, whatever the gate's `verdict`.
    """

    id: str
    owner: str
    created: float
    request: TrainingRequest
    state: JobState
    started: float | None
    finished: float | None
    seconds: float
    version: str | None
    verdict: str | None
    trained_tokens: int | None
    error: JobError | None
    deaths: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job; `id` grows with time."""

    id: int
    created: float
    kind: EventKind
    level: Level
    message: str
    data: Mapping[str, Any]


class Note(Struct, frozen=True):
    """An event to be."""

    message: str
    kind: EventKind = EventKind.MESSAGE
    level: Level = Level.INFO
    data: Mapping[str, Any] = {}
    created: float | None = None


def read_job(row: Row[Any]) -> TrainingJob:
    """A row of the table as a job."""
    return TrainingJob(
        id=row.id,
        owner=row.owner,
        created=row.created,
        request=convert(row.request, TrainingRequest),
        state=JobState(row.state),
        started=row.started,
        finished=row.finished,
        seconds=row.seconds,
        version=row.version,
        verdict=row.verdict,
        trained_tokens=row.trained_tokens,
        error=None if row.error is None else JobError(**row.error),
        deaths=row.deaths,
    )
