"""The request fields that chat and text completions share, and their sampling parameters.

Unknown fields are ignored, as vLLM ignores them; known ones that would change the answer, and that
this engine does not implement, are refused rather than ignored.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from adapters.engines.embedded.errors import RequestRefused
from adapters.engines.embedded.sampling import SamplingParams

MOST_SEQUENCES = 64  # answers to one request (n times prompts)
_MOST_LOGPROBS = 20
_MOST_STOPS = 16
_BIAS_LIMIT = 100.0
_INT64 = 2**63

TokenId = Annotated[int, Field(ge=0)]


def or_default(value: Any) -> BeforeValidator:
    """An explicit null means the same as leaving the field out."""
    return BeforeValidator(lambda given: value if given is None else given)


class StreamOptions(BaseModel):
    """`stream_options`."""

    include_usage: bool | None = False


class GenerationFields(BaseModel):
    """The fields chat and text completions share."""

    model_config = ConfigDict(extra="allow")
    refused: ClassVar[tuple[str, ...]] = (
        "use_beam_search",
        "prompt_logprobs",
        "logprob_token_ids",
        "allowed_token_ids",
        "bad_words",
        "structured_outputs",
        "truncate_prompt_tokens",
        "prompt_embeds",
        "suffix",
        "tools",
    )

    model: str | None = None
    n: Annotated[int, Field(ge=1, le=MOST_SEQUENCES), or_default(1)] = 1
    stream: Annotated[bool, or_default(False)] = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: Annotated[float, or_default(1.0)] = 1.0
    top_p: Annotated[float, or_default(1.0)] = 1.0
    top_k: Annotated[int, or_default(0)] = 0
    min_p: Annotated[float, or_default(0.0)] = 0.0
    seed: Annotated[int, Field(ge=-_INT64, lt=_INT64)] | None = None
    stop: str | Annotated[list[str], Field(max_length=_MOST_STOPS)] | None = None
    stop_token_ids: Annotated[list[TokenId], or_default([])] = []
    include_stop_str_in_output: bool = False
    min_tokens: Annotated[int, or_default(0)] = 0
    ignore_eos: bool = False
    presence_penalty: Annotated[float, or_default(0.0)] = 0.0
    frequency_penalty: Annotated[float, or_default(0.0)] = 0.0
    repetition_penalty: Annotated[float, or_default(1.0)] = 1.0
    logit_bias: Annotated[dict[TokenId, float], or_default({})] = {}
    skip_special_tokens: bool = True
    response_format: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _honoured(self) -> "GenerationFields":
        extra = self.model_extra or {}
        for name in self.refused:
            if extra.get(name):
                raise RequestRefused(f"`{name}` is not supported by the embedded engine.", name)
        if self.response_format is not None and self.response_format.get("type") != "text":
            raise RequestRefused(
                "`response_format` other than text is not supported by the embedded engine.",
                "response_format",
            )
        if self.stream_options is not None and not self.stream:
            raise RequestRefused(
                "Stream options can only be defined when `stream=True`.", "stream_options"
            )
        if self.n > 1 and self.temperature == 0:
            raise RequestRefused(f"n must be 1 when using greedy sampling, got {self.n}.", "n")
        return self

    def with_defaults(self, defaults: Mapping[str, float]) -> Self:
        """These fields, with the model's own values where the request names none."""
        unnamed = {n: value for n, value in defaults.items() if n not in self.model_fields_set}
        return self.model_copy(update=unnamed)

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, vocabulary: int, index: int) -> SamplingParams:
        """Parameters of answer number `index`, with its own seed. Raises RequestRefused."""
        for name, tokens in (
            ("stop_token_ids", self.stop_token_ids),
            ("logit_bias", self.logit_bias),
        ):
            outside = [token for token in tokens if token >= vocabulary]
            if outside:
                raise RequestRefused(
                    f"token_id(s) {outside[:10]} in {name} contain out-of-vocab token ids. "
                    f"Vocabulary size: {vocabulary}",
                    name,
                )
        if not all(math.isfinite(bias) for bias in self.logit_bias.values()):
            raise RequestRefused("logit_bias must hold finite numbers.", "logit_bias")
        return SamplingParams(
            max_tokens=self._most_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            seed=None if self.seed is None or self.seed == -1 else (self.seed + index) % _INT64,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            stop_token_ids=tuple(self.stop_token_ids),
            include_stop_str_in_output=self.include_stop_str_in_output,
            min_tokens=self.min_tokens,
            ignore_eos=self.ignore_eos,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias={
                t: max(-_BIAS_LIMIT, min(_BIAS_LIMIT, b)) for t, b in self.logit_bias.items()
            },
            logprobs=self._logprobs,
            skip_special_tokens=self.skip_special_tokens,
        )

    @property
    def _most_tokens(self) -> int | None:
        return self.max_tokens

    @property
    def _logprobs(self) -> int | None:
        raise NotImplementedError


def check_logprobs(count: int, name: str) -> None:
    if count < 0:
        raise RequestRefused(f"`{name}` must be a positive value.", name)
    if count > _MOST_LOGPROBS:
        raise RequestRefused(
            f"Requested sample logprobs of {count}, which is greater than max allowed: "
            f"{_MOST_LOGPROBS}",
            name,
        )
