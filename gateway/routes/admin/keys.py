"""API keys over HTTP: create, list, revoke."""

import asyncio

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gateway.access import Key, Role
from gateway.deps import AdminDep, PartsDep

api = APIRouter(prefix="/keys", tags=["keys"])


class NewKey(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    role: Role = Role.USER


class MadeKey(BaseModel):
    """A new key; `secret` is shown this once."""

    id: str
    name: str
    role: Role
    secret: str


@api.get("")
async def list_keys(parts: PartsDep, _admin: AdminDep) -> list[Key]:
    """Every key, without secrets."""
    return await asyncio.to_thread(parts.keys.keys)


@api.post("", status_code=201)
async def create(body: NewKey, parts: PartsDep, _admin: AdminDep) -> MadeKey:
    """Make a key."""
    key, secret = await asyncio.to_thread(parts.keys.create, body.name, body.role)
    await parts.take_up()
    return MadeKey(id=key.id, name=key.name, role=key.role, secret=secret)


@api.delete("/{key}", status_code=204)
async def revoke(key: str, parts: PartsDep, _admin: AdminDep) -> None:
    """End a key."""
    await asyncio.to_thread(parts.keys.revoke, key)
    await parts.take_up()
