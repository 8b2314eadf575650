"""The gateway's own verbs: serve, up, route, keys, doctor."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from adapters.cli import as_json, show_table
from adapters.packs import Pack
from adapters.store import Store
from gateway.access import Caller, KeyStore, Role, check_targets
from gateway.catalog import Catalog, LiveCatalog
from gateway.doctor import Check, examine
from gateway.errors import BadRequest
from gateway.planning import Planner, unit_of
from gateway.protocols.requests import Endpoint, parse_request
from gateway.routes.route import describe, explained
from gateway.routing import Routing
from gateway.server import serve as run_server
from gateway.telemetry import Telemetry
from gateway.workers import Place
from gateway.workspace import Workspace
from retrieval.retriever import Retriever

_MOST_FEATURES = 12


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
@click.option("--explain", is_flag=True, help="Also what spoke for it, and the nearest examples.")
@as_json
@click.pass_obj
def route(
    workspace: Workspace,
    text: tuple[str, ...],
    file: Any,
    model: str,
    explain: bool,
    as_json: bool,
) -> None:
    """Decide without generating: where would TEXT go, and with which sources?"""
    texts = [" ".join(text)] if text else []
    texts += [line.strip() for line in file if line.strip()] if file else []
    if not texts:
        raise click.UsageError("give TEXT or --file")
    settings = workspace.settings
    catalog = LiveCatalog(settings, Store(settings.store_url), None).now
    retriever = Retriever(settings.artifact_root / "indexes", workspace.encoder)
    plans = asyncio.run(_plans(catalog, retriever, texts, model, explain))
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
    for plan in plans:
        if explanation := plan.get("explanation"):
            _show_explanation(explanation)


async def _plans(
    catalog: Catalog, retriever: Retriever, texts: Sequence[str], model: str, explain: bool
) -> list[dict[str, Any]]:
    """What an operator's request with each text would become."""
    routing, caller = Routing(Telemetry()), Caller("", "", Role.ADMIN)
    planner = Planner(retriever, routing)
    plans = []
    for text in texts:
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        request = parse_request(Endpoint.CHAT, orjson.dumps(body))
        plan = await planner.plan(catalog, request, unit_of(request, caller.key), caller)
        row = {"text": text, **describe(plan)}
        if explain:
            row["explanation"] = explained(catalog, request, plan)
        plans.append(row)
    routing.close()
    return plans


def _show_explanation(explanation: dict[str, Any]) -> None:
    """The weightiest features as log-odds, and the nearest examples."""
    best, other = explanation["best"], explanation["runner_up"]
    features = explanation["features"]
    shown = [(f"{f['weight']:+.2f}", f["kind"], f["text"]) for f in features[:_MOST_FEATURES]]
    if rest := features[_MOST_FEATURES:]:
        shown.append((f"{sum(f['weight'] for f in rest):+.2f}", "", f"{len(rest)} more"))
    shown.append((f"{explanation['bias']:+.2f}", "bias", ""))
    show_table((f"{best} over {other}: {explanation['margin']:+.2f}", "what", ""), shown)
    if near := explanation["examples"]:
        show_table(
            ("similarity", "label", "nearest examples"),
            [(f"{each['similarity']:.2f}", each["label"], each["text"]) for each in near],
        )


@click.group()
def keys() -> None:
    """API keys."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--role", type=click.Choice([str(role) for role in Role]), default="user", show_default=True
)
@click.option("--targets", help="The only ones it may use, e.g. legal,general; default: all.")
@as_json
@click.pass_obj
def create_key(
    workspace: Workspace, name: str, role: str, targets: str | None, as_json: bool
) -> None:
    """Make a key; its secret is shown this once."""
    only = None if targets is None else [part.strip() for part in targets.split(",")]
    if only is not None:
        tiers = [tier.name for tier in workspace.settings.targets]
        try:
            check_targets(only, (*tiers, *(Pack.load(path).name for path in workspace.packs)))
        except BadRequest as exc:
            raise click.BadParameter(str(exc), param_hint="--targets") from exc
    key, secret = KeyStore(Store(workspace.store_url)).create(name, Role(role), targets=only)
    if as_json:
        made = {"id": key.id, "name": name, "role": role, "targets": key.targets, "secret": secret}
        click.echo(orjson.dumps(made))
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
        ("id", "name", "role", "targets", "created", "revoked"),
        [
            (
                key.id,
                key.name,
                key.role,
                "all" if key.targets is None else ", ".join(key.targets),
                key.created,
                key.revoked,
            )
            for key in found
        ],
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
