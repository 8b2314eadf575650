"""Experiments over HTTP: create, list, show, move, freeze, thaw, stop."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from adapters.experiments.book import ExperimentBook
from adapters.experiments.entry import Entry, Why
from adapters.experiments.reading import read_experiment
from gateway.deps import AdminDep, PartsDep
from gateway.errors import BadRequest

api = APIRouter(prefix="/experiments", tags=["experiments"])

Design = Annotated[
    dict[str, Any],
    Body(
        description="name, domain and arms; docs/engineers.md has the other fields, the same as "
        "in a file",
        examples=[
            {
                "name": "first",
                "domain": "espresso",
                "arms": [{"name": "control", "model": "base"}, {"name": "new", "model": "…"}],
            }
        ],
    ),
]


class Move(BaseModel):
    """What is to happen to an experiment, and why; kept in the audit log."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["stage", "weights", "freeze", "thaw", "stop"]
    percent: float | None = None
    weights: dict[str, float] | None = Field(default=None, max_length=20)
    reason: str = Field(default="", max_length=2000)
    evidence: dict[str, Any] = Field(default_factory=dict)


@api.get("")
async def list_experiments(parts: PartsDep, _admin: AdminDep) -> list[dict[str, Any]]:
    """Every experiment, oldest first."""
    return [entry.to_json() for entry in await asyncio.to_thread(parts.experiments.entries)]


@api.get("/{name}")
async def show(name: str, parts: PartsDep, _admin: AdminDep) -> dict[str, Any]:
    """One experiment: its design, how far it is, its answers by arm, and every move."""
    entry = await asyncio.to_thread(parts.experiments.entry, name)
    return {
        **entry.to_json(),
        "answers": await asyncio.to_thread(parts.store.answers_by_arm, name),
        "moves": await asyncio.to_thread(parts.experiments.moves, name),
    }


@api.post("", status_code=201)
async def create(design: Design, parts: PartsDep, admin: AdminDep) -> dict[str, Any]:
    """Start an experiment; it splits traffic within a second."""
    experiment = read_experiment(design)
    made = await asyncio.to_thread(parts.experiments.begin, experiment, Why(admin.key))
    await parts.take_up()
    return made.to_json()


@api.post("/{name}/move")
async def move(name: str, body: Move, parts: PartsDep, admin: AdminDep) -> dict[str, Any]:
    """Change an experiment's stage or weights, freeze, thaw or stop it."""
    why = Why(admin.key, body.reason, body.evidence)
    moved = await asyncio.to_thread(_moved, parts.experiments, name, body, why)
    await parts.take_up()
    return moved.to_json()


@api.post("/{name}/stop")
async def stop(name: str, parts: PartsDep, admin: AdminDep) -> dict[str, str]:
    """End an experiment."""
    await asyncio.to_thread(parts.experiments.stop, name, Why(admin.key))
    await parts.take_up()
    return {"stopped": name}


def _moved(book: ExperimentBook, name: str, body: Move, why: Why) -> Entry:
    match body.kind:
        case "stage":
            if body.percent is None:
                raise BadRequest("a stage has a percent", param="percent")
            return book.set_stage(name, body.percent, why)
        case "weights":
            if body.weights is None:
                raise BadRequest("give the weights, one for each arm", param="weights")
            return book.set_weights(name, body.weights, why)
        case "freeze":
            return book.freeze(name, why)
        case "thaw":
            return book.thaw(name, why)
        case "stop":
            return book.stop(name, why)
