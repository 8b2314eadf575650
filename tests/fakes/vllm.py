"""A small model server: speaks vLLM's HTTP, streams, holds adapters, and is slow or broken on
request.

What it does is steered by the last user message: `say TEXT` answers TEXT, `fail 400` answers that
status, `wait 0.5` sleeps first, `break` cuts the stream after two events, `quiz QUESTION` is
answered with `right` or `wrong` after a moment, by what the model knows. Anything else is answered
with `echo: …`.
"""

import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route


class FakeVllm:
    """One replica. `seen` are the bodies it got, `cancelled` counts answers that were not
    finished, `knows` is the part of all questions that a model answers right, 0 by default."""

    def __init__(self, base: str = "tiny", root: str = "/nowhere") -> None:
        self.base = base
        self.root = root
        self.adapters: dict[str, str] = {}
        self.seen: list[dict[str, Any]] = []
        self.cancelled = 0
        self.healthy = True
        self.busy = 0
        self.knows: dict[str, float] = {}
        self.refuse_load = ""
        self.refuse_unload = ""
        self.load_seconds = 0.0
        self.broken = False
        self.stuck = False
        self.app = Starlette(
            routes=[
                Route("/health", self.health),
                Route("/metrics", self.metrics),
                Route("/v1/models", self.models),
                Route("/v1/load_lora_adapter", self.load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self.unload, methods=["POST"]),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/completions", self.complete, methods=["POST"]),
            ]
        )

    async def health(self, _request: Request) -> Response:
        return Response(status_code=200 if self.healthy else 503)

    async def metrics(self, _request: Request) -> Response:
        """vLLM's gauges; `busy` are requests of somebody else's."""
        return PlainTextResponse(
            f'vllm:num_requests_running{{engine="0",model_name="{self.base}"}} {self.busy}.0\n'
            f'vllm:num_requests_waiting{{engine="0",model_name="{self.base}"}} 0.0\n'
        )

    async def models(self, _request: Request) -> Response:
        if not self.healthy:
            return Response(status_code=503)
        cards: list[dict[str, Any]] = [{"id": self.base, "root": self.root, "parent": None}]
        cards += [{"id": n, "root": p, "parent": self.base} for n, p in self.adapters.items()]
        return JSONResponse({"object": "list", "data": cards})

    async def load(self, request: Request) -> Response:
        body = await request.json()
        await asyncio.sleep(self.load_seconds)
        if self.refuse_load:
            return _error(500, self.refuse_load)
        if body["lora_name"] in self.adapters:
            return _error(400, f"The lora adapter '{body['lora_name']}' has already been loaded.")
        self.adapters[body["lora_name"]] = body["lora_path"]
        return PlainTextResponse(f"Success: LoRA adapter '{body['lora_name']}' added successfully.")

    async def unload(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        if self.refuse_unload:
            return _error(500, self.refuse_unload)
        if self.adapters.pop(name, None) is None:
            return _error(404, f"The lora adapter '{name}' cannot be found.")
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append(body)
        if body["model"] not in {self.base, *self.adapters}:
            return _error(404, f"The model `{body['model']}` does not exist.")
        choice = {"index": 0, "text": " done", "finish_reason": "length"}
        return JSONResponse(_whole("text_completion", body["model"], choice, 1, 1))

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append(body)
        if body["model"] not in {self.base, *self.adapters}:
            return _error(404, f"The model `{body['model']}` does not exist.")
        if self.stuck:
            await self._wait(request, 60)
        if self.broken:
            return _error(500, "told to be broken")
        command, _, rest = _last_user(body["messages"]).partition(" ")
        if command == "fail":
            return _error(int(rest), f"told to fail with {rest}")
        if command == "wait":
            await self._wait(request, float(rest))
        words = (rest if command == "say" else f"echo: {command} {rest}").split()
        if command == "quiz":
            await self._wait(request, 0.1)
            words = [self._quizzed(body["model"], rest)]
        if body.get("stream"):
            return StreamingResponse(
                self._stream(body, words, broken=command == "break"), media_type="text/event-stream"
            )
        message = {"role": "assistant", "content": " ".join(words)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse(_whole("chat.completion", body["model"], choice, 7, len(words)))

    def _quizzed(self, model: str, question: str) -> str:
        """The same answer to the same question."""
        is_known = random.Random(f"{model} {question}").random() < self.knows.get(model, 0.0)
        return "right" if is_known else "wrong"

    async def _wait(self, request: Request, seconds: float) -> None:
        """Sleep; a caller who leaves meanwhile is noticed, as vLLM does (entrypoints/utils.py)."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if await request.is_disconnected():
                self.cancelled += 1
                return
            await asyncio.sleep(0.02)

    async def _stream(
        self, body: dict[str, Any], words: list[str], *, broken: bool
    ) -> AsyncIterator[str]:
        common = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": body["model"],
        }
        slow = words[:2] == ["echo:", "slowly"]
        finished = False
        try:
            yield _event({**common, "choices": [_delta({"role": "assistant", "content": ""})]})
            for number, word in enumerate(words):
                if broken and number == 2:
                    raise ConnectionError("cut on request")
                if slow:
                    await asyncio.sleep(0.05)
                yield _event({**common, "choices": [_delta({"content": word + " "})]})
            yield _event({**common, "choices": [_delta({}, "stop")]})
            if (body.get("stream_options") or {}).get("include_usage"):
                usage = {"prompt_tokens": 7, "completion_tokens": len(words), "total_tokens": 7}
                yield _event({**common, "choices": [], "usage": usage})
            yield "data: [DONE]\n\n"
            finished = True
        finally:
            self.cancelled += not finished


def _delta(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _whole(
    kind: str, model: str, choice: dict[str, Any], prompt: int, completion: int
) -> dict[str, Any]:
    return {
        "id": f"{'chatcmpl' if 'chat' in kind else 'cmpl'}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
    }


def _error(status: int, message: str) -> Response:
    error = {"message": message, "type": "InvalidUserInput", "param": None, "code": status}
    return JSONResponse({"error": error}, status)


def _last_user(messages: list[dict[str, Any]]) -> str:
    said = [m["content"] for m in messages if m["role"] == "user"]
    return said[-1] if said and isinstance(said[-1], str) else ""
