"""The hot paths on the OpenAPI page: `front.py` answers them before FastAPI, so FastAPI cannot
describe them itself."""

from typing import Any

from fastapi import FastAPI

_EXTRAS = {
    "type": "object",
    "description": "Turnout's own options; removed before the engine sees the body.",
    "properties": {
        "domain": {"type": "string"},
        "retrieval": {"description": 'false, or {"top_k": int, "index": str}'},
        "session": {"type": "string"},
        "log": {"type": "boolean", "default": True},
        "train": {"type": "boolean", "default": True},
    },
}
_CONTENT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "/v1/chat/completions": (
        "Chat completion",
        "messages",
        {"type": "array", "items": {"type": "object"}},
    ),
    "/v1/completions": ("Text completion", "prompt", {"type": "string"}),
}


def document_hot_paths(app: FastAPI) -> None:
    """Make `app`'s schema name the inference endpoints as well."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        schema = described()
        for path, (summary, name, kind) in _CONTENT.items():
            schema["paths"][path] = {"post": _operation(summary, name, kind)}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema


def _operation(summary: str, name: str, kind: dict[str, Any]) -> dict[str, Any]:
    body = {
        "type": "object",
        "required": ["model", name],
        "properties": {
            "model": {
                "type": "string",
                "description": "auto, a general tier, a domain, or an adapter version",
            },
            name: kind,
            "stream": {"type": "boolean"},
            "turnout": _EXTRAS,
        },
        "additionalProperties": True,
    }
    return {
        "summary": summary,
        "description": "OpenAI's shape; unknown fields pass through to the engine.",
        "tags": ["inference"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": "OpenAI's answer, or server-sent events"}},
    }
