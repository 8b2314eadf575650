"""`/v1/files`: examples to train on, read line by line before they are taken."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from msgspec.json import decode
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from adapters.child import Child
from adapters.errors import ArtifactsUnavailable, RefusedChange
from adapters.uploads import FINE_TUNE, Examined, Unread, Upload, plain_name
from gateway.access import Caller, Role
from gateway.deps import CallerDep, Parts, PartsDep
from gateway.errors import BadRequest
from gateway.protocols.fine_tuning import file_object, page

api = APIRouter(prefix="/v1/files", tags=["training"])

_READER = "training.service.examine"
_FRAME_BYTES = 2**16  # of a multipart body, beside the file
_DISCARD_BYTES = 64 * 2**20
_MOST_FIELDS = 8


def whose(caller: Caller) -> str | None:
    """Whose files and jobs a caller sees: its own; None for an admin, who sees all."""
    return None if caller.role is Role.ADMIN else caller.key


@api.post(
    "",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file", "purpose"],
                        "properties": {
                            "file": {"type": "string", "format": "binary"},
                            "purpose": {"type": "string", "enum": [FINE_TUNE]},
                        },
                    }
                }
            },
        }
    },
)
async def upload(request: Request, parts: PartsDep, caller: CallerDep) -> dict[str, Any]:
    """Take JSONL in OpenAI's chat or preference format, or TRL's; 400 names the line that is
    none."""
    limit = parts.catalog.now.settings.training.file_bytes
    form = await _form(request, limit)
    try:
        file, purpose = form.get("file"), form.get("purpose")
        if purpose != FINE_TUNE:
            raise BadRequest(f"purpose must be {FINE_TUNE!r}, not {purpose!r:.40}", param="purpose")
        if not isinstance(file, UploadFile):
            raise BadRequest("file must be a file of the multipart body", param="file")
        work = partial(_take, parts, caller.key, file)
        taken = await anyio.to_thread.run_sync(work, limiter=parts.reading)
    finally:
        await form.close()
    return file_object(taken)


@api.get("")
async def list_files(
    parts: PartsDep,
    caller: CallerDep,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    after: Annotated[str | None, Query(max_length=64)] = None,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """The caller's files; an admin's list has everybody's."""
    found = await asyncio.to_thread(
        parts.uploads.uploads,
        whose(caller),
        after=after,
        limit=limit + 1,
        newest_first=order == "desc",
    )
    wanted = [file_object(one) for one in found if purpose in (None, one.purpose)]
    return page(wanted, limit)


@api.get("/{file}")
async def one_file(file: str, parts: PartsDep, caller: CallerDep) -> dict[str, Any]:
    """One file."""
    return file_object(await asyncio.to_thread(parts.uploads.upload, file, whose(caller)))


@api.get("/{file}/content")
async def content(file: str, parts: PartsDep, caller: CallerDep) -> FileResponse:
    """The bytes as they came."""

    def found() -> Path:
        return parts.uploads.path(parts.uploads.upload(file, whose(caller)))

    path = await asyncio.to_thread(found)
    headers = {"x-content-type-options": "nosniff"}
    return FileResponse(path, media_type="application/octet-stream", headers=headers)


@api.delete("/{file}")
async def delete(file: str, parts: PartsDep, caller: CallerDep) -> dict[str, Any]:
    """Delete a file that no open job needs."""

    def deleted() -> None:
        found = parts.uploads.upload(file, whose(caller))
        if job := parts.jobs.waiting_on(found.id):
            raise RefusedChange(f"job {job} needs {found.id}; cancel it first")
        parts.uploads.delete(found)

    await asyncio.to_thread(deleted)
    return {"id": file, "object": "file", "deleted": True}


async def _form(request: Request, limit: int) -> FormData:
    if "multipart/form-data" not in request.headers.get("content-type", ""):
        raise BadRequest("the body must be multipart/form-data with `file` and `purpose`")
    stream = _bounded(request, limit)
    parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=_MOST_FIELDS)
    try:
        return await parser.parse()
    except MultiPartException as exc:
        raise BadRequest(f"the multipart body cannot be read: {exc.message}") from exc
    except OSError as exc:
        raise ArtifactsUnavailable(f"the upload cannot be written: {exc.strerror}") from exc


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body; raises BadRequest (413) behind its end, so that the caller gets the answer and not
    a reset connection."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit + _FRAME_BYTES:
            yield chunk
        elif size > limit + _DISCARD_BYTES:
            break
    if size > limit + _FRAME_BYTES:
        raise _too_large(limit)


def _take(parts: Parts, owner: str, file: UploadFile) -> Upload:
    """Read the file's lines in a process of their own, and keep it."""
    settings = parts.catalog.now.settings.training
    size = file.size or 0
    if size > settings.file_bytes:
        raise _too_large(settings.file_bytes)
    if parts.uploads.held(owner) + size > settings.key_bytes:
        raise BadRequest(
            f"the files of key {owner} would hold more than {settings.key_bytes} bytes "
            "(training.key_bytes); delete some first",
            param="file",
            code="quota_exceeded",
        )
    name = plain_name(file.filename or "")
    with parts.uploads.aside() as aside:
        try:
            with aside.open("wb") as out:
                shutil.copyfileobj(file.file, out)
        except OSError as exc:
            raise ArtifactsUnavailable(f"{aside.parent}: {exc.strerror}") from exc
        read = _read(aside, name)
        if read.problem is not None:
            raise BadRequest(read.problem, param="file", code="invalid_file")
        return parts.uploads.keep(aside, owner=owner, filename=name, examples=read.examples)


def _read(path: Path, filename: str) -> Examined:
    child = Child(_READER, Unread(str(path), filename), grace=0)
    try:
        process = child.running()
        assert process.stdout is not None
        document = process.stdout.read()
        if process.wait() != 0:
            raise BadRequest(f"{filename}: the lines cannot be read", code="invalid_file")
        return decode(document, type=Examined)
    finally:
        child.close()


def _too_large(limit: int) -> BadRequest:
    return BadRequest(
        f"the file has more than {limit} bytes (training.file_bytes)",
        param="file",
        code="file_too_large",
        status=413,
    )
