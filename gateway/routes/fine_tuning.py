"""`/v1/fine_tuning/jobs`: the queue of training jobs. A worker, a process elsewhere, empties it."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from adapters.job import EventKind, TrainingJob
from adapters.uploads import Upload
from gateway.access import Caller, Role
from gateway.catalog import Catalog
from gateway.deps import CallerDep, Parts, PartsDep
from gateway.errors import BadRequest, RateLimited
from gateway.protocols.fine_tuning import (
    NewJob,
    checkpoint_object,
    event_object,
    job_object,
    page,
)
from gateway.routes.files import whose

api = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["training"])

_Limit = Annotated[int, Query(ge=1, le=1000)]
_After = Annotated[str | None, Query(max_length=64)]
_TOLD = (EventKind.MESSAGE, EventKind.METRICS)
_RETRY_SECONDS = 60
# What a method learns from, as uploads count it.
_NEEDS = {"sft": "sft", "dpo": "preference", "kto": "kto"}


@api.post("")
async def create(body: NewJob, parts: PartsDep, caller: CallerDep) -> dict[str, Any]:
    """Put a job into the queue; the model it ends with is its domain's next adapter version."""
    return job_object(await asyncio.to_thread(_created, parts, caller, body))


@api.get("")
async def list_jobs(
    request: Request,
    parts: PartsDep,
    caller: CallerDep,
    limit: _Limit = 20,
    after: _After = None,
) -> dict[str, Any]:
    """The caller's jobs, newest first; an admin's list has everybody's."""
    found = await asyncio.to_thread(
        parts.jobs.jobs,
        whose(caller),
        metadata=_metadata(request),
        after=after,
        limit=limit + 1,
    )
    return page([job_object(job) for job in found], limit)


@api.get("/{job}")
async def one_job(job: str, parts: PartsDep, caller: CallerDep) -> dict[str, Any]:
    """One job."""
    return job_object(await asyncio.to_thread(parts.jobs.job, job, whose(caller)))


@api.post("/{job}/cancel")
async def cancel(job: str, parts: PartsDep, caller: CallerDep) -> dict[str, Any]:
    """End a job; a running one stops within seconds."""
    return await _changed(parts.jobs.cancel, job, caller)


@api.post("/{job}/pause")
async def pause(job: str, parts: PartsDep, caller: CallerDep) -> dict[str, Any]:
    """Hold a job; a running one stops within seconds."""
    return await _changed(parts.jobs.pause, job, caller)


@api.post("/{job}/resume")
async def resume(job: str, parts: PartsDep, caller: CallerDep) -> dict[str, Any]:
    """Put a held job into the queue again."""
    return await _changed(parts.jobs.resume, job, caller)


@api.get("/{job}/events")
async def events(
    job: str, parts: PartsDep, caller: CallerDep, limit: _Limit = 20, after: _After = None
) -> dict[str, Any]:
    """What happened to a job, and the figures of its steps, newest first."""

    def found() -> list[dict[str, Any]]:
        seen = parts.jobs.job(job, whose(caller))
        before = _number(after, "ftevent-")
        some = parts.jobs.events(seen.id, _TOLD, after=before, limit=limit + 1)
        return [event_object(event) for event in some]

    return page(await asyncio.to_thread(found), limit)


@api.get("/{job}/checkpoints")
async def checkpoints(
    job: str, parts: PartsDep, caller: CallerDep, limit: _Limit = 10, after: _After = None
) -> dict[str, Any]:
    """Where a job can go on from after an interruption, newest first."""

    def found() -> list[dict[str, Any]]:
        seen = parts.jobs.job(job, whose(caller))
        before = _number(after, "ftckpt-")
        kinds = (EventKind.CHECKPOINT,)
        some = parts.jobs.events(seen.id, kinds, after=before, limit=limit + 1)
        return [checkpoint_object(seen, event) for event in some]

    return page(await asyncio.to_thread(found), limit)


async def _changed(change: Callable[..., TrainingJob], job: str, caller: Caller) -> dict[str, Any]:
    changed = await asyncio.to_thread(change, job, whose(caller), actor=caller.key)
    return job_object(changed)


def _created(parts: Parts, caller: Caller, body: NewJob) -> TrainingJob:
    catalog = parts.catalog.now
    settings, domain = catalog.settings.training, _domain(catalog, body)
    caller.check(domain)
    request = body.request(
        domain=domain,
        seed=secrets.randbelow(2**31),
        minutes=settings.job_minutes,
        challenge=caller.role is Role.ADMIN,
    )
    needed = _NEEDS[request.method]
    _check_file(parts, caller, "training_file", body.training_file, needed)
    if body.validation_file is not None:
        _check_file(parts, caller, "validation_file", body.validation_file, "sft", needed)
    if parts.jobs.open_jobs(caller.key) >= settings.jobs_per_key:
        raise RateLimited(
            f"key {caller.key} has {settings.jobs_per_key} open jobs (training.jobs_per_key); "
            "wait for one, or cancel one",
            _RETRY_SECONDS,
        )
    return parts.jobs.add(request, caller.key)


def _domain(catalog: Catalog, body: NewJob) -> str:
    """Whose adapter is to be trained: `model` names a domain, or a base model and `suffix` does."""
    model = catalog.settings.aliases.get(body.model, body.model)
    if model in catalog.domains:
        return model
    bases = {domain.engine.model for domain in catalog.domains.values()} | set(catalog.tiers)
    names = ", ".join(catalog.domains) or "none is configured"
    if model not in bases | {"auto"}:
        raise BadRequest(
            f"no adapter of {body.model!r:.80} can be trained; name a domain: {names}",
            param="model",
            code="model_not_found",
        )
    if body.suffix is None or body.suffix not in catalog.domains:
        raise BadRequest(
            f"{body.model!r} has adapters for several domains; name one as `model`, or as "
            f"`suffix`: {names}",
            param="suffix",
        )
    return body.suffix


def _check_file(parts: Parts, caller: Caller, param: str, name: str, *kinds: str) -> Upload:
    found = parts.uploads.upload(name, whose(caller))
    if not any(found.examples.get(kind) for kind in kinds):
        held = ", ".join(f"{n} {one}" for one, n in found.examples.items())
        wanted = " or ".join(dict.fromkeys(kinds))
        raise BadRequest(f"{param}: {found.id} holds no {wanted} examples, but {held}", param=param)
    return found


def _metadata(request: Request) -> dict[str, str]:
    """The filter `metadata[KEY]=VALUE`, as OpenAI's client writes it."""
    wanted = {
        name.removeprefix("metadata[").removesuffix("]"): value
        for name, value in request.query_params.multi_items()
        if name.startswith("metadata[") and name.endswith("]")
    }
    if not all(map(str.isprintable, (*wanted, *wanted.values()))):
        raise BadRequest("metadata: only printable text can be looked for", param="metadata")
    return wanted


def _number(after: str | None, prefix: str) -> int | None:
    if after is None:
        return None
    digits = after.removeprefix(prefix)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise BadRequest(f"after: {after!r} is no id of this list", param="after")
    return int(digits)
