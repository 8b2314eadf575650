"""Text to unit vectors with a static embedding model (model2vec's files); knows no torch.

Reads the folder itself: the format is a table, a weight per token and a tokenizer, and doing so
keeps model2vec and what it imports out of the gateway's process. The table is not read but mapped:
gateways on one machine share it, and of 15 MB hold the tokens that occur. So a model in use is
replaced by another folder, never written over.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from retrieval.errors import EncoderError

Vectors = npt.NDArray[np.float32]

# safetensors' names of the types that model2vec writes.
_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I8": np.int8,
    "I32": np.int32,
    "I64": np.int64,
}

MAX_CHARACTERS = 4_000
BATCH_SIZE = 256


class StaticEncoder:
    """A token table behind a tokenizer; safe to share between threads, as nothing in it changes.

    Args:
        table: an embedding in each row, as stored.
        rows: each token's row in it; None if they have the same order.
        weights: what each token's embedding is multiplied with.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        table: npt.NDArray[Any],
        rows: npt.NDArray[np.int64] | None,
        weights: Vectors,
        digest: str,
    ) -> None:
        self._tokenizer = tokenizer
        self._table = table
        self._rows = rows
        self._weights = weights
        self.digest = digest

    @classmethod
    def load(cls, folder: Path) -> "StaticEncoder":
        """Read a model2vec folder; raises EncoderError if it is missing or broken."""
        weights_file, tokenizer_file = folder / "model.safetensors", folder / "tokenizer.json"
        for file in (weights_file, tokenizer_file):
            if not file.is_file():
                raise EncoderError(
                    f"{file} is missing; make the model with: python -m retrieval.distill {folder}"
                )
        try:
            tensors = _mapped(weights_file)
        except (SafetensorError, OSError, KeyError) as exc:  # KeyError: a type that is not known
            raise EncoderError(f"{weights_file} cannot be read: {exc}") from exc
        try:
            tokenizer = Tokenizer.from_file(str(tokenizer_file))
        except Exception as exc:  # tokenizers raises bare Exception for a file it cannot parse
            raise EncoderError(f"{tokenizer_file} cannot be read: {exc}") from exc
        if "embeddings" not in tensors:
            raise EncoderError(f"{weights_file} has no tensor named embeddings; is it model2vec's?")
        table = tensors["embeddings"]
        rows = tensors["mapping"].astype(np.int64) if "mapping" in tensors else None
        tokens = len(table if rows is None else rows)
        if tokenizer.get_vocab_size() != tokens:
            raise EncoderError(
                f"{folder}: the tokenizer has {tokenizer.get_vocab_size()} tokens, "
                f"the table {tokens}"
            )
        # As saved by its makers the tokenizer cuts at 128 tokens and fills up with padding, which
        # would be summed like words.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        weights = tensors.get("weights", np.ones(tokens)).astype(np.float32)
        unknown = tokenizer.token_to_id("[UNK]")
        if unknown is not None:
            weights[unknown] = 0.0
        return cls(tokenizer, table, rows, weights, _digest(weights_file, tokenizer_file))

    @property
    def dimension(self) -> int:
        return int(self._table.shape[1])

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 [len(texts), dimension]; text without known tokens gives zeros.

        Text is cut to MAX_CHARACTERS before it is tokenised, so the cost of a call is bounded.
        """
        sums = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), BATCH_SIZE):
            batch = [encodable(text) for text in texts[start : start + BATCH_SIZE]]
            encodings = self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            for row, encoding in enumerate(encodings, start):
                if encoding.ids:
                    sums[row] = self._weighted(encoding.ids).sum(axis=0)
        return normalised(sums)

    def _weighted(self, tokens: list[int]) -> Vectors:
        """Embedding times weight for each token; the mean's divisor vanishes in the
        normalisation."""
        embeddings = self._table[tokens if self._rows is None else self._rows[tokens]]
        weighted: Vectors = embeddings.astype(np.float32) * self._weights[tokens, None]
        return weighted


def encodable(text: str) -> str:
    """The part of `text` that is embedded, without lone surrogates, which no tokenizer takes."""
    return text[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")


def normalised(vectors: Vectors) -> Vectors:
    """Rows scaled to length one; rows of zeros stay zero. The only place vectors are scaled."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return scaled


def _mapped(file: Path) -> dict[str, npt.NDArray[Any]]:
    """A safetensors file's tensors, still on the disk."""
    with safe_open(file, framework="numpy"):
        pass  # raises SafetensorError unless the header is sound and the file as long as it says
    with file.open("rb") as opened:
        start = 8 + int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(start - 8))
    content = np.memmap(file, mode="r")
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, end = (start + offset for offset in entry["data_offsets"])
            tensors[name] = content[first:end].view(_TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def _digest(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while chunk := opened.read(2**20):
                digest.update(chunk)
    return digest.hexdigest()
