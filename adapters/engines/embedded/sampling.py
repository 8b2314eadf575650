"""How the next token is chosen: the request's sampling parameters, and their application to one row
of logits.

Ranges, defaults and the order of operations are vLLM's (vllm/sampling_params.py, vllm/v1/sample).
"""

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from adapters.engines.embedded.errors import RequestRefused

# Nucleus sampling first looks at this many tokens: sorting a whole vocabulary costs milliseconds a
# token.
_NUCLEUS_CANDIDATES = 512
_GREEDY_BELOW = 1e-5
_SMALLEST_TEMPERATURE = 1e-2
_SEED_BITS = 63


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """What the caller asked for. Raises RequestRefused when a value is out of range.

    `max_tokens` None means up to the end of the context; `logprobs` None means none, 0 the chosen
    token's only.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop_str_in_output: bool = False
    min_tokens: int = 0
    ignore_eos: bool = False
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    skip_special_tokens: bool = True

    def __post_init__(self) -> None:
        _require(
            math.isfinite(self.temperature), "temperature", "a finite number", self.temperature
        )
        _require(0 <= self.temperature <= 2, "temperature", "in [0, 2]", self.temperature)
        _require(0 < self.top_p <= 1, "top_p", "in (0, 1]", self.top_p)
        _require(self.top_k >= -1, "top_k", "0 (disable), or at least 1", self.top_k)
        _require(0 <= self.min_p <= 1, "min_p", "in [0, 1]", self.min_p)
        for name in ("presence_penalty", "frequency_penalty"):
            _require(-2 <= getattr(self, name) <= 2, name, "in [-2, 2]", getattr(self, name))
        repetition = self.repetition_penalty
        positive = math.isfinite(repetition) and repetition > 0
        _require(positive, "repetition_penalty", "greater than zero", repetition)
        if self.max_tokens is not None:
            _require(self.max_tokens >= 1, "max_tokens", "at least 1", self.max_tokens)
            below = self.min_tokens <= self.max_tokens
            _require(below, "min_tokens", f"at most max_tokens={self.max_tokens}", self.min_tokens)
        _require(self.min_tokens >= 0, "min_tokens", "greater than or equal to 0", self.min_tokens)
        _require(all(self.stop), "stop", "without empty strings", list(self.stop))

    @property
    def greedy(self) -> bool:
        return self.temperature < _GREEDY_BELOW

    @property
    def plain_greedy(self) -> bool:
        """Whether the arg-max of the untouched logits is the answer."""
        return self.greedy and self.logprobs is None and not self._edits_logits

    @property
    def _edits_logits(self) -> bool:
        return bool(
            self.presence_penalty
            or self.frequency_penalty
            or self.repetition_penalty != 1
            or self.logit_bias
            or self.min_tokens
        )


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log probabilities of the raw logits: the chosen token's and the most likely ones'."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class Sampler:
    """Chooses tokens for one sequence; with a seed, from nothing but its logits."""

    def __init__(
        self, params: SamplingParams, prompt: Sequence[int], vocabulary: int, stops: frozenset[int]
    ) -> None:
        self._params = params
        self._stops = torch.tensor(sorted(stops), dtype=torch.long)
        self._generator: torch.Generator | None = None
        if not params.greedy:
            seed = params.seed if params.seed is not None else secrets.randbits(_SEED_BITS)
            self._generator = torch.Generator().manual_seed(seed)
        self._counts: Tensor | None = None  # of answer tokens
        self._seen: Tensor | None = None  # in prompt or answer
        if params.presence_penalty or params.frequency_penalty:
            self._counts = torch.zeros(vocabulary)
        if params.repetition_penalty != 1:
            self._seen = torch.zeros(vocabulary, dtype=torch.bool)
            self._seen[torch.tensor(prompt, dtype=torch.long)] = True
        bias = params.logit_bias
        self._biased = torch.tensor(list(bias), dtype=torch.long)
        self._bias = torch.tensor(list(bias.values()), dtype=torch.float)

    def choose(self, logits: Tensor, length: int) -> tuple[int, TokenLogprobs | None]:
        """The next token and, if asked for, its log probabilities.

        Args:
            logits: float32 [vocabulary]; it is changed in place.
            length: answer tokens so far.
        """
        raw = None if self._params.logprobs is None else logits.log_softmax(-1)
        self._edit(logits, length)
        token = int(logits.numpy().argmax()) if self._params.greedy else self._draw(logits)
        if self._counts is not None:
            self._counts[token] += 1
        if self._seen is not None:
            self._seen[token] = True
        return token, None if raw is None else self._logprobs(raw, token)

    def _edit(self, logits: Tensor, length: int) -> None:
        params = self._params
        if len(self._biased):
            logits[self._biased] += self._bias
        if length < params.min_tokens:
            logits[self._stops] = -math.inf
        if self._seen is not None:
            penalty = params.repetition_penalty
            scaled = torch.where(logits > 0, logits / penalty, logits * penalty)
            torch.where(self._seen, scaled, logits, out=logits)
        if self._counts is not None:
            logits -= params.frequency_penalty * self._counts
            logits -= params.presence_penalty * (self._counts > 0)

    def _draw(self, logits: Tensor) -> int:
        params = self._params
        tokens: Tensor | None = None  # None while candidates are the whole vocabulary, in order
        logits = logits / max(params.temperature, _SMALLEST_TEMPERATURE)
        if 0 < params.top_k < len(logits):
            logits, tokens = logits.topk(params.top_k)
        probabilities = logits.softmax(-1)
        if params.top_p < 1:
            probabilities, kept = _nucleus(probabilities, params.top_p)
            tokens = kept if tokens is None else tokens[kept]
        if params.min_p > 0:
            probabilities = probabilities.where(
                probabilities >= params.min_p * probabilities.max(), 0
            )
        cumulative = probabilities.cumsum(-1)
        point = torch.rand(1, generator=self._generator) * cumulative[-1]
        # `right` skips candidates of probability zero; rounding may step past the last one.
        index = int(
            torch.searchsorted(cumulative, point, right=True).clamp_(max=len(cumulative) - 1)
        )
        return index if tokens is None else int(tokens[index])

    def _logprobs(self, raw: Tensor, token: int) -> TokenLogprobs:
        values, tokens = raw.topk(min(self._params.logprobs or 0, len(raw)))
        top = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
        return TokenLogprobs(token, float(raw[token]), top)


def _nucleus(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The likeliest candidates that together reach `top_p`, falling, and their indices."""
    values, indices = probabilities.topk(min(_NUCLEUS_CANDIDATES, len(probabilities)))
    if values.sum() < top_p:
        values, indices = probabilities.sort(descending=True)
    before = values.cumsum(-1) - values
    kept = int((before < top_p).sum())
    return values[: max(kept, 1)], indices[: max(kept, 1)]


def _require(condition: bool, name: str, wanted: str, got: object) -> None:
    if not condition:
        raise RequestRefused(f"{name} must be {wanted}, got {got}.", param=name)
