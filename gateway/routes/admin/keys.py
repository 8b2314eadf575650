"""API keys over HTTP: create, list, revoke."""

import asyncio

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gateway.access import Key, Role, check_targets
from gateway.deps import AdminDep, PartsDep

api = APIRouter(prefix="/keys", tags=["keys"])


class NewKey(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    role: Role = Role.USER
    targets: list[str] | None = None


class MadeKey(BaseModel):
    """A new key; `secret` is shown this once, `targets` are null for all."""

    id: str
    name: str
    role: Role
    targets: tuple[str, ...] | None
    secret: str


@api.get("")
async def list_keys(parts: PartsDep, _admin: AdminDep) -> list[Key]:
    """Every key, without secrets."""
    return await asyncio.to_thread(parts.keys.keys)


@api.post("", status_code=201)
async def create(body: NewKey, parts: PartsDep, _admin: AdminDep) -> MadeKey:
    """Make a key."""
    if body.targets is not None:
        catalog = parts.catalog.now
        check_targets(body.targets, (*catalog.tiers, *catalog.domains))
    key, secret = await asyncio.to_thread(
        parts.keys.create, body.name, body.role, targets=body.targets
    )
    await parts.take_up()
    return MadeKey(id=key.id, name=key.name, role=key.role, targets=key.targets, secret=secret)


@api.delete("/{key}", status_code=204)
async def revoke(key: str, parts: PartsDep, _admin: AdminDep) -> None:
    """End a key."""
    await asyncio.to_thread(parts.keys.revoke, key)
    await parts.take_up()
