"""Reads a static embedding model (model2vec's files) for fitting; serving does not need it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from router.errors import FitError


@dataclass(frozen=True, slots=True)
class PieceEmbeddings:
    """Word pieces and their vectors [pieces, dimension], scaled to a mean length of one."""

    pieces: tuple[str, ...]
    vectors: npt.NDArray[np.float32]
    digest: str

    @classmethod
    def load(cls, folder: Path) -> "PieceEmbeddings":
        weights_file, tokenizer_file = folder / "model.safetensors", folder / "tokenizer.json"
        try:
            tensors = load_file(weights_file)
            vocabulary = json.loads(tokenizer_file.read_bytes())["model"]["vocab"]
            pieces = tuple(sorted(vocabulary, key=vocabulary.__getitem__))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as exc:
            raise FitError(
                f"{folder} is not a static WordPiece model ({exc!r}); "
                f"make one with: python -m retrieval.distill {folder}"
            ) from exc
        vectors = tensors["embeddings"].astype(np.float32)
        if "weights" in tensors:
            vectors *= tensors["weights"].astype(np.float32)[:, None]
        if len(vectors) != len(pieces):
            raise FitError(f"{folder}: {len(pieces)} pieces but {len(vectors)} vectors")
        vectors /= np.linalg.norm(vectors, axis=1).mean()
        digest = hashlib.sha256(weights_file.read_bytes() + tokenizer_file.read_bytes())
        return cls(pieces, vectors, digest.hexdigest())
