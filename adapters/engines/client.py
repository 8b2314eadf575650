"""Talking to one engine replica about itself and its adapters: is it well, how busy, what does it
hold; load, unload, a tiny generation as proof.

vLLM's endpoints (vllm/entrypoints/openai/api_server.py, serving_models.py) and metrics
(vllm/v1/metrics/loggers.py); the embedded engine speaks the same.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from adapters.errors import EngineError

_SHORT, _LOAD = 5.0, 60.0  # seconds for the whole answer
_GAUGE = re.compile(r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} (\S+)$", re.MULTILINE)
_LORAS = re.compile(
    r'^vllm:lora_requests_info\{[^}]*running_lora_adapters="([^"]*)"[^}]*\} (\S+)$', re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Question:
    """An HTTP request without redirects; `seconds` bounds the whole answer."""

    method: str
    url: str
    body: bytes
    key: str | None
    seconds: float


# Returns status and body; raises EngineTimeout or EngineError when no answer comes.
Ask = Callable[[Question], Awaitable[tuple[int, bytes]]]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a replica serves: its base models and its adapters, each with the path it was loaded
    from."""

    bases: dict[str, str]
    adapters: dict[str, str]


@dataclass(frozen=True, slots=True)
class Business:
    """How busy a replica is: requests running or waiting, and adapters that are generating."""

    requests: int
    adapters: frozenset[str]


class EngineClient:
    """One replica at `url`, asked through `ask`."""

    def __init__(self, ask: Ask, url: str, key: str | None = None) -> None:
        self._ask = ask
        self.url = url.rstrip("/")
        self._key = key

    async def health(self) -> None:
        """Raises EngineError unless `/health` says that the engine is well."""
        await self._text("GET", "/health", None, _SHORT)

    async def business(self) -> Business:
        """What `/metrics` says of requests under way, all data-parallel ranks together."""
        text = await self._text("GET", "/metrics", None, _SHORT)
        # One series per set of adapters ever seen; its value is when, in unix seconds.
        seen = max(_LORAS.findall(text), key=lambda found: float(found[1]), default=("", "0"))
        requests = sum(int(float(count)) for count in _GAUGE.findall(text))
        # An idle engine leaves the series as it was.
        names = seen[0].split(",") if requests else []
        return Business(requests, frozenset(name for name in names if name))

    async def holdings(self) -> Holdings:
        """The models of `/v1/models`; adapters are those with a `parent`."""
        body = await self._json("GET", "/v1/models", None, _SHORT)
        cards = body.get("data")
        if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
            raise EngineError(f"{self.url}/v1/models did not list models")
        held = [
            (str(card.get("id")), str(card.get("root") or ""), card.get("parent")) for card in cards
        ]
        return Holdings(
            bases={name: root for name, root, parent in held if not parent},
            adapters={name: root for name, root, parent in held if parent},
        )

    async def load(self, version: str, folder: Path) -> None:
        """Load a version under its own name from an absolute path; already loaded is success."""
        try:
            body: dict[str, object] = {"lora_name": version, "lora_path": str(folder)}
            await self._text("POST", "/v1/load_lora_adapter", body, _LOAD)
        except EngineError as exc:
            if exc.status != 400 or "already been loaded" not in str(exc):
                raise

    async def unload(self, version: str) -> None:
        """Unload a version; one that is not there is success."""
        try:
            await self._text("POST", "/v1/unload_lora_adapter", {"lora_name": version}, _LOAD)
        except EngineError as exc:
            if exc.status != 404:
                raise

    async def probe(self, model: str) -> None:
        """Generate one token with `model`; raises EngineError unless an answer comes."""
        body = {"model": model, "prompt": "a", "max_tokens": 1, "temperature": 0}
        answer = await self._json("POST", "/v1/completions", body, _LOAD)
        if answer.get("model") != model or not answer.get("choices"):
            raise EngineError(
                f"{self.url}: the probe of {model} was answered by {answer.get('model')!r}"
            )

    async def _text(
        self, method: str, path: str, body: dict[str, object] | None, seconds: float
    ) -> str:
        """The answer's text; raises EngineError for any status but 200 and when none comes."""
        content = b"" if body is None else orjson.dumps(body)
        question = Question(method, self.url + path, content, self._key, seconds)
        status, answer = await self._ask(question)
        text = answer.decode(errors="replace")
        if status != 200:
            raise EngineError(f"{self.url}{path}: {status} {text[:300]}", status)
        return text

    async def _json(
        self, method: str, path: str, body: dict[str, object] | None, seconds: float
    ) -> dict[str, object]:
        text = await self._text(method, path, body, seconds)
        try:
            parsed = orjson.loads(text)
        except orjson.JSONDecodeError as exc:
            raise EngineError(f"{self.url}{path}: not JSON: {text[:100]!r}") from exc
        if not isinstance(parsed, dict):
            raise EngineError(f"{self.url}{path}: expected a JSON object")
        return parsed
