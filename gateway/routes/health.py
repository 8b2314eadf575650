"""Liveness, readiness and metrics."""

from fastapi import APIRouter, Response
from pydantic import BaseModel

from gateway.background import set_gauges
from gateway.deps import PartsDep
from gateway.errors import EngineFailed

api = APIRouter(tags=["operations"])


class Health(BaseModel):
    """The process is alive (`/healthz`), or an engine can answer (`/readyz`)."""

    status: str = "ok"


@api.get("/healthz")
async def healthz() -> Health:
    """Alive: the event loop answers. Says nothing of engines."""
    return Health()


@api.get("/readyz")
async def readyz(parts: PartsDep) -> Health:
    """Ready: an engine for general queries can answer; 503 until then."""
    catalog = parts.catalog.now
    engine = catalog.settings.engine(catalog.general.engine)
    if not parts.fleet.pool(engine).up():
        raise EngineFailed(503, f"no replica of engine {engine.name!r} answers yet")
    return Health()


@api.get("/metrics")
async def metrics(parts: PartsDep) -> Response:
    """Prometheus text format; of all workers, whichever of them is asked."""
    set_gauges(parts)
    text = await parts.siblings.metrics() if parts.siblings else parts.telemetry.render()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
