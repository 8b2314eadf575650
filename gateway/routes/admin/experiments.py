"""Experiments over HTTP: create, list, stop."""

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from adapters.experiments.assignment import Arm
from gateway.deps import AdminDep, PartsDep

api = APIRouter(prefix="/experiments", tags=["experiments"])


class ArmBody(BaseModel):
    """An arm: `model` is an adapter version or `base`."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    model: str
    weight: float = Field(ge=0, allow_inf_nan=False)


class ExperimentBody(BaseModel):
    """A new experiment."""

    model_config = ConfigDict(extra="forbid")

    name: str
    domain: str
    arms: list[ArmBody] = Field(min_length=2, max_length=20)


@api.get("")
async def list_experiments(parts: PartsDep, _admin: AdminDep) -> list[dict[str, Any]]:
    """Every experiment, oldest first."""
    return [asdict(entry) for entry in await asyncio.to_thread(parts.experiments.entries)]


@api.post("", status_code=201)
async def create(body: ExperimentBody, parts: PartsDep, _admin: AdminDep) -> dict[str, Any]:
    """Start an experiment; it splits traffic within a second."""
    arms = [Arm(arm.name, arm.model, arm.weight) for arm in body.arms]
    made = await asyncio.to_thread(parts.experiments.create, body.name, body.domain, arms)
    await parts.take_up()
    return asdict(made)


@api.post("/{name}/stop")
async def stop(name: str, parts: PartsDep, _admin: AdminDep) -> dict[str, str]:
    """End an experiment."""
    await asyncio.to_thread(parts.experiments.stop, name)
    await parts.take_up()
    return {"stopped": name}
