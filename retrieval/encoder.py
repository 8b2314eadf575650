"""Text to unit vectors with a static embedding model (model2vec's files); knows no torch.

Reads the folder itself: the format is a table, a weight per token and a tokenizer, and doing so
keeps model2vec and what it imports out of the gateway's process.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from retrieval.errors import EncoderError

Vectors = npt.NDArray[np.float32]

MAX_CHARACTERS = 4_000
BATCH_SIZE = 256


class StaticEncoder:
    """A token table behind a tokenizer; safe to share between threads, as nothing in it changes."""

    def __init__(self, tokenizer: Tokenizer, table: Vectors, digest: str) -> None:
        self._tokenizer = tokenizer
        self._table = table
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
            table = _token_table(load_file(weights_file))
            tokenizer = Tokenizer.from_file(str(tokenizer_file))
        except SafetensorError as exc:
            raise EncoderError(f"{weights_file} cannot be read: {exc}") from exc
        except Exception as exc:  # tokenizers raises bare Exception for a file it cannot parse
            raise EncoderError(f"{tokenizer_file} cannot be read: {exc}") from exc
        if tokenizer.get_vocab_size() != len(table):
            raise EncoderError(
                f"{folder}: the tokenizer has {tokenizer.get_vocab_size()} tokens, "
                f"the table {len(table)}"
            )
        # As saved by its makers the tokenizer cuts at 128 tokens and fills up with padding, which
        # would be summed like words.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        unknown = tokenizer.token_to_id("[UNK]")
        if unknown is not None:
            table[unknown] = 0.0
        return cls(tokenizer, table, _digest(weights_file, tokenizer_file))

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
                    sums[row] = self._table[encoding.ids].sum(axis=0)
        return normalised(sums)


def encodable(text: str) -> str:
    """The part of `text` that is embedded, without lone surrogates, which no tokenizer takes."""
    return text[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")


def normalised(vectors: Vectors) -> Vectors:
    """Rows scaled to length one; rows of zeros stay zero. The only place vectors are scaled."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return scaled


def _token_table(tensors: dict[str, npt.NDArray[np.generic]]) -> Vectors:
    """Embedding times weight for each token; the mean's divisor vanishes in the normalisation."""
    if "embeddings" not in tensors:
        raise EncoderError("the model holds no tensor named embeddings; is it a model2vec model?")
    table = tensors["embeddings"].astype(np.float32)
    if "mapping" in tensors:
        table = table[tensors["mapping"].astype(np.int64)]
    if "weights" in tensors:
        table = table * tensors["weights"].astype(np.float32)[:, None]
    return table


def _digest(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
