"""Answering chat and text completions: prompts to tokens, through the worker, and answers out."""

import asyncio
from collections.abc import AsyncIterator

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from adapters.engines.embedded.answers import AnswerWriter, Body, usage
from adapters.engines.embedded.batcher import BASE_MODEL, Batcher, GenerationRequest
from adapters.engines.embedded.bodies import json_response, read
from adapters.engines.embedded.errors import (
    ContextOverflow,
    EngineFailure,
    RequestRefused,
    UnknownModel,
)
from adapters.engines.embedded.generation_fields import GenerationFields
from adapters.engines.embedded.protocol import (
    ChatRequest,
    CompletionRequest,
    TokenizeRequest,
    text_messages,
)
from adapters.engines.embedded.worker import Stream, Worker

# nginx's status for a client that went away; nobody reads it.
_CLIENT_CLOSED_REQUEST = 499


class Completions:
    """The routes that read prompts."""

    def __init__(self, batcher: Batcher, worker: Worker, served_name: str) -> None:
        self._model, self._worker, self._served_name = batcher.model, worker, served_name
        self._max_model_len = batcher.max_model_len

    async def chat(self, request: Request) -> Response:
        """`POST /v1/chat/completions`."""
        asked = await read(request, ChatRequest)
        adapter = self._adapter(asked.model)
        prompt = await asyncio.to_thread(self._chat_tokens, asked)
        writer = AnswerWriter(self._model, asked.model or self._served_name, chat=True)
        return await self._answer(request, asked, adapter, [prompt], writer)

    async def complete(self, request: Request) -> Response:
        """`POST /v1/completions`."""
        asked = await read(request, CompletionRequest)
        adapter = self._adapter(asked.model)
        special = asked.add_special_tokens
        prompts = [
            await asyncio.to_thread(self._tokens, prompt, special) for prompt in asked.prompts()
        ]
        texts = [
            p if isinstance(p, str) else self._model.decode(p)
            for p in asked.prompts()
            if asked.echo
        ]
        echoed = [text for text in texts for _ in range(asked.n)]
        writer = AnswerWriter(
            self._model, asked.model or self._served_name, chat=False, prompts=echoed
        )
        return await self._answer(request, asked, adapter, prompts, writer)

    async def tokenize(self, request: Request) -> Response:
        """`POST /tokenize`."""
        asked = await read(request, TokenizeRequest)
        self._adapter(asked.model)
        if asked.messages is not None:
            tokens = await asyncio.to_thread(self._chat_tokens, asked)
        else:
            special = asked.add_special_tokens is not False
            tokens = await asyncio.to_thread(self._tokens, asked.prompt or "", special)
        texts = (
            self._model.tokenizer.convert_ids_to_tokens(tokens) if asked.return_token_strs else None
        )
        return json_response(
            {
                "count": len(tokens),
                "max_model_len": self._max_model_len,
                "tokens": tokens,
                "token_strs": texts,
            }
        )

    async def _answer(
        self,
        request: Request,
        asked: GenerationFields,
        adapter: str | None,
        prompts: list[list[int]],
        writer: AnswerWriter,
    ) -> Response:
        asked = asked.with_defaults(self._model.sampling_defaults)
        requests = [
            GenerationRequest(tuple(prompt), asked.sampling(self._model.vocabulary, index), adapter)
            for prompt in prompts
            for index in range(asked.n)
        ]
        stream = self._worker.submit(requests)
        prompt_tokens = sum(map(len, prompts))
        if asked.stream:
            return EventStream(stream, writer, prompt_tokens, asked.include_usage)
        try:
            await _finished(stream, request)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        finally:
            stream.close()
        answers = [sequence.completion() for sequence in stream.sequences]
        answered = sum(answer.completion_tokens for answer in answers)
        return json_response(writer.whole(answers, usage(prompt_tokens, answered)))

    def _adapter(self, name: str | None) -> str | None:
        if not name or name == self._served_name:
            return BASE_MODEL
        if name in self._model.adapters:
            return name
        raise UnknownModel(
            f"The model `{name}` does not exist. Valid aliases: {self._served_name}.", "model"
        )

    def _chat_tokens(self, asked: ChatRequest | TokenizeRequest) -> list[int]:
        text = self._model.render_chat(
            text_messages(asked.messages or []),
            add_generation_prompt=asked.add_generation_prompt,
            continue_final_message=asked.continue_final_message,
            template_values=asked.chat_template_kwargs,
        )
        return self._tokens(text, add_special_tokens=False)

    def _tokens(self, prompt: str | list[int], add_special_tokens: bool) -> list[int]:
        if not isinstance(prompt, str):
            outside = [token for token in prompt if token >= self._model.vocabulary]
            if outside:
                raise RequestRefused(f"Token id {outside[0]} is out of vocabulary", "prompt")
            return prompt
        most = self._max_model_len * self._model.most_token_characters
        if len(prompt) > most:  # tokenising megabytes only to refuse them would take seconds
            raise ContextOverflow(
                f"This model's maximum context length is {self._max_model_len} tokens. However, "
                f"your prompt contains {len(prompt)} characters (more than {most} characters, "
                f"which is the upper bound for {self._max_model_len} input tokens). "
                "Please reduce the length of the input prompt.",
                "input_text",
            )
        return self._model.encode(prompt, add_special_tokens=add_special_tokens)


class EventStream(StreamingResponse):
    """Answers as server-sent events; what nobody reads any more is not computed."""

    def __init__(
        self, stream: Stream, writer: AnswerWriter, prompt_tokens: int, include_usage: bool
    ) -> None:
        events = _events(stream, writer, prompt_tokens, include_usage)
        super().__init__(events, media_type="text/event-stream")
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Here and not in the generator: one that was never begun does not run its `finally`.
            self._stream.close()


async def _events(
    stream: Stream, writer: AnswerWriter, prompt_tokens: int, include_usage: bool
) -> AsyncIterator[bytes]:
    """A failure after the first event is an event too, and the end."""
    answered = 0
    offsets = [0] * len(stream.sequences)
    try:
        for index in range(len(stream.sequences)):
            opening = writer.opening(index)
            if opening is not None:
                yield _event(opening)
        async for delta in stream:
            answered += len(delta.tokens)
            yield _event(writer.chunk(delta, offsets[delta.index]))
            offsets[delta.index] += len(delta.text)
        if include_usage:
            yield _event(writer.closing(usage(prompt_tokens, answered)))
    except EngineFailure as exc:
        yield _event(exc.body())
    yield b"data: [DONE]\n\n"


def _event(body: Body) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


async def _finished(stream: Stream, request: Request) -> None:
    """Wait for all answers. Raises ClientDisconnect as soon as the caller goes away."""
    answers = asyncio.create_task(_drain(stream))
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((answers, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answers.done():
            raise ClientDisconnect
        answers.result()
    finally:
        answers.cancel()
        gone.cancel()


async def _drain(stream: Stream) -> None:
    async for _ in stream:
        pass


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
