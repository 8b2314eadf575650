"""Builds the gateway: every part in one place, inside the lifespan, handed to whoever needs it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypedDict

import anyio
from anyio.abc import TaskGroup
from fastapi import FastAPI

from adapters.drainer import Drainer
from adapters.experiments.book import ExperimentBook
from adapters.experiments.watcher import Places, watcher
from adapters.jobs import JobBook
from adapters.journal import Journal
from adapters.registry import Registry
from adapters.store import Store
from adapters.uploads import Uploads
from gateway.access import KeyStore, Role
from gateway.background import (
    drain_forever,
    refresh_forever,
    share_forever,
    until_serving,
    watch_forever,
)
from gateway.catalog import LiveCatalog
from gateway.deps import Parts
from gateway.fleet import Fleet
from gateway.front import Front
from gateway.limits import FeedbackLimits
from gateway.mirror import Mirror
from gateway.openapi import document_hot_paths
from gateway.pipeline import Pipeline
from gateway.planning import Planner
from gateway.record import Recorder
from gateway.routes import decisions, feedback, files, fine_tuning, health, models, route
from gateway.routes.admin import admin_routes
from gateway.routes.problems import answer_every_error
from gateway.routing import Routing
from gateway.settings import Settings
from gateway.shelf import shelf_of
from gateway.siblings import Siblings
from gateway.telemetry import Telemetry
from gateway.upstream import Upstream
from gateway.workers import Place
from retrieval.retriever import Retriever

_READ_AT_ONCE = 2


class State(TypedDict):
    """Lifespan state; read through `deps.parts_of`."""

    parts: Parts


def create_app(
    settings: Settings,
    *,
    encoder: Path,
    admin_port: int,
    reload: Callable[[], Settings] | None = None,
    place: Place | None = None,
) -> Front:
    """The ASGI application of both listeners.

    Args:
        encoder: folder of the static embedding model, prepared.
        admin_port: requests that arrive on this port go to the admin surface.
        reload: reads the configuration again; None keeps it as it is.
        place: this worker's among several; None for a gateway of one process.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        async with AsyncExitStack() as stack:
            yield {"parts": await _open_parts(stack, settings, encoder, reload, place)}

    public = FastAPI(
        title="Turnout",
        description="OpenAI-compatible gateway with tiered routing.",
        lifespan=lifespan,
    )
    for routes in (
        models.api,
        feedback.api,
        route.api,
        decisions.api,
        files.api,
        fine_tuning.api,
        health.api,
    ):
        public.include_router(routes)
    document_hot_paths(public)
    admin = FastAPI(title="Turnout admin")
    admin.include_router(admin_routes)
    for app in (public, admin):
        answer_every_error(app)
    return Front(public, admin, admin_port)


async def _open_parts(
    stack: AsyncExitStack,
    settings: Settings,
    encoder: Path,
    reload: Callable[[], Settings] | None,
    place: Place | None,
) -> Parts:
    store = await asyncio.to_thread(Store, settings.store_url)
    stack.callback(store.close)
    keys = KeyStore(store)
    if settings.bootstrap_key is not None:
        keys.ensure("bootstrap", Role.ADMIN, settings.bootstrap_key.get_secret_value())
    catalog = LiveCatalog(settings, store, reload)
    retriever = Retriever(settings.artifact_root / "indexes", encoder)
    journal = Journal(settings.state / "journal", limit_bytes=settings.journal.limit_bytes)
    stack.callback(journal.close)
    drainer = Drainer(settings.store_url)
    stack.callback(drainer.close)
    watching = watcher(_places(settings))
    stack.callback(watching.close)
    telemetry = Telemetry()
    siblings = Siblings(place, telemetry, journal) if place else None
    tasks = await stack.enter_async_context(_endless_tasks())
    registry = Registry(store, settings.versions)
    upstream = Upstream()
    stack.callback(upstream.close)
    tasks.start_soon(upstream.sweep_forever)
    fleet = Fleet(catalog, registry.obtain, tasks)
    fleet.follow()
    telemetry.drift.follow(catalog.now.router)
    recorder = Recorder(journal, telemetry)
    routing = Routing(telemetry, fleet.pace)
    stack.callback(routing.close)
    planner = Planner(retriever, routing)
    mirror = Mirror(
        catalog=catalog, planner=planner, fleet=fleet, upstream=upstream, recorder=recorder
    )
    stack.push_async_callback(mirror.close)
    parts = Parts(
        catalog=catalog,
        store=store,
        registry=registry,
        experiments=ExperimentBook(
            store, registry, lambda: shelf_of(catalog.now.settings, catalog.now.packs)
        ),
        keys=keys,
        journal=journal,
        drainer=drainer,
        retriever=retriever,
        fleet=fleet,
        routing=routing,
        pipeline=Pipeline(
            catalog=catalog,
            planner=planner,
            fleet=fleet,
            upstream=upstream,
            recorder=recorder,
            mirror=mirror,
        ),
        telemetry=telemetry,
        limits=FeedbackLimits(**settings.feedback.model_dump()),
        uploads=Uploads(
            store, settings.artifacts.root or settings.artifact_root, settings.state / "cache"
        ),
        reading=anyio.CapacityLimiter(_READ_AT_ONCE),
        jobs=JobBook(store),
        siblings=siblings,
    )
    tasks.start_soon(drain_forever, parts, settings.journal.drain_seconds)
    tasks.start_soon(refresh_forever, parts)
    if place is None or place.number == 0:
        tasks.start_soon(watch_forever, parts, watching)
    if siblings is not None:
        await until_serving(parts)  # until then, siblings get the connections
        await stack.enter_async_context(siblings.joined())
        tasks.start_soon(share_forever, parts, siblings)
    return parts


def _places(settings: Settings) -> Places:
    """What the process that watches experiments has to know."""
    return Places(
        store_url=settings.store_url,
        artifacts=settings.artifacts.root or str(settings.artifact_root),
        cache=str(settings.state / "cache"),
        packs=tuple(str(entry.path) for entry in settings.packs),
        every=settings.experiments.look_seconds,
    )


@asynccontextmanager
async def _endless_tasks() -> AsyncIterator[TaskGroup]:
    """A task group for work without end: leaving cancels it, and a task that breaks takes the
    gateway down."""
    async with anyio.create_task_group() as group:
        yield group
        group.cancel_scope.cancel()
