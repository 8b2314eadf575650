"""The models that an advice compares: a server's, or those of this process."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from adapters.registry import Aliases, Registry
from training.curation.split import Split
from training.evaluation.endpoint import Endpoint
from training.evaluation.inprocess import BASE, InProcess
from training.learning.learn import learn
from training.learning.sft import ADAPTER, SftSettings
from training.progress import Reporter
from training.prompting.advise import Model


@dataclass(frozen=True, slots=True)
class Contenders:
    """Who is asked; `note` says which adapter it is, or why there is none."""

    base: Model
    adapter: Model | None
    note: str


def on_server(server: Endpoint, base: str, version: str | None) -> Contenders:
    """Models by the names that the server has for them."""
    adapter = partial(server.answers, version) if version else None
    return Contenders(partial(server.answers, base), adapter, _note(version))


def registered(base_model: Path, registry: Registry, version: str | None) -> Contenders:
    """The base model and a version of it, in this process; raises UnknownVersion."""
    if version is None:
        return Contenders(partial(InProcess(base_model).answers, BASE), None, _note(None))
    found = registry.version(version)
    registry.obtain(found)
    return _with_adapter(base_model, found.folder, _note(version))


def trained(
    base_model: Path, parts: Split, settings: SftSettings, folder: Path, reporter: Reporter
) -> Contenders:
    """The base model and a new adapter, which is not registered, as no gate has seen it."""
    folder.mkdir(parents=True)
    reporter.stage("train")
    learn(base_model, parts, settings, folder, reporter)
    adapter = folder / ADAPTER
    return _with_adapter(base_model, adapter, f"adapter: trained to be measured, {adapter}")


def champion(registry: Registry, domain: str) -> str | None:
    """The version that serves a domain."""
    return registry.aliases().get(domain, Aliases()).champion


def _with_adapter(base_model: Path, folder: Path, note: str) -> Contenders:
    models = InProcess(base_model)
    models.load(ADAPTER, folder)
    return Contenders(partial(models.answers, BASE), partial(models.answers, ADAPTER), note)


def _note(version: str | None) -> str:
    return f"adapter: {version}" if version else "no adapter to measure; --train trains one"
