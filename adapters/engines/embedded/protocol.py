"""What callers may send to each route."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from adapters.engines.embedded.errors import RequestRefused
from adapters.engines.embedded.generation_fields import (
    MOST_SEQUENCES,
    GenerationFields,
    TokenId,
    check_logprobs,
    or_default,
)


class ChatRequest(GenerationFields):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    max_completion_tokens: int | None = None
    logprobs: Annotated[bool, or_default(False)] = False
    top_logprobs: Annotated[int, or_default(0)] = 0
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "ChatRequest":
        if self.continue_final_message and "add_generation_prompt" in self.model_fields_set:
            if self.add_generation_prompt:
                raise RequestRefused(
                    "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
                )
        if self.top_logprobs and not self.logprobs:
            raise RequestRefused(
                "when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs"
            )
        check_logprobs(self.top_logprobs, "top_logprobs")
        return self

    @property
    def _most_tokens(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def _logprobs(self) -> int | None:
        return self.top_logprobs if self.logprobs else None


class CompletionRequest(GenerationFields):
    """`POST /v1/completions`. A prompt is text or tokens, or a list of either."""

    prompt: str | list[TokenId] | list[str] | list[list[TokenId]]
    max_tokens: int | None = 16
    logprobs: int | None = None
    echo: Annotated[bool, or_default(False)] = False
    add_special_tokens: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> "CompletionRequest":
        if self.logprobs is not None:
            check_logprobs(self.logprobs, "logprobs")
            if self.echo:
                raise RequestRefused(
                    "`echo` with `logprobs` is not supported by the embedded engine.", "echo"
                )
        if not self.prompt or not all(self.prompts()):
            raise RequestRefused(
                "Either prompt or prompt_embeds must be provided and non-empty.", "prompt"
            )
        if len(self.prompts()) * self.n > MOST_SEQUENCES:
            raise RequestRefused(f"n times prompts must be at most {MOST_SEQUENCES}.", "n")
        return self

    def prompts(self) -> list[str | list[int]]:
        """The prompts, one of each answer times n."""
        if isinstance(self.prompt, str) or isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)

    @property
    def _logprobs(self) -> int | None:
        return self.logprobs


class TokenizeRequest(BaseModel):
    """`POST /tokenize`: a prompt, or messages."""

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template_kwargs: dict[str, Any] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = False

    @model_validator(mode="after")
    def _one_of(self) -> "TokenizeRequest":
        if (self.prompt is None) == (self.messages is None):
            raise RequestRefused("Either `prompt` or `messages` must be given.", "prompt")
        return self


class LoadAdapterRequest(BaseModel):
    """`POST /v1/load_lora_adapter`."""

    lora_name: str
    lora_path: str
    load_inplace: bool = False


class UnloadAdapterRequest(BaseModel):
    """`POST /v1/unload_lora_adapter`."""

    lora_name: str


def text_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages with plain text as content; parts of type text are joined by line breaks."""
    return [{**message, "content": _text(message)} for message in messages]


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if not isinstance(message.get("role"), str):
        raise RequestRefused("Each message needs a `role`.", "messages")
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise RequestRefused("`content` must be text or a list of parts.", "messages")
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    texts = [text for text in parts if isinstance(text, str)]
    if len(texts) < len(parts):
        raise RequestRefused(
            "Only parts of type text are supported by the embedded engine.", "messages"
        )
    return "\n".join(texts)
