"""State for the full pipeline: a fitted router, indexes, two adapter versions a domain, and an
experiment between them. Made once per run; every start of the gateway works on a copy."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from adapters.experiments.assignment import Arm
from adapters.experiments.book import ExperimentBook
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


def write_config(path: Path, upstreams: Sequence[int], *, packs: bool) -> Path:
    """Turnout's configuration for these replicas; without packs it only passes requests through."""
    urls = ", ".join(f'"http://127.0.0.1:{port}"' for port in upstreams)
    text = f"""
[router]
examples = ["{ROOT}/examples/general.jsonl"]

[[engines]]
name = "mock"
urls = [{urls}]
model = "{BASE_MODEL}"

[[targets]]
name = "general"
engine = "mock"
price = {{ input = 0.1, output = 0.4 }}
"""
    for domain in DOMAINS if packs else ():
        text += f'\n[[packs]]\npath = "{ROOT}/examples/{domain}"\nengine = "mock"\n'
    path.write_text(text, encoding="utf-8")
    return path


def prepare(folder: Path, base: Path) -> Prepared:
    """Fit, index, publish, experiment; raises NotPrepared with the last words of a failed step."""
    folder.mkdir(parents=True, exist_ok=True)
    config = write_config(folder / "turnout.toml", [9], packs=True)
    state = folder / "state"
    for domain in DOMAINS:
        documents = f"{ROOT}/examples/{domain}/documents"
        run_verb(state, config, "docs", "ingest", documents, "--domain", domain)
    run_verb(state, config, "router", "fit")
    settings = Settings(state=state)
    store = Store(settings.store_url)
    try:
        registry = Registry(store, settings.versions)
        versions = {domain: _publish(registry, domain, base) for domain in DOMAINS}
        for domain, pair in versions.items():
            arms = [Arm(name, model, 1) for name, model in zip(ARMS, pair, strict=True)]
            ExperimentBook(store, registry).create(f"bench-{domain}", domain, arms)
    finally:
        store.close()
    return Prepared(state, versions)


def _publish(registry: Registry, domain: str, base: Path) -> tuple[str, str]:
    facts = TrainingFacts(
        base_model=BASE_MODEL,
        base_config_hash=config_hash(base),
        chat_template_hash="0" * 64,
        rank=_RANK,
        target_modules=("q_proj",),
        verdict="pass",
    )
    with tempfile.TemporaryDirectory() as scratch:
        first, second = (
            registry.publish(domain, _write_adapter(Path(scratch) / str(seed), seed), facts).version
            for seed in range(2)
        )
    registry.promote(first, actor="benchmark")
    return first, second


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
