"""The gateway's own verbs: serve, up, route, keys, doctor."""

import sys
from pathlib import Path
from typing import Any

import click
import orjson

from adapters.cli import as_json, show_table
from adapters.store import Store
from gateway.access import KeyStore, Role
from gateway.catalog import LiveCatalog
from gateway.doctor import Check, examine
from gateway.planning import Planner, unit_of
from gateway.protocols.requests import Endpoint, parse_request
from gateway.routes.route import describe
from gateway.server import serve as run_server
from gateway.workers import Place
from gateway.workspace import Workspace
from retrieval.retriever import Retriever


def _listener(command: Any) -> Any:
    """The options of verbs that listen."""
    for option in (
        click.option(
            "--workers", type=click.IntRange(1, 256), help="Gateway processes behind the listeners."
        ),
        click.option("--admin-port", type=click.IntRange(0, 65535), help="Admin listener's port."),
        click.option("--port", type=click.IntRange(0, 65535), help="Inference listener's port."),
        click.option("--host", help="Address to bind."),
    ):
        command = option(command)
    return command


def _overrides(listener: dict[str, Any]) -> dict[str, Any]:
    """The values of `_listener`'s options as settings."""
    return {f"server.{name}": value for name, value in listener.items()}


@click.command()
@_listener
@click.option("--place", type=(click.Path(path_type=Path), int), hidden=True)
@click.pass_obj
def serve(workspace: Workspace, /, place: tuple[Path, int] | None, **listener: Any) -> None:
    """Run the gateway alone; engines are where the configuration says."""
    run_server(
        workspace.read_settings(_overrides(listener)),
        encoder=workspace.encoder,
        reload=lambda: workspace.read_settings(_overrides(listener)),
        place=Place(*place) if place else None,
    )


@click.command()
@_listener
@click.option(
    "--train/--no-train", default=None, help="Train first adapters for packs that have none."
)
@click.pass_obj
def up(workspace: Workspace, /, train: bool | None, **listener: Any) -> None:
    """Run everything on one machine: gateway, embedded engine, first router, indexes and
    adapters."""
    # Here, as it brings aiohttp: 8 MB and 0.2 s, which `serve` does not need.
    from gateway.up import Supervisor

    settings = workspace.read_settings({**_overrides(listener), "training.automatic": train})
    sys.exit(Supervisor(workspace, settings).run())


@click.command()
@click.argument("text", nargs=-1)
@click.option(
    "--file", "file", type=click.File(encoding="utf-8"), help="Texts, one per line; - for stdin."
)
@click.option("--model", default="auto", show_default=True, help="What the caller would ask for.")
@as_json
@click.pass_obj
def route(
    workspace: Workspace, text: tuple[str, ...], file: Any, model: str, as_json: bool
) -> None:
    """Decide without generating: where would TEXT go, and with which sources?"""
    texts = [" ".join(text)] if text else []
    texts += [line.strip() for line in file if line.strip()] if file else []
    if not texts:
        raise click.UsageError("give TEXT or --file")
    settings = workspace.settings
    catalog = LiveCatalog(settings, Store(settings.store_url), None).now
    planner = Planner(Retriever(settings.artifact_root / "indexes", workspace.encoder))
    plans = []
    for query in texts:
        body = {"model": model, "messages": [{"role": "user", "content": query}]}
        request = parse_request(Endpoint.CHAT, orjson.dumps(body))
        plans.append(
            {"text": query, **describe(planner.plan(catalog, request, unit_of(request, "")))}
        )
    if as_json:
        click.echo(orjson.dumps(plans[0] if len(plans) == 1 else plans))
        return
    rows = []
    for plan in plans:
        sources = ", ".join(source["id"] for source in plan["sources"])
        probability = f"{plan['probability']:.2f}"
        rows.append(
            (plan["target"], probability, plan["reason"], plan["model"], sources, plan["text"])
        )
    show_table(("target", "p", "reason", "model", "sources", "text"), rows)


@click.group()
def keys() -> None:
    """API keys."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--role", type=click.Choice([str(role) for role in Role]), default="user", show_default=True
)
@as_json
@click.pass_obj
def create_key(workspace: Workspace, name: str, role: str, as_json: bool) -> None:
    """Make a key; its secret is shown this once."""
    key, secret = KeyStore(Store(workspace.store_url)).create(name, Role(role))
    if as_json:
        click.echo(orjson.dumps({"id": key.id, "name": name, "role": role, "secret": secret}))
    else:
        click.echo(f"{key.id}  {secret}\nKeep the secret now; only its digest is stored.")


@keys.command("list")
@as_json
@click.pass_obj
def list_keys(workspace: Workspace, as_json: bool) -> None:
    """Every key, without secrets."""
    found = KeyStore(Store(workspace.store_url)).keys()
    if as_json:
        click.echo(orjson.dumps(found))
        return
    show_table(
        ("id", "name", "role", "created", "revoked"),
        [(key.id, key.name, key.role, key.created, key.revoked) for key in found],
    )


@keys.command("revoke")
@click.argument("key")
@click.pass_obj
def revoke_key(workspace: Workspace, key: str) -> None:
    """End the key with this id."""
    KeyStore(Store(workspace.store_url)).revoke(key)
    click.echo(f"{key} is revoked")


@click.command()
@as_json
@click.pass_obj
def doctor(workspace: Workspace, as_json: bool) -> None:
    """Check configuration, store, models, packs and engines, and say what to fix."""
    checks: list[Check] = examine(workspace)
    if as_json:
        click.echo(orjson.dumps({"ok": all(c.ok for c in checks), "checks": checks}))
    else:
        for check in checks:
            mark = click.style("ok  ", fg="green") if check.ok else click.style("FAIL", fg="red")
            click.echo(f"{mark}  {check.name}: {check.detail}")
    sys.exit(0 if all(check.ok for check in checks) else 1)
