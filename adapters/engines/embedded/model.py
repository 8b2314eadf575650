"""The served model: base weights, tokenizer, chat template, and the adapters loaded so far.

It computes logits for a step that the batcher lays out; it knows nothing of requests or of time.
"""

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from adapters.engines.embedded.adapter_files import read_adapter
from adapters.engines.embedded.cache import RowCache, StepLayout, register, stretch
from adapters.engines.embedded.errors import AdapterNotFound, ModelUnusable, RequestRefused
from adapters.engines.embedded.linear import fast_bfloat16
from adapters.engines.embedded.lora import Adapter, AdapterBatch

Message = Mapping[str, Any]
_PROBE_TOKENS = 32
_SAMPLING_DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


class LoadedModel:
    """A causal language model ready to compute, and its adapters by name.

    Adapters may be loaded and unloaded from any thread while another computes: sequences keep the
    adapter they started with, whatever its name stands for later.
    """

    def __init__(
        self, folder: Path, model: Any, tokenizer: PreTrainedTokenizerFast, max_rank: int
    ) -> None:
        self.folder = folder
        self.config: PreTrainedConfig = model.config.get_text_config()
        self.dtype: torch.dtype = model.dtype
        self.max_context: int = self.config.max_position_embeddings
        self.vocabulary: int = self.config.vocab_size
        self.end_tokens = _end_tokens(model, tokenizer)
        self.tokenizer = tokenizer
        self.max_rank = max_rank
        self._backend = tokenizer.backend_tokenizer
        # Not for callers: a template of their own, for one, would run here.
        self._template_options = {"messages", *signature(tokenizer.apply_chat_template).parameters}
        self._model = model.eval()
        self._batch = AdapterBatch(model)
        self._adapters: dict[str, Adapter] = {}
        self.most_token_characters = max(len(token) for token in tokenizer.get_vocab())

    @classmethod
    def load(
        cls, folder: Path, *, dtype: torch.dtype | None = None, max_lora_rank: int = 64
    ) -> "LoadedModel":
        """Load a Hugging Face model folder; nothing is fetched from anywhere.

        Args:
            folder: `config.json`, safetensors, tokenizer and chat template.
            dtype: of the weights; by default bfloat16 where the processor multiplies it, else
                float32.
            max_lora_rank: adapters above this rank are refused.

        Raises:
            ModelUnusable: no such folder, or a model whose attention the row cache cannot
                represent.
        """
        if not (folder / "config.json").is_file():
            raise ModelUnusable(f"{folder} holds no model (config.json is missing)")
        try:
            config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
            _check_attention(config)
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                str(folder),
                dtype=dtype or (torch.bfloat16 if fast_bfloat16() else torch.float32),
                attn_implementation=register(),
                local_files_only=True,
                use_safetensors=True,
            )
        except (OSError, ValueError, KeyError) as exc:
            raise ModelUnusable(f"{folder}: cannot be loaded as a language model: {exc}") from exc
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ModelUnusable(f"{folder}: needs a fast tokenizer (tokenizer.json)")
        loaded = cls(folder, model, tokenizer, max_lora_rank)
        loaded._probe()
        return loaded

    @property
    def adapters(self) -> dict[str, str]:
        """Paths of the loaded adapters by name, in the order of loading."""
        return {name: adapter.path for name, adapter in self._adapters.items()}

    @property
    def sampling_defaults(self) -> dict[str, float]:
        """What generation_config.json recommends, for requests that do not say.

        The same fields as in vLLM (vllm/config/model.py, get_diff_sampling_param).
        """
        config = self._model.generation_config
        values = {name: getattr(config, name, None) for name in _SAMPLING_DEFAULTS}
        return {name: value for name, value in values.items() if value is not None}

    def adapter(self, name: str) -> Adapter:
        """The loaded adapter of this name, or AdapterNotFound."""
        try:
            return self._adapters[name]
        except KeyError:
            raise AdapterNotFound(f"The lora adapter '{name}' cannot be found.") from None

    def load_adapter(self, name: str, path: str | Path) -> None:
        """Load an adapter or replace its namesake. Raises AdapterNotFound or AdapterRefused."""
        self._adapters[name] = read_adapter(name, str(path), self._batch.layers, self.max_rank)

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter; sequences that already use it finish with it."""
        self.adapter(name)
        del self._adapters[name]

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Text to tokens."""
        return list(self._backend.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Tokens to text."""
        return str(self._backend.decode(tokens, skip_special_tokens=skip_special_tokens))

    def render_chat(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        template_values: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt text of a conversation by the model's chat template. Raises RequestRefused.

        `template_values` are further variables of the template.
        """
        values = template_values or {}
        reserved = self._template_options & values.keys()
        if reserved:
            names = ", ".join(sorted(reserved))
            raise RequestRefused(f"{names} cannot be set here.", "chat_template_kwargs")
        try:
            text = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=add_generation_prompt and not continue_final_message,
                continue_final_message=continue_final_message,
                **values,
            )
        except (TemplateError, ValueError, TypeError, KeyError) as exc:
            message = f"The chat template refuses these messages: {exc}"
            raise RequestRefused(message, "messages") from exc
        return str(text)

    def new_cache(self, rows: int, length: int) -> RowCache:
        """Room for this many sequences of this many tokens."""
        return RowCache(self.config, rows, length, self.dtype)

    @torch.inference_mode()
    def compute(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        adapters: Sequence[Adapter | None],
        layout: StepLayout,
        wanted: Sequence[int],
    ) -> Tensor:
        """One forward pass; float32 logits `[len(wanted), vocabulary]` after those tokens."""
        self._batch.select(adapters)
        out = self._model(
            input_ids=torch.tensor([tokens]),
            position_ids=torch.tensor([positions]),
            use_cache=False,
            logits_to_keep=torch.tensor(wanted),
            layout=layout,
        )
        logits: Tensor = out.logits[0]
        return logits.float()

    def _probe(self) -> None:
        """Find out now what cannot work, and spare the first request the set-up."""
        cache = self.new_cache(1, _PROBE_TOKENS)
        prompt = range(_PROBE_TOKENS - 1)
        stretches = (stretch(0, 0, len(prompt), self.dtype),)
        whole = StepLayout(cache, torch.tensor(prompt), 0, 0, None, stretches)
        last = StepLayout(cache, torch.tensor([len(prompt)]), 1, _PROBE_TOKENS, None, ())
        try:
            self.compute([0] * len(prompt), prompt, [None] * len(prompt), whole, [0])
            self.compute([0], [len(prompt)], [None], last, [0])
        except (TypeError, RuntimeError, IndexError, AttributeError) as exc:
            raise ModelUnusable(
                f"{self.folder}: the row cache cannot run this model: {exc}"
            ) from exc
        if not cache.written_everywhere():
            raise ModelUnusable(
                f"{self.folder}: not every layer of this model uses plain attention"
            )


def _end_tokens(model: Any, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    configured = model.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return frozenset(end for end in (*ends, tokenizer.eos_token_id) if end is not None)


def _check_attention(config: PreTrainedConfig) -> None:
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ()) - {"full_attention"}
    if kinds:
        raise ModelUnusable(
            f"{text.model_type}: layers of type {', '.join(sorted(kinds))} are not supported"
        )
    window = getattr(text, "sliding_window", None)
    if window and getattr(text, "use_sliding_window", True):
        raise ModelUnusable(
            f"{text.model_type}: sliding-window attention ({window}) is not supported"
        )
    if not getattr(text, "max_position_embeddings", None):
        raise ModelUnusable(
            f"{text.model_type}: the configuration names no max_position_embeddings"
        )
