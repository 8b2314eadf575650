"""What an adapter version is: its manifest, and the check that a folder still is what its manifest
says.

Nothing here loads weights into a model; reading bytes is enough to refuse what must not be served.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, deserialize

from adapters.errors import CorruptAdapter

MANIFEST = "manifest.json"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
ALLOWED_RANKS = (1, 8, 16, 32, 64)
VERSION_PATTERN = r"^[a-z][a-z0-9_-]{0,31}--v[0-9]{1,9}-[0-9a-f]{8}$"

# Features that vLLM refuses (vllm/lora/peft_helper.py) or that change the base weights.
_REFUSED_OPTIONS = ("use_dora", "modules_to_save", "lora_bias", "alora_invocation_tokens")
_REFUSED_INITS = ("pissa", "olora", "corda", "loftq")
# Exponent bits: a float whose exponent is all ones is an infinity or a NaN (IEEE 754).
_NON_FINITE = {
    "F32": (np.uint32, 0x7F800000),
    "BF16": (np.uint16, 0x7F80),
    "F16": (np.uint16, 0x7C00),
}


class Metric(BaseModel):
    """One evaluation figure: candidate and base on the same rows, with the interval of their
    difference."""

    model_config = ConfigDict(frozen=True)

    task: str
    metric: str
    n: int
    score: float
    base_score: float
    ci95: tuple[float, float]


class TrainingFacts(BaseModel):
    """What training knows about a candidate before it has a version name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_model: str
    base_config_hash: str
    chat_template_hash: str
    rank: int
    target_modules: tuple[str, ...]
    method: Literal["sft", "dpo", "kto"] = "sft"
    rslora: bool = False
    base_revision: str | None = None
    parent_version: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    seeds: dict[str, int] = Field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    verdict: Literal["pass", "fail", "inconclusive", "invalid", "unjudged"] = "unjudged"
    verdict_reason: str = ""
    code_version: str = ""


class Manifest(TrainingFacts):
    """A version's `manifest.json`: the facts, its name, and the digest of every file beside it."""

    version: str = Field(pattern=VERSION_PATTERN)
    domain: str
    number: int = Field(ge=1)
    created: str
    files: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Parse `folder/manifest.json`; raises CorruptAdapter when it is missing or not a
        manifest."""
        try:
            return cls.model_validate_json((folder / MANIFEST).read_bytes())
        except OSError as exc:
            raise CorruptAdapter(f"{folder}: no readable {MANIFEST} ({exc.strerror})") from exc
        except ValidationError as exc:
            problem = exc.errors()[0]
            raise CorruptAdapter(
                f"{folder / MANIFEST}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            ) from exc


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def config_hash(model_folder: Path) -> str:
    """SHA-256 of a base model's `config.json` in canonical form: the identity a LoRA was trained
    against.

    Fields that name the software or the path, not the weights, are left out.
    """
    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    for name in ("transformers_version", "_name_or_path", "torch_dtype", "dtype"):
        config.pop(name, None)
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def verify(folder: Path) -> Manifest:
    """Check a published version: manifest, exact file set, digests, configuration, finite weights.

    Raises:
        CorruptAdapter: names the first thing that is wrong.
    """
    manifest = Manifest.read(folder)
    if folder.name != manifest.version:
        raise CorruptAdapter(f"{folder}: the manifest belongs to {manifest.version}")
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    if present != set(manifest.files):
        odd = ", ".join(sorted(present ^ set(manifest.files)))
        raise CorruptAdapter(f"{folder}: files differ from the manifest: {odd}")
    for name, digest in manifest.files.items():
        if (folder / name).is_symlink() or file_digest(folder / name) != digest:
            raise CorruptAdapter(f"{folder / name}: digest differs from the manifest")
    check_adapter(folder)
    return manifest


def check_adapter(folder: Path) -> dict[str, Any]:
    """Refuse an adapter folder that an engine could not or should not load; returns its PEFT
    configuration.

    Only safetensors; plain LoRA or rsLoRA; rank one of 1 8 16 32 64; every weight finite.
    """
    config = _read_config(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise CorruptAdapter(
            f"{folder}: peft_type is {config.get('peft_type')!r}, only LORA is served"
        )
    if config.get("r") not in ALLOWED_RANKS:
        raise CorruptAdapter(f"{folder}: rank {config.get('r')!r} is not one of {ALLOWED_RANKS}")
    for option in _REFUSED_OPTIONS:
        if config.get(option):
            raise CorruptAdapter(f"{folder}: {option} is not supported by engines")
    if config.get("bias", "none") != "none":
        raise CorruptAdapter(f"{folder}: bias={config['bias']!r} is not supported by engines")
    if str(config.get("init_lora_weights", True)).lower().startswith(_REFUSED_INITS):
        raise CorruptAdapter(
            f"{folder}: init {config['init_lora_weights']!r} changes the base weights"
        )
    unsafe = [
        path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl")
    ]
    if unsafe:
        raise CorruptAdapter(
            f"{folder}: {unsafe[0]} may run code when loaded; only safetensors is accepted"
        )
    _check_weights(folder / WEIGHTS)
    return config


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise CorruptAdapter(f"{path}: cannot be read ({exc.strerror})") from exc
    except (ValueError, RecursionError) as exc:
        raise CorruptAdapter(f"{path}: not valid JSON ({exc})") from exc
    if not isinstance(config, dict):
        raise CorruptAdapter(f"{path}: expected a JSON object")
    return config


def _check_weights(path: Path) -> None:
    try:
        tensors = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except OSError as exc:
        raise CorruptAdapter(f"{path}: cannot be read ({exc.strerror})") from exc
    except SafetensorError as exc:
        raise CorruptAdapter(f"{path}: not a whole safetensors file ({exc})") from exc
    if not tensors:
        raise CorruptAdapter(f"{path}: holds no tensors")
    for name, tensor in tensors:
        if tensor["dtype"] not in _NON_FINITE:
            raise CorruptAdapter(
                f"{path}: {name} has dtype {tensor['dtype']}, expected F32, BF16 or F16"
            )
        kind, exponent = _NON_FINITE[tensor["dtype"]]
        bits = np.frombuffer(tensor["data"], dtype=kind)
        if bool(np.any((bits & exponent) == exponent)):
            raise CorruptAdapter(f"{path}: {name} holds NaN or infinite weights")
