"""The engine's HTTP surface: the part of vLLM's that the gateway uses."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from importlib.metadata import version

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from adapters.engines.embedded.answers import model_cards
from adapters.engines.embedded.batcher import Batcher
from adapters.engines.embedded.bodies import error_handlers, json_response, read
from adapters.engines.embedded.completions import Completions
from adapters.engines.embedded.errors import EngineFailure, InvalidAdapterName
from adapters.engines.embedded.metrics import Metrics
from adapters.engines.embedded.protocol import LoadAdapterRequest, UnloadAdapterRequest
from adapters.engines.embedded.worker import Worker


def create_app(batcher: Batcher, served_name: str) -> Starlette:
    """The ASGI application for this batcher; its lifespan runs the compute thread."""
    metrics = Metrics(served_name, batcher.max_loras)
    worker = Worker(batcher, metrics)
    completions = Completions(batcher, worker, served_name)
    management = Management(batcher, worker, metrics, served_name)

    @contextlib.asynccontextmanager
    async def computing(_app: Starlette) -> AsyncIterator[None]:
        worker.start()
        yield
        worker.stop()

    return Starlette(
        routes=[
            Route("/v1/chat/completions", completions.chat, methods=["POST"]),
            Route("/v1/completions", completions.complete, methods=["POST"]),
            Route("/tokenize", completions.tokenize, methods=["POST"]),
            Route("/v1/models", management.models),
            Route("/v1/load_lora_adapter", management.load_adapter, methods=["POST"]),
            Route("/v1/unload_lora_adapter", management.unload_adapter, methods=["POST"]),
            Route("/health", management.health),
            Route("/metrics", management.metrics),
            Route("/version", management.version),
        ],
        exception_handlers=error_handlers(),
        lifespan=computing,
    )


class Management:
    """The routes about the engine itself and its adapters."""

    def __init__(
        self, batcher: Batcher, worker: Worker, metrics: Metrics, served_name: str
    ) -> None:
        self._batcher, self._worker, self._metrics = batcher, worker, metrics
        self._model, self._served_name = batcher.model, served_name
        self._changing = asyncio.Lock()
        self._created = int(time.time())

    async def models(self, _request: Request) -> Response:
        """`GET /v1/models`."""
        length = self._batcher.max_model_len
        return json_response(model_cards(self._model, self._served_name, length, self._created))

    async def load_adapter(self, request: Request) -> Response:
        """`POST /v1/load_lora_adapter`; statuses and texts are vLLM's."""
        asked = await read(request, LoadAdapterRequest)
        name = asked.lora_name
        if not name or not asked.lora_path:
            raise InvalidAdapterName("Both 'lora_name' and 'lora_path' must be provided.")
        if name == self._served_name:
            raise InvalidAdapterName(
                f"The lora adapter '{name}' conflicts with a served base model."
            )
        async with self._changing:
            if name in self._model.adapters and not asked.load_inplace:
                raise InvalidAdapterName(
                    f"The lora adapter '{name}' has already been loaded. "
                    "If you want to load the adapter in place, set 'load_inplace' to True."
                )
            await asyncio.to_thread(self._model.load_adapter, name, asked.lora_path)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def unload_adapter(self, request: Request) -> Response:
        """`POST /v1/unload_lora_adapter`; requests under way finish with the adapter."""
        name = (await read(request, UnloadAdapterRequest)).lora_name
        if not name:
            raise InvalidAdapterName("'lora_name' needs to be provided to unload a LoRA adapter.")
        async with self._changing:
            self._model.unload_adapter(name)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def health(self, _request: Request) -> Response:
        """`GET /health`: 200 while the compute thread lives."""
        if not self._worker.alive:
            raise EngineFailure("The compute thread has ended.")
        return Response()

    async def metrics(self, _request: Request) -> Response:
        """`GET /metrics`."""
        return Response(
            self._metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    async def version(self, _request: Request) -> Response:
        """`GET /version`."""
        return json_response({"version": version("turnout"), "engine": "turnout-embedded"})
