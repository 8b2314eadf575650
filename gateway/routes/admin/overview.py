"""What is configured and running: packs, indexes, configuration."""

from typing import Any

from fastapi import APIRouter

from gateway.deps import AdminDep, PartsDep

api = APIRouter(tags=["overview"])


@api.get("/packs")
async def packs(parts: PartsDep, _admin: AdminDep) -> list[dict[str, Any]]:
    """The configured domains."""
    catalog = parts.catalog.now
    return [
        {
            "name": name,
            "title": domain.pack.title,
            "description": domain.pack.description,
            "engine": domain.engine.name,
            "champion": catalog.champion(name),
            "index": parts.retriever.versions().get(name),
        }
        for name, domain in catalog.domains.items()
    ]


@api.get("/engines")
async def engines(parts: PartsDep, _admin: AdminDep) -> list[dict[str, Any]]:
    """Every replica: whether it answers, how busy and how fast it is, what it holds."""
    return [
        {
            "engine": name,
            "replica": replica.url,
            "up": replica.up,
            "leaving": replica.leaving,
            "problem": replica.problem,
            "circuit": str(replica.breaker.circuit),
            "outstanding": replica.outstanding,
            "load": replica.load,
            "seconds_per_token": replica.seconds_per_token,
            "versions": dict(replica.states),
        }
        for name, pool in parts.fleet.pools.items()
        for replica in pool.replicas.values()
    ]


@api.get("/indexes")
async def indexes(parts: PartsDep, _admin: AdminDep) -> dict[str, str]:
    """The index version that each domain searches."""
    return dict(parts.retriever.versions())


@api.get("/config")
async def config(parts: PartsDep, _admin: AdminDep) -> dict[str, Any]:
    """The configuration in force; secrets are masked."""
    return parts.catalog.now.settings.model_dump(mode="json")
