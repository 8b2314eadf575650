"""Experiments over HTTP: create, list, show, move, promote, roll back, stop."""

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

    kind: Literal["stage", "weights", "freeze", "thaw", "promote", "rollback", "stop"]
    percent: float | None = None
    arm: str | None = Field(default=None, description="Which one becomes champion.")
    weights: dict[str, float] | None = Field(default=None, max_length=20)
    reason: str = Field(default="", max_length=2000)
    evidence: dict[str, Any] = Field(default_factory=dict)


@api.get("")
async def list_experiments(parts: PartsDep, _admin: AdminDep) -> list[dict[str, Any]]:
    """Every experiment, oldest first."""
    return [entry.to_json() for entry in await asyncio.to_thread(parts.experiments.entries)]


@api.get("/{name}")
async def show(name: str, parts: PartsDep, _admin: AdminDep) -> dict[str, Any]:
    """One experiment: its design, how far it is, its answers by arm, every move, and what the data
    said at the last look of the rollout (null before the first)."""
    entry = await asyncio.to_thread(parts.experiments.entry, name)
    return {
        **entry.to_json(),
        "answers": await asyncio.to_thread(parts.store.answers_by_arm, name),
        "moves": await asyncio.to_thread(parts.experiments.moves, name),
        "look": await asyncio.to_thread(parts.experiments.last_look, name),
    }


@api.post("", status_code=201)
async def create(
    design: Design, parts: PartsDep, admin: AdminDep, force: bool = False
) -> dict[str, Any]:
    """Start an experiment; it splits traffic within a second. `force` overrides the gate's verdict
    and the cool-down after a rollback, and is recorded."""
    experiment = read_experiment(design)
    why = Why(admin.key, "forced" if force else "")
    made = await asyncio.to_thread(parts.experiments.begin, experiment, why, force=force)
    await parts.take_up()
    return made.to_json()


@api.post("/{name}/move")
async def move(name: str, body: Move, parts: PartsDep, admin: AdminDep) -> dict[str, Any]:
    """Change an experiment's stage or weights, freeze or thaw it, or end it one way or another."""
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
    plain = {
        "freeze": book.freeze,
        "thaw": book.thaw,
        "rollback": book.roll_back,
        "stop": book.stop,
    }
    match body.kind:
        case "stage":
            if body.percent is None:
                raise BadRequest("a stage has a percent", param="percent")
            return book.set_stage(name, body.percent, why)
        case "weights":
            if body.weights is None:
                raise BadRequest("give the weights, one for each arm", param="weights")
            return book.set_weights(name, body.weights, why)
        case "promote":
            if body.arm is None:
                raise BadRequest("say which arm becomes champion", param="arm")
            return book.promote(name, body.arm, why)
        case kind:
            return plain[kind](name, why)
