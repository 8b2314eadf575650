"""OpenAI's shapes for files and fine-tuning jobs, both ways.

What comes back has OpenAI's fields, and beside them what it has none for.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
)

from adapters.job import Event, TrainingJob, TrainingRequest
from adapters.uploads import Upload

# `kto` is ours: OpenAI has no method for answers with a thumb.
_METHODS: dict[str, Literal["sft", "dpo", "kto"]] = {
    "supervised": "sft",
    "dpo": "dpo",
    "kto": "kto",
}
_NAMES = {ours: theirs for theirs, ours in _METHODS.items()}


def _chosen(value: object) -> object:
    return None if value == "auto" else value


_Auto = BeforeValidator(_chosen)
_FileName = Annotated[StrictStr, Field(min_length=1, max_length=64)]
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"  # PostgreSQL takes no NUL
_Key = Annotated[StrictStr, Field(max_length=64, pattern=PRINTABLE)]
_Value = Annotated[StrictStr, Field(max_length=512, pattern=PRINTABLE)]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Hyperparameters(_Group):
    """`auto`, or left out: training's own choice."""

    n_epochs: Annotated[Annotated[StrictInt, Field(ge=1, le=50)] | None, _Auto] = None
    batch_size: Annotated[Annotated[StrictInt, Field(ge=1, le=256)] | None, _Auto] = None
    learning_rate_multiplier: Annotated[
        Annotated[StrictFloat, Field(gt=0, le=100, allow_inf_nan=False)] | None, _Auto
    ] = None


class PreferenceHyperparameters(Hyperparameters):
    """Those of DPO and KTO."""

    beta: Annotated[
        Annotated[StrictFloat, Field(gt=0, le=10, allow_inf_nan=False)] | None, _Auto
    ] = None


class Supervised(_Group):
    hyperparameters: Hyperparameters = Hyperparameters()


class Preference(_Group):
    hyperparameters: PreferenceHyperparameters = PreferenceHyperparameters()


class Method(_Group):
    """How to train."""

    type: Literal["supervised", "dpo", "kto"]
    supervised: Supervised | None = None
    dpo: Preference | None = None
    kto: Preference | None = None

    @property
    def hyperparameters(self) -> Hyperparameters:
        chosen: Supervised | Preference | None = getattr(self, self.type)
        return Hyperparameters() if chosen is None else chosen.hyperparameters


class NewJob(_Group):
    """The body of `POST /v1/fine_tuning/jobs`."""

    model: Annotated[StrictStr, Field(min_length=1, max_length=256)]
    training_file: _FileName
    validation_file: _FileName | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    suffix: Annotated[StrictStr, Field(min_length=1, max_length=64, pattern=PRINTABLE)] | None = (
        None
    )
    seed: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: Annotated[dict[_Key, _Value], Field(max_length=16)] | None = None
    integrations: Annotated[list[Any], Field(max_length=0)] | None = None

    def request(
        self, *, domain: str, seed: int, minutes: float, challenge: bool
    ) -> TrainingRequest:
        """As the queue keeps it; `seed` counts where the body has none."""
        method = self.method or Method(type="supervised")
        chosen = self.hyperparameters or method.hyperparameters
        return TrainingRequest(
            domain=domain,
            model=self.model,
            training_file=self.training_file,
            validation_file=self.validation_file,
            method=_METHODS[method.type],
            epochs=chosen.n_epochs,
            batch_size=chosen.batch_size,
            learning_rate_multiplier=chosen.learning_rate_multiplier,
            beta=chosen.beta if isinstance(chosen, PreferenceHyperparameters) else None,
            seed=seed if self.seed is None else self.seed,
            suffix=self.suffix,
            metadata=self.metadata or {},
            minutes=minutes,
            challenge=challenge,
        )


def file_object(upload: Upload) -> dict[str, Any]:
    """OpenAI's `file`."""
    return {
        "id": upload.id,
        "object": "file",
        "bytes": upload.bytes,
        "created_at": int(upload.created),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": "processed",
        "examples": dict(upload.examples),
    }


def job_object(job: TrainingJob) -> dict[str, Any]:
    """OpenAI's `fine_tuning.job`. Only a version that may be served is its `fine_tuned_model`."""
    asked, error = job.request, job.error
    chosen = {
        "n_epochs": asked.epochs or "auto",
        "batch_size": asked.batch_size or "auto",
        "learning_rate_multiplier": asked.learning_rate_multiplier or "auto",
    }
    kind = _NAMES[asked.method]
    own = chosen | ({} if kind == "supervised" else {"beta": asked.beta or "auto"})
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(job.created),
        "finished_at": None if job.finished is None else int(job.finished),
        "model": asked.model,
        "fine_tuned_model": job.version if job.verdict == "pass" else None,
        "organization_id": job.owner,
        "status": str(job.state),
        "error": None
        if error is None
        else {"code": error.code, "message": error.message, "param": error.param},
        "training_file": asked.training_file or "",
        "validation_file": asked.validation_file,
        "hyperparameters": chosen,
        "method": {"type": kind, kind: {"hyperparameters": own}},
        "seed": asked.seed,
        "metadata": asked.metadata,
        "user_provided_suffix": asked.suffix,
        "trained_tokens": job.trained_tokens,
        "estimated_finish": None,
        "result_files": [],
        "integrations": [],
        "domain": asked.domain,
        "version": job.version,
        "verdict": job.verdict,
    }


def event_object(event: Event) -> dict[str, Any]:
    """OpenAI's `fine_tuning.job.event`."""
    return {
        "id": f"ftevent-{event.id}",
        "object": "fine_tuning.job.event",
        "created_at": int(event.created),
        "level": str(event.level),
        "message": event.message,
        "type": str(event.kind),
        "data": dict(event.data),
    }


def checkpoint_object(job: TrainingJob, event: Event) -> dict[str, Any]:
    """OpenAI's `fine_tuning.job.checkpoint`. It is what a run goes on from; no engine serves it."""
    step = event.data["step"]
    names = ("step", "train_loss", "valid_loss")
    return {
        "id": f"ftckpt-{event.id}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(event.created),
        "fine_tuning_job_id": job.id,
        "fine_tuned_model_checkpoint": f"{job.request.domain}:{job.id}:ckpt-step-{step}",
        "step_number": step,
        "metrics": {name: event.data[name] for name in names if name in event.data},
    }


def page(data: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """OpenAI's list, of one more than asked for where there are more."""
    shown = list(data[:limit])
    return {
        "object": "list",
        "data": shown,
        "has_more": len(data) > limit,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }
