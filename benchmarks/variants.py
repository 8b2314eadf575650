"""Variants of a trained adapter, registered as versions of their own: to have many, or worse ones.

Knows how to change weights and to publish them; what they are good for is asked live.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from adapters.lora import WEIGHTS
from adapters.manifest import Manifest, TrainingFacts
from adapters.registry import Registry

Tensor = npt.NDArray[Any]
Change = Callable[[str, Tensor], Tensor]


def publish_variant(registry: Registry, version: Path, change: Change) -> str:
    """Register a version's folder once more with every tensor changed (from its name and weights),
    as if the gate had passed it; returns the new name."""
    manifest = Manifest.read(version)
    facts = TrainingFacts.model_validate(
        {**manifest.model_dump(include=set(TrainingFacts.model_fields)), "verdict": "pass"}
    )
    weights = load_file(version / WEIGHTS)
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch) / "adapter"
        shutil.copytree(version, staged)
        changed = {
            name: np.ascontiguousarray(change(name, tensor)) for name, tensor in weights.items()
        }
        save_file(changed, staged / WEIGHTS)
        return registry.publish(manifest.domain, staged, facts).version


def scaled(factor: float) -> Change:
    """Every weight a little larger or smaller."""
    return lambda _name, tensor: tensor * tensor.dtype.type(factor)


def damaged(amount: float, seed: int) -> Change:
    """Every lora_B mixed with itself in a random order of its rows: at 0 nothing is changed, at 1
    each row says what another should. Norms stay about what they were."""
    chance = np.random.default_rng(seed)

    def change(name: str, tensor: Tensor) -> Tensor:
        if ".lora_B." not in name:
            return tensor
        mixed = (1 - amount) * tensor + amount * chance.permutation(tensor)
        return mixed.astype(tensor.dtype)

    return change
