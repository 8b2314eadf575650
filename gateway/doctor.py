"""`turnout doctor`: looks at every part a start depends on, and says what to fix."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from adapters.errors import AdapterError
from adapters.packs import Pack
from adapters.registry import Registry
from adapters.store import Store
from gateway.settings import ConfigurationError
from gateway.workspace import Workspace
from retrieval.versions import Pointer
from router.errors import RouterError
from router.router import Router, current_folder


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
    registry = Registry(store, workspace.artifacts)
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
            try:
                with urlopen(f"{url}/health", timeout=3) as answer:
                    yield Check(
                        f"engine {engine.name} {url}",
                        answer.status == 200,
                        f"status {answer.status}",
                    )
            except (URLError, OSError, ValueError) as exc:
                yield Check(
                    f"engine {engine.name} {url}",
                    False,
                    f"does not answer ({exc}); start it or fix urls",
                )
