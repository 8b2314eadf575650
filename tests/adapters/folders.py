"""Small adapter folders on disk: real safetensors, no model needed."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from adapters.manifest import Metric, TrainingFacts

MODULE = "model.layers.0.self_attn.q_proj"


def write_adapter(folder: Path, *, seed: int = 0, rank: int = 8, **options: object) -> Path:
    """A LoRA folder as PEFT writes it, with one small module; `options` override its config."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 16,
        "bias": "none",
        "target_modules": ["q_proj"],
        **options,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    write_weights(folder, {MODULE: (rank, 16, 16)}, seed=seed)
    return folder


def write_weights(folder: Path, modules: dict[str, tuple[int, int, int]], *, seed: int = 0) -> None:
    """The folder's tensors: rank, inputs and outputs by module."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, (rank, inputs, outputs) in modules.items():
        prefix = f"base_model.model.{name}"
        weights[f"{prefix}.lora_A.weight"] = rng.normal(size=(rank, inputs)).astype(np.float32)
        weights[f"{prefix}.lora_B.weight"] = rng.normal(size=(outputs, rank)).astype(np.float32)
    save_file(weights, folder / "adapter_model.safetensors")


def write_base(folder: Path, shapes: dict[str, tuple[int, ...]], **config: object) -> Path:
    """A base model's folder: a configuration and weights of these shapes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    weights = {name: np.zeros(shape, dtype=np.float16) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors")
    return folder


def facts(verdict: str = "pass", base_hash: str = "b" * 64) -> TrainingFacts:
    """What training would say of such an adapter."""
    metric = Metric(
        task="t", metric="exact_match", n=50, score=0.8, base_score=0.1, ci95=(0.6, 0.8)
    )
    return TrainingFacts.model_validate(
        {
            "base_model": "tiny",
            "base_config_hash": base_hash,
            "chat_template_hash": "c" * 64,
            "rank": 8,
            "target_modules": ("q_proj",),
            "metrics": (metric,),
            "verdict": verdict,
        }
    )
