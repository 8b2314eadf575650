"""Read an adapter from a PEFT folder and refuse, with a reason, what this engine could not serve
correctly.

Only safetensors is read: other formats can run code. What vLLM refuses (vllm/lora/peft_helper.py)
is refused here too.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from adapters.engines.embedded.errors import AdapterNotFound, AdapterRefused
from adapters.engines.embedded.lora import AdaptableLinear, Adapter

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_KEY_PREFIX = "base_model.model."
_BASE_CHANGING_INITS = ("pissa", "olora", "corda", "loftq")


def read_adapter(
    name: str, path: str, layers: Mapping[str, AdaptableLinear], max_rank: int
) -> Adapter:
    """Load an adapter for a model with these layers.

    Raises:
        AdapterNotFound: no adapter files at the path.
        AdapterRefused: unsupported options, a rank above `max_rank`, damaged or non-finite weights,
            or weights that do not fit the layers (trained on another base model).
    """
    folder = Path(path)
    if "\0" in path or not os.access(folder / CONFIG, os.R_OK):
        raise AdapterNotFound(f"Loading lora {name} failed: No adapter found for {path}")
    config = _read_config(folder)
    _check_options(config, max_rank)
    factors = {}
    for layer, pair in _pairs(_read_weights(folder)).items():
        if layer not in layers:
            raise AdapterRefused(f"{path}: the base model has no adaptable layer {layer}")
        factors[layer] = _scaled(layer, pair, layers[layer], config)
    return Adapter(name, path, max(len(a) for a, _ in factors.values()), factors)


def _read_config(folder: Path) -> LoraConfig:
    path = folder / CONFIG
    try:
        fields = json.loads(path.read_bytes())
        if not isinstance(fields, dict) or fields.get("peft_type") != "LORA":
            raise AdapterRefused(f"{path}: not a LoRA configuration (peft_type must be LORA)")
        config = LoraConfig.from_pretrained(str(folder))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError) as exc:
        raise AdapterRefused(f"{path}: not a LoRA configuration ({exc})") from exc
    assert isinstance(config, LoraConfig)  # what peft_type LORA stands for
    return config


def _check_options(config: LoraConfig, max_rank: int) -> None:
    problems = []
    if config.modules_to_save:
        problems.append(f"Unsupported modules_to_save: {list(config.modules_to_save)}.")
    if config.use_dora:
        problems.append("DoRA is not supported.")
    if config.lora_bias or config.bias != "none":
        problems.append("Adapter bias is not supported.")
    if config.alora_invocation_tokens:
        problems.append("Activated LoRA (alora_invocation_tokens) is not supported.")
    if str(config.init_lora_weights).lower().startswith(_BASE_CHANGING_INITS):
        problems.append(f"init_lora_weights={config.init_lora_weights!r} changes the base weights.")
    ranks = [config.r, *(config.rank_pattern or {}).values()]
    alphas = [config.lora_alpha, *(config.alpha_pattern or {}).values()]
    if not all(isinstance(rank, int) and rank > 0 for rank in ranks):
        problems.append(f"LoRA ranks must be positive integers, got {ranks}.")
    elif max(ranks) > max_rank:
        problems.append(f"LoRA rank {max(ranks)} is greater than max_lora_rank {max_rank}.")
    if not all(isinstance(alpha, int | float) and math.isfinite(alpha) for alpha in alphas):
        problems.append(f"lora_alpha must be a finite number, got {alphas}.")
    if problems:
        raise AdapterRefused(" ".join(problems))


def _read_weights(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise AdapterRefused(f"{folder}: no {WEIGHTS}; only safetensors is accepted")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as exc:
        raise AdapterRefused(f"{path}: not a whole safetensors file ({exc})") from exc
    if not tensors:
        raise AdapterRefused(f"{path}: holds no tensors")
    for key, tensor in tensors.items():
        if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
            raise AdapterRefused(f"{path}: {key} holds NaN, infinite or non-float weights")
    return tensors


def _pairs(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B by layer name; every tensor must be one of the two, and none may miss its partner."""
    halves: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        layer, dot, half = key.removeprefix(_KEY_PREFIX).rpartition(".lora_")
        if not dot or half not in ("A.weight", "B.weight") or tensor.dim() != 2:
            raise AdapterRefused(f"{key} is not a LoRA factor of a linear layer")
        halves.setdefault(layer, {})[half[0]] = tensor
    for layer, found in halves.items():
        if len(found) != 2:
            raise AdapterRefused(f"{layer} has only one of lora_A and lora_B")
    return {layer: (found["A"], found["B"]) for layer, found in halves.items()}


def _scaled(
    layer: str,
    pair: tuple[Tensor, Tensor],
    linear: AdaptableLinear,
    config: LoraConfig,
) -> tuple[Tensor, Tensor]:
    a, b = pair
    rank = _for_layer(config.rank_pattern, layer, config.r)
    expected = ((rank, linear.in_features), (linear.out_features, rank))
    if (tuple(a.shape), tuple(b.shape)) != expected:
        raise AdapterRefused(
            f"{layer}: factors of shape {tuple(a.shape)} and {tuple(b.shape)} do not fit "
            f"{expected[0]} and {expected[1]}; was the adapter trained on another base model?"
        )
    alpha = _for_layer(config.alpha_pattern, layer, config.lora_alpha)
    scaling = alpha / math.sqrt(rank) if config.use_rslora else alpha / rank
    return a.float(), b.float() * scaling


def _for_layer(pattern: Mapping[str, int] | None, layer: str, default: int) -> int:
    """The value for a layer, found as PEFT finds it (LoraModel._create_and_replace)."""
    keys = list(pattern or {})
    return (pattern or {}).get(get_pattern_key(keys, layer), default)
