"""Server-sent events from the engine to the caller, counted on the way through.

Bytes are relayed as they came; each event is parsed once, for the interaction record. The format is
that of the WHATWG
HTML standard, section 9.2, as OpenAI uses it: `data: JSON` and a last `data: [DONE]`.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.errors import EngineFailed, Problem

DONE = b"data: [DONE]\n\n"
MAX_EVENT_BYTES = 4 * 2**20


@dataclass(slots=True)
class Tally:
    """What an answer has said so far; complete when the stream is."""

    id: str = ""
    model: str = ""
    created: int = 0
    texts: dict[int, list[str]] = field(default_factory=dict)
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    events: int = 0
    done: bool = False

    @property
    def text(self) -> str:
        """The first choice's text."""
        return "".join(self.texts.get(0, ()))

    def add(self, event: dict[str, Any]) -> None:
        """Count one parsed event."""
        if not self.id:
            self.id = str(event.get("id") or "")
            self.model = str(event.get("model") or "")
            self.created = int(event.get("created") or 0)
        for choice in event.get("choices") or ():
            piece = choice.get("text") or (choice.get("delta") or {}).get("content")
            if piece:
                self.texts.setdefault(choice.get("index", 0), []).append(piece)
                self.events += 1
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        self.count_usage(event.get("usage"))

    def add_whole(self, body: dict[str, Any]) -> None:
        """Count an answer that came in one piece."""
        self.add(
            {
                **body,
                "choices": [
                    {**choice, "delta": choice.get("message")} for choice in body["choices"]
                ],
            }
        )

    def count_usage(self, usage: object) -> None:
        if isinstance(usage, dict):
            self.prompt_tokens = int(usage.get("prompt_tokens") or 0)
            self.completion_tokens = int(usage.get("completion_tokens") or 0)

    def settle(self) -> None:
        """After an aborted stream no usage event came: one content event is at least one token."""
        self.completion_tokens = self.completion_tokens or self.events


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut a byte stream into whole events, each with its blank line; raises EngineFailed on an
    endless event."""
    buffer = b""
    async for chunk in chunks:
        buffer += chunk
        if b"\r" in buffer:
            buffer = buffer.replace(b"\r\n", b"\n")
        *whole, buffer = buffer.split(b"\n\n")
        for event in whole:
            yield event + b"\n\n"
        if len(buffer) > MAX_EVENT_BYTES:
            raise EngineFailed(
                502, f"the engine sent an event of more than {MAX_EVENT_BYTES} bytes"
            )


def payload(event: bytes) -> dict[str, Any] | None:
    """The JSON object of an event; None for comments, `[DONE]` and what is not an object."""
    if not event.startswith(b"data:"):
        return None
    try:
        parsed = orjson.loads(event[5:])
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


async def relay(
    incoming: AsyncIterator[bytes],
    tally: Tally,
    *,
    wants_usage: bool,
    sources: dict[str, Any] | None,
) -> AsyncIterator[bytes]:
    """Pass events on, up to but without `[DONE]`, which the caller sends once the record is
    written.

    `sources` (annotations and passages) goes out as an event of its own behind the first one. The
    usage event that we
    asked the engine for is held back unless the caller asked for it as well.
    """
    async for event in incoming:
        parsed = payload(event)
        if parsed is None:
            if event.startswith(b"data:") and event[5:].strip() == b"[DONE]":
                tally.done = True
                return
            yield event
            continue
        if "error" in parsed and "choices" not in parsed:
            raise EngineFailed(502, f"the engine failed while answering: {_message(parsed)}")
        first = not tally.id
        tally.add(parsed)
        if not parsed.get("choices") and parsed.get("usage") and not wants_usage:
            continue
        yield event
        if first and sources is not None:
            yield _sources_event(parsed, sources)
    raise EngineFailed(502, "the engine ended its stream without [DONE]")


def error_event(problem: Problem) -> bytes:
    """The one event that ends a stream whose status is spent."""
    return b"data: " + problem.body() + b"\n\n"


def _sources_event(first: dict[str, Any], sources: dict[str, Any]) -> bytes:
    delta = {"annotations": sources["annotations"]}
    event: dict[str, Any] = {
        **{name: first[name] for name in ("id", "object", "created", "model") if name in first},
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
        "turnout": {"sources": sources["sources"]},
    }
    return b"data: " + orjson.dumps(event) + b"\n\n"


def _message(parsed: dict[str, Any]) -> str:
    error = parsed["error"]
    return str(error.get("message")) if isinstance(error, dict) else str(error)
