"""The key/value cache and the attention that reads it: one row of slots for each sequence being
computed.

One forward pass takes the tokens of many sequences laid end to end (`[1, tokens]`), so that the
linear layers see a single batch; only attention knows which token belongs to which row. A step's
tokens are first one for each decoding row, in row order, then stretches of prompts.
"""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedConfig

from adapters.engines.embedded.errors import ModelUnusable
from adapters.engines.embedded.lora import Adapter
from adapters.engines.embedded.prefixes import Held, longest

ATTENTION = "turnout_rows"
_UNSUPPORTED = ("sliding_window", "softcap", "s_aux")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive prompt tokens of one row: `count` of them, the first at position `start`."""

    row: int
    start: int
    count: int
    # additive [count, start + count]; None when start is 0 and causal says it all
    mask: Tensor | None


class RowCache:
    """Keys and values of `rows` sequences of up to `length` tokens; memory is taken as used.

    `held` is what each row has of them; whoever computes tokens adds them to it.
    """

    def __init__(
        self, config: PreTrainedConfig, rows: int, length: int, dtype: torch.dtype
    ) -> None:
        text = config.get_text_config()
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        shape = (text.num_hidden_layers, 2, rows * length, heads, size)
        # numpy's zeros are untouched zero pages; torch.zeros would write, and so commit, all of
        # them now.
        integer = {2: np.int16, 4: np.int32}[dtype.itemsize]
        storage = torch.from_numpy(np.zeros(shape, dtype=integer)).view(dtype)
        self.rows, self.length = rows, length
        self._layers = [(layer[0], layer[1]) for layer in storage]
        by_row = storage.view(shape[0], 2, rows, length, heads, size).transpose(3, 4)
        self._by_row = [(layer[0], layer[1]) for layer in by_row]  # [rows, heads, length, size]
        self._storage = storage.view(shape[0] * 2, rows, length, heads, size)
        self.held = [Held() for _ in range(rows)]

    def write(self, layer: int, at: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store `[tokens, heads, size]` at flat positions row * length + position."""
        cached_keys, cached_values = self._layers[layer]
        cached_keys.index_copy_(0, at, keys)
        cached_values.index_copy_(0, at, values)

    def read(self, layer: int, first: int, last: int, length: int) -> tuple[Tensor, Tensor]:
        """Views `[last - first, heads, length, size]` of the rows' keys and values."""
        keys, values = self._by_row[layer]
        return keys[first:last, :, :length], values[first:last, :, :length]

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one row to another, or keep no more of the same."""
        if source != target:
            self._storage[:, target, :length] = self._storage[:, source, :length]
        self.held[target] = self.held[source].first(length)

    def begin(self, row: int, prompt: Items[int], adapter: Adapter | None) -> int:
        """Give a row to a prompt, with what any row holds of its beginning; returns its length.

        Never the last token: the first one of the answer is read from its computation.
        """
        source, length = longest(self.held, Held.by(adapter, prompt[:-1]))
        if length:
            self.copy(source, row, length)
        else:
            self.held[row] = Held.by(adapter, ())
        return length

    def written_everywhere(self) -> bool:
        """Whether every layer has stored something."""
        return all(bool(keys.any()) for keys, _ in self._layers)


@dataclass(frozen=True, slots=True)
class StepLayout:
    """Where one step's tokens belong; goes through the model to `attend` as keyword `layout`."""

    cache: RowCache
    at: Tensor  # [tokens] flat cache position of each token
    decoding: int  # the first tokens: one for each of the rows 0..decoding
    longest: int  # tokens of the longest decoding row, this step's included
    mask: Tensor | None  # additive [decoding, 1, 1, longest]; None when all rows are that long
    stretches: tuple[Stretch, ...]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: StepLayout | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer over the row cache, with transformers' signature."""
    if layout is None or any(options.get(name) is not None for name in _UNSUPPORTED):
        raise ModelUnusable(
            "this model's attention cannot be computed over a plain key/value cache"
        )
    layer = int(module.layer_idx)  # type: ignore[arg-type]  # nn.Module types every attribute as Tensor | Module
    by_token = query[0].transpose(0, 1)  # [tokens, heads, size]
    layout.cache.write(layer, layout.at, key[0].transpose(0, 1), value[0].transpose(0, 1))
    parts = []
    rows = layout.decoding
    if rows:
        keys, values = layout.cache.read(layer, 0, rows, layout.longest)
        # Query heads that share a key head become its queries: no copy of keys for each of them.
        grouped = by_token[:rows].reshape(rows, keys.shape[1], -1, keys.shape[3])
        out = F.scaled_dot_product_attention(
            grouped, keys, values, attn_mask=layout.mask, scale=scaling
        )
        parts.append(out.reshape(rows, -1, out.shape[-1]))
    first = rows
    for stretch in layout.stretches:
        end = stretch.start + stretch.count
        keys, values = layout.cache.read(layer, stretch.row, stretch.row + 1, end)
        out = F.scaled_dot_product_attention(
            query[:, :, first : first + stretch.count],
            keys,
            values,
            attn_mask=stretch.mask,
            is_causal=stretch.mask is None,
            scale=scaling,
            enable_gqa=True,
        )
        parts.append(out[0].transpose(0, 1))
        first += stretch.count
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).unsqueeze(0), None


def stretch(row: int, start: int, count: int, dtype: torch.dtype) -> Stretch:
    """A stretch with its mask: token i sees everything up to position start + i."""
    mask = None
    if start:
        mask = torch.zeros(count, start + count, dtype=dtype)
        later = torch.ones(count, count, dtype=torch.bool).triu(1)
        mask[:, start:].masked_fill_(later, -torch.inf)
    return Stretch(row, start, count, mask)


def padding_mask(lengths: list[int], dtype: torch.dtype) -> Tensor | None:
    """Additive mask over rows of different lengths; None when they are equal."""
    longest = max(lengths, default=0)
    if min(lengths, default=0) == longest:
        return None
    beyond = torch.arange(longest) >= torch.tensor(lengths).unsqueeze(1)
    mask = torch.zeros(len(lengths), longest, dtype=dtype).masked_fill_(beyond, -torch.inf)
    return mask[:, None, None]


def register() -> str:
    """Make `attend` known to transformers; returns the name to load models with."""
    AttentionInterface.register(ATTENTION, attend)
    return ATTENTION
