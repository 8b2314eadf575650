"""Small adapter folders on disk: real safetensors, no model needed."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from adapters.manifest import Metric, TrainingFacts


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
    rng = np.random.default_rng(seed)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    weights = {
        f"{name}.lora_A.weight": rng.normal(size=(rank, 16)).astype(np.float32),
        f"{name}.lora_B.weight": rng.normal(size=(16, rank)).astype(np.float32),
    }
    save_file(weights, folder / "adapter_model.safetensors")
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
