"""Whether an adapter fits a base model: the same modules, of the same sizes. Reads headers only."""

import json
import re
from pathlib import Path
from typing import Any

from adapters.errors import CorruptAdapter
from adapters.files import is_plain
from adapters.lora import CONFIG, read_modules
from adapters.weights import read_tensors

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def check_fits_base(folder: Path, base_model_folder: Path) -> None:
    """Refuse an adapter that names modules the base model lacks, or has in another size.

    Raises:
        CorruptAdapter: names the module, and the two sizes that disagree.
    """
    shapes = _shapes(base_model_folder)
    config = _read_object(base_model_folder / "config.json")
    # Packed weights do not have the module's sizes; only that the module exists can be told.
    packed = bool(config.get("quantization_config"))
    transposed = bool(_read_object(folder / CONFIG).get("fan_in_fan_out"))
    modules = {re.sub(r"\.[^.]*$", "", name) for name in shapes} if packed else set()
    for name, module in read_modules(folder).items():
        weight = _weight_of(name, shapes)
        if weight is None and name not in modules:
            raise CorruptAdapter(f"{folder}: {base_model_folder} has no module {name!r}")
        wanted = (module.outputs, module.inputs)
        expected = wanted[::-1] if transposed else wanted
        if weight is not None and not packed and weight != expected:
            raise CorruptAdapter(
                f"{folder}: {name} is {list(expected)} for the adapter, {list(weight)} in "
                f"{base_model_folder}: it was trained on another base model"
            )


def _weight_of(name: str, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """The shape of a module's weight. A checkpoint may leave out the first part of the name, as
    GPT-2's does, and an output layer that is tied to the embeddings."""
    inner = name.partition(".")[2]
    tied = ("model.embed_tokens", "transformer.wte", "wte") if name == "lm_head" else ()
    found = (shapes.get(f"{module}.weight") for module in (name, inner, *tied))
    return next((shape for shape in found if shape is not None), None)


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Every tensor's shape, from one file or the shards of an index."""
    names = {_WEIGHTS}
    if (folder / _INDEX).is_file():
        placed = _read_object(folder / _INDEX).get("weight_map")
        if not isinstance(placed, dict) or not placed:
            raise CorruptAdapter(f"{folder / _INDEX}: has no weight_map")
        names = set(map(str, placed.values()))
    shapes: dict[str, tuple[int, ...]] = {}
    for name in sorted(names):
        if not is_plain(name):
            raise CorruptAdapter(f"{folder / _INDEX}: {name!r} is not a plain file name")
        shapes |= {key: tensor.shape for key, tensor in read_tensors(folder / name).items()}
    return shapes


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise CorruptAdapter(f"{path}: cannot be read ({exc.strerror})") from exc
    except (ValueError, RecursionError) as exc:
        raise CorruptAdapter(f"{path}: not valid JSON ({exc})") from exc
    if not isinstance(value, dict):
        raise CorruptAdapter(f"{path}: expected a JSON object")
    return value
