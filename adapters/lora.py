"""What a LoRA must look like before an engine may see it: PEFT's configuration and weights.

The rules are those of vLLM (vllm/lora/peft_helper.py, vllm/lora/lora_model.py), applied early and
with a reason.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.errors import CorruptAdapter
from adapters.files import check_files, read_bounded
from adapters.weights import check_finite, read_tensors

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
ALLOWED_RANKS = (1, 8, 16, 32, 64)

_MAX_CONFIG_BYTES = 2**20
# Options under which an adapter is no plain LoRA any more; a false or empty value is fine.
_REFUSED_OPTIONS = (
    "use_dora",
    "modules_to_save",
    "lora_bias",
    "alora_invocation_tokens",
    "layer_replication",
    "use_bdlora",
    "use_qalora",
    "target_parameters",
    "trainable_token_indices",
)
# Initialisations that leave the base weights as they are.
_PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
_NAME = re.compile(r"base_model\.model\.([A-Za-z0-9_.]{1,256})\.lora_([AB])\.weight")
_REFUSED_TENSORS = {
    ".lora_magnitude_vector": "DoRA is not supported by engines",
    ".lora_embedding_": "LoRA on embeddings is not supported",
    ".modules_to_save.": "whole modules (modules_to_save) are not supported by engines",
    ".base_layer.": "base weights do not belong into an adapter",
    ".bias.": "bias tensors are not supported by engines",
}
# Keys of rank_pattern are regular expressions that engines run. This part of the language is all
# that module names need, and cannot be made to run for ever.
_PATTERN = re.compile(r"(?:[A-Za-z0-9_.^$|]|\\\.|\\d\+?|\[0-9\]\+?){1,256}")
_MAX_COMPARISONS = 2**22

_Rank = Annotated[int, Field(ge=1)]
_Pattern = Annotated[str, Field(max_length=256)]


class _Config(BaseModel):
    """The fields of `adapter_config.json` that engines act on, with the types they expect."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    peft_type: str
    r: _Rank
    lora_alpha: float = Field(gt=0)
    target_modules: list[str] | str
    bias: str = "none"
    use_rslora: bool | None = None
    fan_in_fan_out: bool | None = None
    init_lora_weights: bool | str | None = True
    rank_pattern: dict[_Pattern, _Rank] | None = None
    alpha_pattern: dict[_Pattern, Annotated[float, Field(gt=0)]] | None = None


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the base model that the adapter changes: its sizes, and the rank of the
    change."""

    inputs: int
    outputs: int
    rank: int


def check_adapter(folder: Path) -> dict[str, Any]:
    """Refuse an adapter folder that an engine could not or should not load; returns its PEFT
    configuration.

    Only safetensors; plain LoRA or rsLoRA; ranks among 1 8 16 32 64 and as configured; every
    weight finite.

    Raises:
        CorruptAdapter: names the first thing that is wrong.
    """
    check_files(folder)
    values = _read_json(folder / CONFIG)
    config = _parse_config(values, folder)
    _check_ranks_and_patterns(config, folder)
    path = folder / WEIGHTS
    tensors = read_tensors(path)
    modules = _pair(path, ((name, tensor.shape) for name, tensor in tensors.items()))
    _check_ranks(config, modules, path)
    check_finite(path, tensors)
    return values


def read_modules(folder: Path) -> dict[str, Module]:
    """The modules an adapter changes, by their name in the base model."""
    path = folder / WEIGHTS
    return _pair(path, ((name, tensor.shape) for name, tensor in read_tensors(path).items()))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_bounded(path, _MAX_CONFIG_BYTES).decode())
    except (ValueError, RecursionError) as exc:
        raise CorruptAdapter(f"{path}: not valid JSON ({exc})") from exc
    if not isinstance(values, dict):
        raise CorruptAdapter(f"{path}: expected a JSON object")
    return values


def _parse_config(values: dict[str, Any], folder: Path) -> _Config:
    try:
        config = _Config.model_validate(values)
    except ValidationError as exc:
        problem = exc.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise CorruptAdapter(f"{folder / CONFIG}: {where!r}: {problem['msg']}") from exc
    if config.peft_type != "LORA":
        raise CorruptAdapter(f"{folder}: peft_type is {config.peft_type!r}, only LORA is served")
    for option in _REFUSED_OPTIONS:
        if values.get(option):
            raise CorruptAdapter(f"{folder}: {option} is not supported by engines")
    if config.bias != "none":
        raise CorruptAdapter(f"{folder}: bias={config.bias!r} is not supported by engines")
    init = config.init_lora_weights
    if isinstance(init, str) and init.lower() not in _PLAIN_INITS:
        raise CorruptAdapter(f"{folder}: init {init!r} changes the base weights")
    return config


def _check_ranks_and_patterns(config: _Config, folder: Path) -> None:
    for rank in (config.r, *(config.rank_pattern or {}).values()):
        if rank not in ALLOWED_RANKS:
            raise CorruptAdapter(f"{folder}: rank {rank} is not one of {ALLOWED_RANKS}")
    for pattern in (*(config.rank_pattern or {}), *(config.alpha_pattern or {})):
        if not _PATTERN.fullmatch(pattern) or pattern.count("+") > 2:
            raise CorruptAdapter(
                f"{folder}: the pattern {pattern!r} is more than a module's name with \\d+ in it"
            )


def _pair(path: Path, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, Module]:
    """Match each lora_A [rank, inputs] with its lora_B [outputs, rank]."""
    halves: dict[Literal["A", "B"], dict[str, tuple[int, ...]]] = {"A": {}, "B": {}}
    for name, shape in shapes:
        module, half = _parse(name, path)
        if len(shape) != 2 or 0 in shape:
            raise CorruptAdapter(f"{path}: {name} has the shape {shape}, expected two dimensions")
        halves[half][module] = shape
    for module in halves["A"].keys() ^ halves["B"].keys():
        missing = "B" if module in halves["A"] else "A"
        raise CorruptAdapter(f"{path}: {module} has no lora_{missing}")
    modules = {}
    for module, (rank, inputs) in halves["A"].items():
        outputs, inner = halves["B"][module]
        if inner != rank:
            raise CorruptAdapter(
                f"{path}: {module}: lora_A has rank {rank}, lora_B has rank {inner}"
            )
        modules[module] = Module(inputs, outputs, rank)
    return modules


def _parse(name: str, path: Path) -> tuple[str, Literal["A", "B"]]:
    for part, reason in _REFUSED_TENSORS.items():
        if part in f".{name}.":
            raise CorruptAdapter(f"{path}: {name!r}: {reason}")
    found = _NAME.fullmatch(name)
    if found is None:
        raise CorruptAdapter(
            f"{path}: {name!r} is not named base_model.model.MODULE.lora_A.weight or lora_B"
        )
    return found[1], "A" if found[2] == "A" else "B"


def _check_ranks(config: _Config, modules: dict[str, Module], path: Path) -> None:
    """Each module has the rank the configuration gives it.

    As PEFT's `get_pattern_key`: a key matches the whole name or its end after a dot, first key
    wins.
    """
    ranks = config.rank_pattern or {}
    if len(ranks) * len(modules) > _MAX_COMPARISONS:
        raise CorruptAdapter(f"{path.parent}: rank_pattern has {len(ranks)} keys, that is too many")
    patterns = [(re.compile(rf"(.*\.)?({key})$"), rank) for key, rank in ranks.items()]
    for name, module in modules.items():
        rank = next((rank for pattern, rank in patterns if pattern.match(name)), config.r)
        if module.rank != rank:
            raise CorruptAdapter(f"{path}: {name} has rank {module.rank}, {CONFIG} says {rank}")
