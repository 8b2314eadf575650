"""One answer being computed: the request behind it, its tokens so far, and when it ends."""

from dataclasses import dataclass, field
from enum import StrEnum

from adapters.engines.embedded.detokenizer import Detokenizer
from adapters.engines.embedded.lora import Adapter
from adapters.engines.embedded.model import LoadedModel
from adapters.engines.embedded.sampling import Sampler, SamplingParams, TokenLogprobs

BASE_MODEL = None


class FinishReason(StrEnum):
    """Why an answer ended, in OpenAI's words; and in vLLM's when it was given up."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A prompt in tokens, the name of the adapter to answer with, and how to choose tokens."""

    prompt: tuple[int, ...]
    params: SamplingParams = field(default_factory=SamplingParams)
    adapter: str | None = BASE_MODEL


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    tokens: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprobs, ...] = ()
    stop_reason: int | str | None = None


class Sequence:
    """One answer being computed. `tokens` holds the answer so far, an end token included."""

    def __init__(
        self, request: GenerationRequest, adapter: Adapter | None, limit: int, model: LoadedModel
    ) -> None:
        params = request.params
        self.prompt, self.params, self.adapter = request.prompt, params, adapter
        self.limit = limit  # answer tokens at most
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprobs] = []
        self.computed = 0  # prompt and answer tokens whose keys and values are cached
        self.finish_reason: FinishReason | None = None
        self.stop_reason: int | str | None = None
        self._ends = frozenset() if params.ignore_eos else model.end_tokens
        stops = self._ends | set(params.stop_token_ids)
        self.sampler = Sampler(params, self.prompt, model.vocabulary, stops)
        self.detokenizer = Detokenizer(
            lambda tokens: model.decode(tokens, skip_special_tokens=params.skip_special_tokens),
            params.stop,
            params.include_stop_str_in_output,
        )

    @property
    def answering(self) -> bool:
        """Whether its prompt is computed, so that a step costs it one token."""
        return self.computed >= len(self.prompt)

    def completion(self) -> Completion:
        """The answer, once finished."""
        return Completion(
            self.detokenizer.text,
            self.finish_reason or FinishReason.ABORT,
            len(self.prompt),
            len(self.tokens),
            tuple(self.tokens),
            tuple(self.logprobs),
            self.stop_reason,
        )

    def accept(self, token: int, logprobs: TokenLogprobs | None) -> None:
        """Take the next token; sets `finish_reason` when it is the last."""
        self.tokens.append(token)
        if logprobs is not None:
            self.logprobs.append(logprobs)
        enough = len(self.tokens) >= self.params.min_tokens
        if enough and token in self._ends:
            return self._finish(FinishReason.STOP)
        if enough and token in self.params.stop_token_ids:
            return self._finish(FinishReason.STOP, token)
        stop = self.detokenizer.push(token)
        if stop is not None and enough:
            return self._finish(FinishReason.STOP, stop)
        if len(self.tokens) >= self.limit:
            self._finish(FinishReason.LENGTH)

    def _finish(self, reason: FinishReason, stop: int | str | None = None) -> None:
        held = self.detokenizer.finish() if not isinstance(stop, str) else None
        self.finish_reason, self.stop_reason = (FinishReason.STOP, held) if held else (reason, stop)
