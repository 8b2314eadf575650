"""The parts of a running gateway, and the named dependencies by which routes get at them."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, cast

from anyio import CapacityLimiter
from fastapi import Depends, Request

from adapters.drainer import Drainer
from adapters.experiments.book import ExperimentBook
from adapters.jobs import JobBook
from adapters.journal import Journal
from adapters.registry import Registry
from adapters.store import Store
from adapters.uploads import Uploads
from gateway.access import Caller, KeyStore
from gateway.catalog import LiveCatalog
from gateway.fleet import Fleet
from gateway.limits import FeedbackLimits
from gateway.pipeline import Pipeline
from gateway.routing import Routing
from gateway.siblings import Siblings
from gateway.telemetry import Telemetry
from retrieval.retriever import Retriever


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything `create_app` builds, once, inside its lifespan."""

    catalog: LiveCatalog
    store: Store
    registry: Registry
    experiments: ExperimentBook
    keys: KeyStore
    journal: Journal
    drainer: Drainer
    retriever: Retriever
    fleet: Fleet
    routing: Routing
    pipeline: Pipeline
    telemetry: Telemetry
    limits: FeedbackLimits
    uploads: Uploads
    reading: CapacityLimiter  # uploads that are read at once, each in a process of its own
    jobs: JobBook
    siblings: Siblings | None  # None: this is the only worker

    async def take_up(self) -> bool:
        """Take up what changed in the store or the configuration; whether anything did.

        Raises StoreUnavailable when the store does not answer.
        """
        changed = await asyncio.to_thread(self.catalog.refresh)
        if changed:
            self.fleet.follow()
            self.telemetry.drift.follow(self.catalog.now.router)
        return changed


def parts_of(scope: Any) -> Parts:
    """The parts from a request's ASGI scope; the one cast of lifespan state."""
    return cast(Parts, scope["state"]["parts"])


def _parts(request: Request) -> Parts:
    return parts_of(request.scope)


def _caller(request: Request) -> Caller:
    return parts_of(request.scope).catalog.now.keys.caller(_authorization(request))


def _admin(request: Request) -> Caller:
    return parts_of(request.scope).catalog.now.keys.admin(_authorization(request))


def _authorization(request: Request) -> bytes:
    return dict(request.headers.raw).get(b"authorization", b"")


PartsDep = Annotated[Parts, Depends(_parts)]
CallerDep = Annotated[Caller, Depends(_caller)]
AdminDep = Annotated[Caller, Depends(_admin)]
