"""The system under test: an engine, a gateway and a worker for the queue of training jobs, each a
process of its own, as operators run them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.experiments.book import ExperimentBook
from adapters.experiments.entry import Entry
from adapters.job import TrainingJob
from adapters.jobs import JobBook
from adapters.registry import Aliases, Registry
from adapters.store import Store
from benchmarks.gateway.prepared import opened
from benchmarks.loop.questions import DOMAIN
from benchmarks.swap.prepare import run_verb
from benchmarks.swap.servers import (
    ROOT,
    SERVED_NAME,
    Server,
    embedded_engine,
    free_port,
    gateway_process,
    vllm_replica,
)
from benchmarks.swap.system import KEY


@dataclass(frozen=True, slots=True)
class Terms:
    """When training begins and for how long, and how a rollout goes."""

    feedback: int = 380
    minutes: float = 8.0
    stages: tuple[float, ...] = (10.0, 50.0, 100.0)
    stage_units: int = 30
    effect: float = 0.2

    @property
    def toml(self) -> str:
        """The settings under `[training]`."""
        return f"""
[training]
automatic = false
minutes = {self.minutes}
[training.triggers]
feedback = {self.feedback}
cooldown_hours = 0
[training.rollout]
stages = {list(self.stages)}
stage_units = {self.stage_units}
stage_hours = 0
cooldown_hours = 0
minimum_effect = {self.effect}
"""


@dataclass
class Running:
    """The processes, and the store they share."""

    url: str
    admin_url: str
    key: str
    state: Path
    store: Store
    registry: Registry

    @property
    def champion(self) -> str | None:
        return self.registry.aliases().get(DOMAIN, Aliases()).champion

    def jobs(self) -> list[TrainingJob]:
        """The domain's jobs, oldest first."""
        return JobBook(self.store).jobs(domain=DOMAIN, limit=100)[::-1]

    def experiment(self, name: str) -> Entry | None:
        """An experiment, once it began."""
        entries = ExperimentBook(self.store, self.registry).entries()
        return next((entry for entry in entries if entry.experiment.name == name), None)

    def moves(self, name: str) -> list[dict[str, object]]:
        """What an experiment's audit log says."""
        return ExperimentBook(self.store, self.registry).moves(name)


@contextmanager
def running(
    folder: Path, pack: Path, model: Path, *, engine: str, python: Path, terms: Terms
) -> Iterator[Running]:
    """Start everything on an empty state; all of it ends with the block."""
    log, state = folder / "engine.log", folder / "state"
    server = vllm_replica(model, log, python=python) if engine == "vllm" else None
    server = server or embedded_engine(model, log)
    config = folder / "turnout.toml"
    kind = "vllm" if engine == "vllm" else "embedded"
    config.write_text(_config(kind, server.url, pack, terms.toml), encoding="utf-8")
    run_verb(state, config, "router", "fit")
    admin = free_port()
    gateway = gateway_process(config, state, folder / "gateway.log", key=KEY, admin_port=admin)
    worker = _worker(config, state, folder / "worker.log")
    processes = (server, gateway, worker)
    try:
        server.start()
        server.wait_healthy()
        gateway.start()
        gateway.wait_healthy(60)
        worker.start()
        with opened(state) as (store, registry):
            yield Running(gateway.url, f"http://127.0.0.1:{admin}", KEY, state, store, registry)
    finally:
        for process in reversed(processes):
            process.stop()


def _worker(config: Path, state: Path, log: Path) -> Server:
    command = [sys.executable, "-m", "gateway", "jobs", "work", "--threads", "1"]
    places = ["--config", str(config), "--state", str(state)]
    return Server("the worker", "", "", [*command, *places], {}, log)


def _config(kind: str, url: str, pack: Path, training: str) -> str:
    return f"""
{training}
[router]
examples = ["{ROOT}/examples/general.jsonl"]
[experiments]
look_seconds = 5
[[engines]]
name = "specialists"
kind = "{kind}"
urls = ["{url}"]
model = "{SERVED_NAME}"
max_loras = 4
max_cpu_loras = 16
max_lora_rank = 16
[[targets]]
name = "general"
engine = "specialists"
[[packs]]
path = "{pack}"
engine = "specialists"
"""
