"""Llamas with random weights: for speed and memory at a size, and for tests without a wait."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from training.learning.sft import load_tokenizer, weight_type


@dataclass(frozen=True, slots=True)
class Size:
    """The fields of a LlamaConfig that its size comes from."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int


TINY = Size(64, 128, 2, 4, 2)
ONE_BILLION = Size(2048, 8192, 16, 32, 8)  # Llama-3.2-1B


def random_llama(folder: Path, size: Size, base: Path) -> Path:
    """A model folder with the tokenizer of `base`; one that is there already is kept."""
    if (folder / "config.json").is_file():
        return folder
    tokenizer = load_tokenizer(base)
    torch.manual_seed(0)
    config = LlamaConfig(
        **asdict(size),
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    tokenizer.save_pretrained(str(folder))
    model: Any = LlamaForCausalLM(config)
    model.to(weight_type()).save_pretrained(str(folder))
    return folder
