"""BERTScore of answers by any encoder (Zhang et al. 2020, equations 3 and 4; no idf, no rescaling).

Written out, since torchmetrics 1.9 sorts answers and references apart and compares the wrong ones.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from training.errors import RunFailed

_MOST_TOKENS = 512


class BertScore:
    """An encoder from a local folder; scores are F1 of tokens matched by cosine, about 0 to 1."""

    def __init__(self, folder: Path) -> None:
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            self._model: Any = AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
        except (OSError, ValueError, KeyError) as exc:
            raise RunFailed(f"{folder} cannot be loaded as an encoder: {exc}") from exc
        positions = getattr(self._model.config, "max_position_embeddings", _MOST_TOKENS)
        self._most = min(positions, _MOST_TOKENS)

    def __call__(
        self,
        pairs: Sequence[tuple[str, str]],
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[float]:
        """F1 of every (expected, answer); 0 where one of them has no token, longer ones are cut."""
        known: dict[str, Tensor] = {}
        found = []
        for done, (expected, answer) in enumerate(pairs, start=1):
            if expected not in known:  # labels come again and again
                known[expected] = self._vectors(expected)
            found.append(_f1(known[expected], self._vectors(answer)))
            on_progress(done, len(pairs))
        return found

    @torch.inference_mode()
    def _vectors(self, text: str) -> Tensor:
        """Unit vectors `[tokens, width]` of the last layer, without those of [CLS] and [SEP]."""
        encoded = self._tokenizer(
            text.encode("utf-8", "replace").decode(),
            truncation=True,
            max_length=self._most,
            return_tensors="pt",
            return_special_tokens_mask=True,
        )
        special = encoded.pop("special_tokens_mask")[0].bool()
        hidden: Tensor = self._model(**encoded).last_hidden_state[0]
        return normalize(hidden[~special], dim=-1)


def _f1(expected: Tensor, answer: Tensor) -> float:
    if not len(expected) or not len(answer):
        return 0.0
    likeness = expected @ answer.T
    recall = likeness.max(dim=1).values.mean()
    precision = likeness.max(dim=0).values.mean()
    both = float(precision + recall)
    return 2 * float(precision * recall) / both if both > 0 else 0.0
