"""Safetensors files, read a piece at a time: what tensors there are, and whether they are finite.

Nothing is loaded into a model, and no more than a chunk is held in memory.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from adapters.errors import CorruptAdapter

# A header takes about 120 bytes per tensor.
_MAX_HEADER_BYTES = 16 * 2**20
_CHUNK_BYTES = 16 * 2**20
# Exponent bits: a float whose exponent is all ones is an infinity or a NaN (IEEE 754).
_EXPONENTS = {
    "F32": (np.uint32, 0x7F800000),
    "BF16": (np.uint16, 0x7F80),
    "F16": (np.uint16, 0x7C00),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file; `start` and `end` are bytes from the file's beginning."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors a safetensors file holds, by name, from its header alone.

    Raises:
        CorruptAdapter: the file is missing or cut short, or its header is too large or does not
        describe exactly the bytes that follow it.
    """
    try:
        header, data_start = _read_header(path)
        # The library checks dtypes, shapes, overlaps, gaps and the file's length.
        with safe_open(str(path), framework="np") as file:
            names = set(file.keys())
        entries: dict[str, Any] = json.loads(header, object_pairs_hook=_without_duplicates)
    except OSError as exc:
        raise CorruptAdapter(f"{path}: cannot be read ({exc.strerror or exc})") from exc
    except (SafetensorError, ValueError, RecursionError) as exc:
        raise CorruptAdapter(f"{path}: not a whole safetensors file ({exc})") from exc
    tensors = {
        name: Tensor(
            entry["dtype"],
            tuple(entry["shape"]),
            data_start + entry["data_offsets"][0],
            data_start + entry["data_offsets"][1],
        )
        for name, entry in entries.items()
        if name in names
    }
    if not tensors:
        raise CorruptAdapter(f"{path}: holds no tensors")
    return tensors


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse other dtypes than F32, BF16 and F16, and any NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.dtype not in _EXPONENTS:
            raise CorruptAdapter(
                f"{path}: {name} has dtype {tensor.dtype}, expected F32, BF16 or F16"
            )
    try:
        with path.open("rb") as file:
            for name, tensor in tensors.items():
                kind, exponent = _EXPONENTS[tensor.dtype]
                file.seek(tensor.start)
                left = tensor.end - tensor.start
                while left:
                    chunk = file.read(min(left, _CHUNK_BYTES))
                    if not chunk:
                        raise CorruptAdapter(f"{path}: ends within {name}")
                    left -= len(chunk)
                    bits = np.frombuffer(chunk, dtype=kind)
                    if bool(np.any((bits & exponent) == exponent)):
                        raise CorruptAdapter(f"{path}: {name} holds NaN or infinite weights")
    except (OSError, ValueError) as exc:
        raise CorruptAdapter(f"{path}: cannot be read ({exc})") from exc


def _read_header(path: Path) -> tuple[bytes, int]:
    """The header's JSON, and where the data begins."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER_BYTES:
            raise ValueError(f"its header claims {length} bytes, the limit is {_MAX_HEADER_BYTES}")
        header = file.read(length)
    if len(header) < length:
        raise ValueError(f"its header claims {length} bytes, the file ends after {len(header)}")
    return header, 8 + length


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a name occurs twice in its header")
    return entries
