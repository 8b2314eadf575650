"""A caller's body, parsed once: what the gateway must know, with the rest left as it came.

Unknown fields belong to the engine and pass through; only what Turnout itself reads is checked
here.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any

import orjson
from msgspec import Struct

from gateway.errors import BadRequest

MAX_NAME = 256
NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})


class Endpoint(StrEnum):
    """The inference paths, by the engine's path."""

    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"

    @cached_property
    def label(self) -> str:
        """The metric label: `chat.completions`, `completions`."""
        return self.value.removeprefix("/v1/").replace("/", ".")


class Extras(Struct, frozen=True):
    """The body's `turnout` object. `top_k` 0 means no retrieval, None the domain's own setting."""

    domain: str | None = None
    top_k: int | None = None
    index: str | None = None
    session: str | None = None
    log: bool = True
    train: bool = True


class InferenceRequest(Struct, frozen=True):
    """One request. `body` is what the engine gets, apart from model and grounding; `debug` asks for
    an account of how a replica was chosen."""

    endpoint: Endpoint
    model: str
    stream: bool
    wants_usage: bool
    messages: list[dict[str, Any]]
    prompt: str
    unit: str | None
    extras: Extras
    body: dict[str, Any]
    debug: bool = False


_NO_EXTRAS = Extras()


def parse_request(
    endpoint: Endpoint, raw: bytes, headers: Mapping[bytes, bytes] = NO_HEADERS
) -> InferenceRequest:
    """Read a body; raises BadRequest that names the field and what it should be.

    `headers` are as ASGI has them: names in lower case.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise BadRequest(f"the body is not valid JSON: {exc}", code="invalid_json") from exc
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object", code="invalid_json")
    model = _text(body, "model", required=True) or ""
    stream = _flag(body, "stream", False)
    extras = _extras(body.pop("turnout", None))
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise BadRequest("stream_options must be an object", param="stream_options")
    chat = endpoint is Endpoint.CHAT
    _spare_engines(body, chat)
    session = extras.session or headers.get(b"x-session-id", b"").decode("latin-1")
    return InferenceRequest(
        endpoint=endpoint,
        model=model,
        stream=stream,
        wants_usage=bool(options and options.get("include_usage")),
        messages=_messages(body) if chat else [],
        prompt="" if chat else _prompt(body),
        unit=session or _text(body, "safety_identifier") or _text(body, "user"),
        extras=extras,
        body=body,
        debug=headers.get(b"x-turnout-debug", b"0") != b"0",
    )


def _spare_engines(body: dict[str, Any], chat: bool) -> None:
    """Refuse what ends a vLLM with adapters for everybody who uses it: log probabilities of prompts
    beside other requests (vLLM issues 16668 and 29955). `echo` asks for them too: always in chat,
    else together with `logprobs`."""
    for name, asked in (
        ("prompt_logprobs", body.get("prompt_logprobs") is not None),
        ("echo", body.get("echo") and (chat or body.get("logprobs") is not None)),
    ):
        if asked:
            raise BadRequest(
                f"{name} is not passed on, as log probabilities of prompts can end a vLLM that "
                "holds adapters; ask an engine of your own for them",
                param=name,
            )


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a list with at least one message", param="messages")
    for position, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest(
                f"messages[{position}] must be an object with a string `role`",
                param=f"messages[{position}]",
            )
        if not isinstance(message.get("content"), str | list | None):
            raise BadRequest(
                f"messages[{position}].content must be a string or a list of parts",
                param=f"messages[{position}].content",
            )
    return messages


def _prompt(body: dict[str, Any]) -> str:
    prompt = body.get("prompt")
    first = prompt[0] if isinstance(prompt, list) and prompt else prompt
    if isinstance(first, str):
        return first
    if isinstance(first, int | list):  # token ids: nothing to route by
        return ""
    raise BadRequest("prompt must be a string, a list of strings or token ids", param="prompt")


def _extras(raw: object) -> Extras:
    if raw is None:
        return _NO_EXTRAS
    if not isinstance(raw, dict):
        raise BadRequest("turnout must be an object", param="turnout")
    known = {"domain", "retrieval", "session", "log", "train"}
    for name in raw.keys() - known:
        raise BadRequest(
            f"turnout.{name} is unknown; known are {', '.join(sorted(known))}",
            param=f"turnout.{name}",
        )
    top_k, index = _retrieval(raw.get("retrieval"))
    return Extras(
        domain=_text(raw, "domain", prefix="turnout."),
        top_k=top_k,
        index=index,
        session=_text(raw, "session", prefix="turnout."),
        log=_flag(raw, "log", True, prefix="turnout."),
        train=_flag(raw, "train", True, prefix="turnout."),
    )


def _retrieval(raw: object) -> tuple[int | None, str | None]:
    if raw is None or raw is True:
        return None, None
    if raw is False:
        return 0, None
    if not isinstance(raw, dict):
        raise BadRequest(
            'turnout.retrieval must be false or {"top_k", "index"}', param="turnout.retrieval"
        )
    top_k = raw.get("top_k")
    if top_k is not None and (type(top_k) is not int or not 0 <= top_k <= 50):
        raise BadRequest(
            "turnout.retrieval.top_k must be an integer from 0 to 50",
            param="turnout.retrieval.top_k",
        )
    return top_k, _text(raw, "index", prefix="turnout.retrieval.")


def _text(
    body: dict[str, Any], name: str, *, required: bool = False, prefix: str = ""
) -> str | None:
    value = body.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise BadRequest(
            f"{prefix}{name} must be a string of 1 to {MAX_NAME} characters",
            param=f"{prefix}{name}",
        )
    return value


def _flag(body: dict[str, Any], name: str, default: bool, *, prefix: str = "") -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadRequest(f"{prefix}{name} must be true or false", param=f"{prefix}{name}")
    return value
