"""Talking to one engine replica about its adapters: what it holds, load, unload, a tiny generation
as proof.

vLLM's endpoints (vllm/entrypoints/openai/api_server.py, serving_models.py); the embedded engine
speaks the same.
"""

from dataclasses import dataclass
from pathlib import Path

import aiohttp

from adapters.errors import EngineError

_SHORT = aiohttp.ClientTimeout(total=5)
_LOAD = aiohttp.ClientTimeout(total=120)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a replica serves: its base models and its adapters, each with the path it was loaded
    from."""

    bases: dict[str, str]
    adapters: dict[str, str]


class EngineClient:
    """One replica at `url`. The session is shared and not closed here."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str | None = None) -> None:
        self._session = session
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def holdings(self) -> Holdings:
        """The models of `/v1/models`; adapters are those with a `parent`."""
        body = await self._json("GET", "/v1/models", None, _SHORT)
        cards = body.get("data")
        if not isinstance(cards, list):
            raise EngineError(f"{self.url}/v1/models did not list models")
        held = [
            (str(card["id"]), str(card.get("root") or ""), card.get("parent")) for card in cards
        ]
        return Holdings(
            bases={name: root for name, root, parent in held if not parent},
            adapters={name: root for name, root, parent in held if parent},
        )

    async def load(self, version: str, folder: Path) -> None:
        """Load a version under its own name from an absolute path; already loaded is success."""
        try:
            await self._text(
                "/v1/load_lora_adapter", {"lora_name": version, "lora_path": str(folder)}
            )
        except EngineError as exc:
            if exc.status != 400 or "already been loaded" not in str(exc):
                raise

    async def unload(self, version: str) -> None:
        """Unload a version; one that is not there is success."""
        try:
            await self._text("/v1/unload_lora_adapter", {"lora_name": version})
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

    async def _text(self, path: str, body: dict[str, object]) -> str:
        try:
            async with self._session.post(
                self.url + path, json=body, headers=self._headers, timeout=_LOAD
            ) as answer:
                text = await answer.text()
                if answer.status != 200:
                    raise EngineError(
                        f"{self.url}{path}: {answer.status} {text[:300]}", answer.status
                    )
                return text
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise EngineError(f"{self.url}{path}: {exc or type(exc).__name__}") from exc

    async def _json(
        self, method: str, path: str, body: dict[str, object] | None, limits: aiohttp.ClientTimeout
    ) -> dict[str, object]:
        try:
            async with self._session.request(
                method, self.url + path, json=body, headers=self._headers, timeout=limits
            ) as answer:
                if answer.status != 200:
                    raise EngineError(
                        f"{self.url}{path}: {answer.status} {(await answer.text())[:300]}",
                        answer.status,
                    )
                parsed = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
            raise EngineError(f"{self.url}{path}: {exc or type(exc).__name__}") from exc
        if not isinstance(parsed, dict):
            raise EngineError(f"{self.url}{path}: expected a JSON object")
        return parsed
