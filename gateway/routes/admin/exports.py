"""An experiment's rows over HTTP, from a process of their own, which takes neither time nor memory
from requests."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from adapters.child import Child
from adapters.errors import StoreUnavailable
from adapters.experiments.export import Wanted
from adapters.experiments.metrics import end_of
from adapters.exports import Format
from gateway.deps import AdminDep, PartsDep

api = APIRouter(prefix="/experiments", tags=["experiments"])

_MODULE = "adapters.experiments.export"
_MEDIA = {Format.JSONL: "application/x-ndjson", Format.CSV: "text/csv"}
_PART_BYTES = 2**16


@api.get("/{name}/export")
async def export(
    name: str,
    parts: PartsDep,
    _admin: AdminDep,
    format: Literal["jsonl", "csv"] = "jsonl",
) -> StreamingResponse:
    """A row for each answer, its metrics as the analysis reads them; docs/engineers.md names the
    columns."""
    entry = await asyncio.to_thread(parts.experiments.entry, name)
    catalog, form = parts.catalog.now, Format(format)
    packs = tuple(str(pack.path) for pack in catalog.settings.packs)
    design, until = asdict(entry.experiment), end_of(entry)
    asked = Wanted(catalog.settings.store_url, design, until, packs, form)
    rows = _written(Child(_MODULE, asked, grace=0))
    first = await anext(rows, b"")  # what fails at once is an error with a status of its own
    return StreamingResponse(_joined(first, rows), media_type=_MEDIA[form])


async def _written(child: Child) -> AsyncIterator[bytes]:
    """What the child writes, until it has ended.

    Raises StoreUnavailable if it ends by a failure, which is in the log: the answer breaks off.
    """
    try:
        process = await asyncio.to_thread(child.running)
        assert process.stdout is not None
        while part := await asyncio.to_thread(process.stdout.read, _PART_BYTES):
            yield part
        if await asyncio.to_thread(process.wait) != 0:
            raise StoreUnavailable("the export broke off; the gateway's log says why")
    finally:
        child.close()


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in rest:
        yield part
