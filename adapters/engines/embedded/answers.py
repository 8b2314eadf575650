"""The bodies this engine answers with, in OpenAI's shape with vLLM's additions."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.engines.embedded.batcher import Completion
from adapters.engines.embedded.model import LoadedModel
from adapters.engines.embedded.sampling import TokenLogprobs
from adapters.engines.embedded.worker import Delta

Body = dict[str, Any]


@dataclass(slots=True)
class AnswerWriter:
    """Writes the answer to one request; `chat` decides between the two shapes."""

    model: LoadedModel
    model_name: str
    chat: bool
    prompts: Sequence[str] = ()  # texts to repeat before each answer (`echo`), or nothing
    id: str = field(default="")
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.id = f"{'chatcmpl' if self.chat else 'cmpl'}-{uuid.uuid4().hex}"

    def whole(self, answers: Sequence[Completion], usage: Body) -> Body:
        """The body of a request that is not streamed."""
        body = self._envelope("chat.completion" if self.chat else "text_completion")
        body["choices"] = [self._choice(index, answer) for index, answer in enumerate(answers)]
        body["usage"] = {**usage, "prompt_tokens_details": None}
        return body

    def opening(self, index: int) -> Body | None:
        """The chunk before an answer's first: the role, or the echoed prompt."""
        if self.chat:
            return self._chunk({"index": index, "delta": {"role": "assistant", "content": ""}})
        return self._chunk({"index": index, "text": self.prompts[index]}) if self.prompts else None

    def chunk(self, delta: Delta, offset: int) -> Body:
        """A chunk; `offset` is where its text begins in the answer."""
        choice: Body = {"index": delta.index}
        if self.chat:
            choice["delta"] = {"content": delta.text}
        else:
            choice["text"] = delta.text
        choice["logprobs"] = self._logprobs(delta.logprobs, offset)
        choice["finish_reason"] = delta.finish_reason
        if delta.finish_reason is not None:
            choice["stop_reason"] = delta.stop_reason
        return self._chunk(choice)

    def closing(self, usage: Body) -> Body:
        """The last chunk, when usage was asked for."""
        return {**self._envelope(self._chunk_object), "choices": [], "usage": usage}

    @property
    def _chunk_object(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _envelope(self, kind: str) -> Body:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model_name}

    def _chunk(self, choice: Body) -> Body:
        return {
            **self._envelope(self._chunk_object),
            "choices": [{"logprobs": None, "finish_reason": None, **choice}],
        }

    def _choice(self, index: int, answer: Completion) -> Body:
        choice: Body = {"index": index}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": answer.text, "refusal": None}
        else:
            choice["text"] = (self.prompts[index] if self.prompts else "") + answer.text
        choice["logprobs"] = self._logprobs(answer.logprobs, 0)
        choice["finish_reason"] = answer.finish_reason
        choice["stop_reason"] = answer.stop_reason
        return choice

    def _logprobs(self, positions: Sequence[TokenLogprobs], offset: int) -> Body | None:
        if not positions:
            return None
        if self.chat:
            return {"content": [self._chat_position(position) for position in positions]}
        tokens = [self._token(position.token) for position in positions]
        offsets = [offset]
        for token in tokens[:-1]:
            offsets.append(offsets[-1] + len(token))
        tops = [
            {self._token(t): p for t, p in ((at.token, at.logprob), *at.top)} for at in positions
        ]
        return {
            "text_offset": offsets,
            "token_logprobs": [position.logprob for position in positions],
            "tokens": tokens,
            "top_logprobs": tops,
        }

    def _chat_position(self, position: TokenLogprobs) -> Body:
        chosen = self._likely(position.token, position.logprob)
        return {**chosen, "top_logprobs": [self._likely(token, p) for token, p in position.top]}

    def _likely(self, token: int, logprob: float) -> Body:
        text = self._token(token)
        return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode())}

    def _token(self, token: int) -> str:
        return self.model.decode([token], skip_special_tokens=False)


def usage(prompt_tokens: int, completion_tokens: int) -> Body:
    """Token counts of one request; an answer's end token counts, as it was computed."""
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
    }


def model_cards(model: LoadedModel, served_name: str, max_model_len: int, created: int) -> Body:
    """`GET /v1/models`: the base model, then the adapters."""
    cards = [_card(served_name, str(model.folder), None, max_model_len, created)]
    for name, path in model.adapters.items():
        cards.append(_card(name, path, served_name, None, created))
    return {"object": "list", "data": cards}


def _card(
    name: str, root: str, parent: str | None, max_model_len: int | None, created: int
) -> Body:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "turnout",
        "root": root,
        "parent": parent,
        "max_model_len": max_model_len,
        "permission": [],
    }
