"""State for the full pipeline: a fitted router, indexes, two adapter versions a domain, and an
experiment between them. Made once per run; every start of the gateway works on a copy."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from adapters.experiments.book import ExperimentBook
from adapters.experiments.design import Arm, Experiment
from adapters.lora import CONFIG, WEIGHTS
from adapters.manifest import TrainingFacts, config_hash
from adapters.registry import Registry
from adapters.store import Store
from benchmarks.gateway.questions import DOMAINS
from benchmarks.gateway.tools import BASE_MODEL
from benchmarks.swap.prepare import run_verb
from benchmarks.swap.servers import ROOT
from gateway.settings import Settings

ARMS = ("first", "second")
_RANK, _SIZE, _MODULE = 8, 16, "base_model.model.model.layers.0.self_attn.q_proj"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A state folder that no gateway runs on. `versions` holds, by domain, the arms' versions."""

    state: Path
    versions: dict[str, tuple[str, str]]


def write_base(folder: Path) -> Path:
    """The base model's folder, as far as anybody reads it here."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": BASE_MODEL}), encoding="utf-8")
    return folder


def write_config(
    path: Path,
    upstreams: Sequence[int],
    *,
    packs: bool,
    more_packs: Sequence[Path] = (),
    held: int = 16,
) -> Path:
    """Turnout's configuration for these replicas, each of which holds so many adapters; without
    packs it only passes requests through."""
    urls = ", ".join(f'"http://127.0.0.1:{port}"' for port in upstreams)
    text = f"""
[router]
examples = ["{ROOT}/examples/general.jsonl"]

[[engines]]
name = "mock"
urls = [{urls}]
model = "{BASE_MODEL}"
max_cpu_loras = {held}

[[targets]]
name = "general"
engine = "mock"
price = {{ input = 0.1, output = 0.4 }}
"""
    examples = [ROOT / "examples" / domain for domain in DOMAINS if packs]
    for pack in (*examples, *more_packs):
        text += f'\n[[packs]]\npath = "{pack}"\nengine = "mock"\n'
    path.write_text(text, encoding="utf-8")
    return path


def prepare(folder: Path, base: Path) -> Prepared:
    """Fit, index, publish, experiment; raises NotPrepared with the last words of a failed step."""
    state = fit_state(folder)
    return Prepared(state, furnish(state, base))


def fit_state(folder: Path) -> Path:
    """A state folder with a router and indexes for the example packs, and nothing to serve yet;
    raises NotPrepared."""
    folder.mkdir(parents=True, exist_ok=True)
    config = write_config(folder / "turnout.toml", [9], packs=True)
    state = folder / "state"
    for domain in DOMAINS:
        documents = f"{ROOT}/examples/{domain}/documents"
        run_verb(state, config, "docs", "ingest", documents, "--domain", domain)
    run_verb(state, config, "router", "fit")
    return state


def furnish(state: Path, base: Path) -> dict[str, tuple[str, str]]:
    """Give every domain two versions and an experiment between them; returns the versions."""
    made = {}
    with opened(state) as (store, registry):
        for domain in DOMAINS:
            first, second = publish(registry, domain, base, 2)
            arms = Arm(ARMS[0], first), Arm(ARMS[1], second)
            ExperimentBook(store, registry).begin(Experiment(f"bench-{domain}", domain, arms))
            made[domain] = (first, second)
    return made


@contextmanager
def opened(state: Path) -> Iterator[tuple[Store, Registry]]:
    """The store and the registry of a state folder."""
    settings = Settings(state=state)
    store = Store(settings.store_url)
    try:
        yield store, Registry(store, settings.versions)
    finally:
        store.close()


def publish(
    registry: Registry,
    domain: str,
    base: Path,
    count: int,
    say: Callable[[], object] = lambda: None,
) -> list[str]:
    """Register so many tiny versions that pass, the first of them as champion; returns their names.

    `say` is called after each.
    """
    facts = TrainingFacts(
        base_model=BASE_MODEL,
        base_config_hash=config_hash(base),
        chat_template_hash="0" * 64,
        rank=_RANK,
        target_modules=("q_proj",),
        verdict="pass",
    )
    names = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(count):
            staged = _write_adapter(Path(scratch) / str(seed), seed)
            names.append(registry.publish(domain, staged, facts).version)
            say()
    registry.promote(names[0], actor="benchmark")
    return names


def _write_adapter(folder: Path, seed: int) -> Path:
    """A LoRA of one small module, in the files that PEFT writes."""
    folder.mkdir()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": _RANK,
        "lora_alpha": 16,
        "bias": "none",
        "target_modules": ["q_proj"],
    }
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    random = np.random.default_rng(seed)
    shapes = {"lora_A": (_RANK, _SIZE), "lora_B": (_SIZE, _RANK)}
    weights = {
        f"{_MODULE}.{part}.weight": random.normal(size=shape).astype(np.float32)
        for part, shape in shapes.items()
    }
    save_file(weights, folder / WEIGHTS)
    return folder
