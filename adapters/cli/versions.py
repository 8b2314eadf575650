"""`turnout adapters`: versions, lineage, lifecycle."""

import getpass
from collections import Counter
from pathlib import Path
from typing import Any

import click

from adapters.archives import unpack
from adapters.base_model import check_fits_base
from adapters.cli import Workspace, as_json, show_json, show_table
from adapters.errors import AdapterError, CorruptAdapter
from adapters.files import file_digest
from adapters.lora import check_adapter, read_modules
from adapters.manifest import CARD, Manifest, TrainingFacts, config_hash
from adapters.registry import Aliases, Registry, Version
from adapters.store import Store

_reason = click.option("--reason", default="", help="Why; kept in the audit log.")


@click.group()
def adapters() -> None:
    """Adapter versions: list, show, import, verify, promote, rollback, retire."""


@adapters.command("list")
@click.option("--domain", help="Only this domain.")
@as_json
@click.pass_obj
def list_versions(workspace: Workspace, domain: str | None, as_json: bool) -> None:
    """Registered versions, where the aliases point, and the versions' states on the replicas of
    the running gateway."""
    registry = _registry(workspace)
    aliases = registry.aliases()
    rows = [_row(v, aliases.get(v.manifest.domain, Aliases())) for v in registry.versions(domain)]
    states = workspace.replica_states()
    if as_json:
        show_json([{**row, "replicas": states and states.get(row["version"], [])} for row in rows])
        return
    columns = ("version", "domain", "alias", "verdict", "score", "base", "created")
    cells = [
        [*(row[column] for column in columns), _states(states, row["version"])] for row in rows
    ]
    show_table((*columns, "replicas"), cells)
    if states is None:
        click.echo("no gateway answers at the configured admin address: replicas unknown", err=True)
    for version, replicas in (states or {}).items():
        for replica in replicas:
            if replica["problem"]:
                click.echo(f"{version} on {replica['replica']}: {replica['problem']}", err=True)


@adapters.command()
@click.argument("version")
@click.option("--card", is_flag=True, help="Its model card, in Markdown, and nothing else.")
@as_json
@click.pass_obj
def show(workspace: Workspace, version: str, card: bool, as_json: bool) -> None:
    """A version's manifest, and the moves of its domain."""
    registry = _registry(workspace)
    found = registry.version(version)
    if card:
        click.echo(_card(registry, found), nl=False)
        return
    history = registry.history(found.manifest.domain)
    if as_json:
        show_json(
            {
                **found.manifest.model_dump(mode="json"),
                "folder": str(found.folder),
                "history": history,
            }
        )
        return
    for name, value in found.manifest.model_dump(mode="json").items():
        click.echo(f"{name:20} {value}")
    click.echo(f"{'folder':20} {found.folder}\n")
    show_table(
        ("at", "kind", "version", "actor", "reason"),
        [[m[c] for c in ("at", "kind", "version", "actor", "reason")] for m in history],
    )


@adapters.command("import")
@click.argument("source", metavar="FOLDER|ARCHIVE", type=click.Path(exists=True, path_type=Path))
@click.option("--domain", required=True, help="The domain this adapter is for.")
@click.option(
    "--base",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the base model it was trained on.",
)
@as_json
@click.pass_obj
def import_version(
    workspace: Workspace, source: Path, domain: str, base: Path, as_json: bool
) -> None:
    """Register a LoRA that was trained elsewhere: a folder as PEFT writes it, or such a folder as
    .tar, .tar.gz, .tgz or .zip. It is unjudged: promoting it needs --force.

    Only safetensors, plain LoRA or rsLoRA, rank 1, 8, 16, 32 or 64, and the modules must be those
    of the base model, in its sizes.
    """
    with workspace.versions.aside(domain) as aside:
        folder = source
        if not source.is_dir():
            unpack(source, aside)
            folder = aside
        try:
            manifest = _import(_registry(workspace), domain, folder, base)
        except CorruptAdapter as exc:  # what was unpacked is gone when this is read
            raise CorruptAdapter(str(exc).replace(str(aside), str(source))) from exc
    if as_json:
        show_json(manifest.model_dump(mode="json"))
    else:
        click.echo(manifest.version)


def _import(registry: Registry, domain: str, folder: Path, base: Path) -> Manifest:
    config = check_adapter(folder)
    check_fits_base(folder, base)
    template = base / "chat_template.jinja"
    facts = TrainingFacts(
        base_model=base.name,
        base_config_hash=config_hash(base),
        chat_template_hash=file_digest(template) if template.exists() else "",
        rank=config["r"],
        target_modules=tuple(sorted({name.split(".")[-1] for name in read_modules(folder)})),
        rslora=bool(config.get("use_rslora")),
        verdict_reason="imported, not evaluated here",
    )
    return registry.publish(domain, folder, facts)


@adapters.command()
@click.argument("version", nargs=-1)
@as_json
@click.pass_obj
def verify(workspace: Workspace, version: tuple[str, ...], as_json: bool) -> None:
    """Check files against manifests: the named versions, or all. Exit code 1 if any is damaged."""
    registry = _registry(workspace)
    names = version or tuple(v.name for v in registry.versions() if not v.retired)
    problems = {name: _problem(registry, name) for name in names}
    if as_json:
        show_json(
            [{"version": name, "ok": not what, "problem": what} for name, what in problems.items()]
        )
    else:
        for name, what in problems.items():
            click.echo(f"{name}  {what or 'ok'}")
    raise SystemExit(1 if any(problems.values()) else 0)


@adapters.command()
@click.argument("version")
@click.option("--force", is_flag=True, help="Also without the verdict 'pass'; recorded as forced.")
@_reason
@click.pass_obj
def promote(workspace: Workspace, version: str, force: bool, reason: str) -> None:
    """Make VERSION its domain's champion."""
    _registry(workspace).promote(version, actor=_actor(), reason=reason, force=force)
    click.echo(f"champion: {version}")


@adapters.command()
@click.argument("domain")
@_reason
@click.pass_obj
def rollback(workspace: Workspace, domain: str, reason: str) -> None:
    """Return DOMAIN to the champion before this one, or to the base model."""
    champion = _registry(workspace).rollback(domain, actor=_actor(), reason=reason)
    click.echo(f"champion: {champion or 'none, the base model answers'}")


@adapters.command()
@click.argument("version")
@_reason
@click.pass_obj
def retire(workspace: Workspace, version: str, reason: str) -> None:
    """Take VERSION out of service for good; its files stay."""
    _registry(workspace).retire(version, actor=_actor(), reason=reason)
    click.echo(f"retired: {version}")


def _registry(workspace: Workspace) -> Registry:
    return Registry(Store(workspace.store_url), workspace.versions)


def _card(registry: Registry, version: Version) -> str:
    """The card that training left among a version's files, without control characters."""
    if CARD not in version.manifest.files:
        raise click.ClickException(f"{version.name} has no {CARD}: it was trained elsewhere")
    registry.obtain(version)
    text = (version.folder / CARD).read_text(encoding="utf-8", errors="replace")
    return "".join(sign for sign in text if sign.isprintable() or sign == "\n")


def _states(states: dict[str, list[dict[str, str]]] | None, version: str) -> str:
    """How many replicas have a version in each state: `2 ready`, `1 failed, 1 ready`."""
    count = Counter(replica["state"] for replica in (states or {}).get(version, []))
    return ", ".join(f"{number} {state}" for state, number in sorted(count.items()))


def _row(version: Version, aliases: Aliases) -> dict[str, Any]:
    manifest = version.manifest
    names = [("champion", aliases.champion), ("challenger", aliases.challenger)]
    held = [alias for alias, name in names if name == version.name]
    best = manifest.metrics[0] if manifest.metrics else None
    return {
        "version": version.name,
        "domain": manifest.domain,
        "alias": "retired" if version.retired else " ".join(held),
        "verdict": manifest.verdict,
        "score": round(best.score, 4) if best else None,
        "base": round(best.base_score, 4) if best else None,
        "created": manifest.created,
    }


def _problem(registry: Registry, name: str) -> str:
    try:
        registry.verify(name)
    except AdapterError as exc:
        return str(exc)
    return ""


def _actor() -> str:
    return f"cli:{getpass.getuser()}"
