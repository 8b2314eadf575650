"""Adapter versions over HTTP: where they stand, and moving the aliases."""

import asyncio
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from adapters.registry import Aliases
from gateway.deps import AdminDep, Parts, PartsDep

api = APIRouter(prefix="/adapters", tags=["adapters"])


class Move(BaseModel):
    """Why an alias is moved; kept in the audit log."""

    reason: str = Field(default="", max_length=2000)
    force: bool = False


@api.get("")
async def list_adapters(parts: PartsDep, _admin: AdminDep) -> list[dict[str, Any]]:
    """Every registered version with its aliases and its state on each replica."""
    catalog = parts.catalog.now
    rows = []
    for name, version in catalog.versions.items():
        aliases = catalog.aliases.get(version.manifest.domain, Aliases())
        rows.append(
            {
                "version": name,
                "domain": version.manifest.domain,
                "created": version.manifest.created,
                "verdict": version.manifest.verdict,
                "retired": version.retired,
                "champion": aliases.champion == name,
                "challenger": aliases.challenger == name,
                "replicas": _states(parts, name),
            }
        )
    return rows


@api.post("/{version}/promote")
async def promote(version: str, move: Move, parts: PartsDep, admin: AdminDep) -> dict[str, str]:
    """Make a version its domain's champion."""
    await asyncio.to_thread(
        parts.registry.promote, version, actor=admin.key, reason=move.reason, force=move.force
    )
    await parts.take_up()
    return {"champion": version}


@api.post("/{version}/retire")
async def retire(version: str, move: Move, parts: PartsDep, admin: AdminDep) -> dict[str, str]:
    """Take a version out of service."""
    await asyncio.to_thread(parts.registry.retire, version, actor=admin.key, reason=move.reason)
    await parts.take_up()
    return {"retired": version}


@api.post("/{domain}/rollback")
async def rollback(
    domain: str, move: Move, parts: PartsDep, admin: AdminDep
) -> dict[str, str | None]:
    """Return a domain to the champion before this one, or to the base model (null)."""
    champion = await asyncio.to_thread(
        parts.registry.rollback, domain, actor=admin.key, reason=move.reason
    )
    await parts.take_up()
    return {"champion": champion}


def _states(parts: Parts, version: str) -> list[dict[str, str]]:
    return [
        {
            "engine": name,
            "replica": replica.url,
            "state": str(replica.states[version]),
            "problem": replica.problems.get(version, ""),
        }
        for name, pool in parts.fleet.pools.items()
        for replica in pool.replicas.values()
        if version in replica.states
    ]
