"""What an adapter is to leave as it is: on held rows the model with the adapter is drawn to what it
says without (learning without forgetting, Li & Hoiem 2016, arXiv:1606.09282, here by the
Kullback-Leibler divergence of every next token, prompt included)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from training.learning.encoding import IGNORED

# Logits are as wide as the vocabulary: of a long row only so many last positions are compared.
_MOST_POSITIONS = 64


def compared(length: int) -> int:
    """How many positions of a row of so many tokens are compared."""
    return min(length, _MOST_POSITIONS)


def divergence(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    """Sum over the compared positions of a batch of KL(base ‖ adapted), in nats.

    `model` is a PEFT model; rows without a label only fill up the batch.
    """
    mask = inputs["attention_mask"].bool()
    from_end = mask.flip(1).cumsum(1).flip(1)
    real = (inputs["labels"] != IGNORED).any(1, keepdim=True)
    wanted = mask & (from_end <= _MOST_POSITIONS) & real
    adapted = _log_probs(model, inputs["input_ids"], wanted)
    with torch.no_grad(), model.disable_adapter():
        base = _log_probs(model, inputs["input_ids"], wanted)
    return kl_div(adapted, base, log_target=True, reduction="sum")


def _log_probs(model: Any, ids: Tensor, wanted: Tensor) -> Tensor:
    """Of the next token, `[n, vocabulary]` at the n positions that are wanted."""
    inner = model.get_base_model()
    hidden = inner.base_model(input_ids=ids, use_cache=False).last_hidden_state[wanted]
    logits: Tensor = inner.get_output_embeddings()(hidden)
    return logits.float().log_softmax(-1)
