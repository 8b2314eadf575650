"""Server-sent events from the engine to the caller, counted on the way through.

Bytes are relayed as they came; each event is parsed once, for the interaction record. The format is
that of the WHATWG
HTML standard, section 9.2, as OpenAI uses it: `data: JSON` and a last `data: [DONE]`.
"""

from collections.abc import Callable
from typing import Any

import orjson
from msgspec import Struct, field

from adapters.interactions import Outcome
from gateway.errors import EngineFailed, Problem
from gateway.upstream import Answer

DONE = b"data: [DONE]\n\n"
MAX_EVENT_BYTES = 4 * 2**20


class Tally(Struct):
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


def payload(event: bytes) -> dict[str, Any] | None:
    """The JSON object of an event; None for comments, `[DONE]` and what is not an object."""
    if not event.startswith(b"data:"):
        return None
    try:
        parsed = orjson.loads(event[5:])
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


class Relay:
    """Cuts an engine's stream into whole events, counts them, and says which bytes to pass on.

    `sources` (annotations and passages) goes out as an event of its own behind the first one. The
    usage event that we asked the engine for is held back unless the caller asked for it as well.
    """

    def __init__(
        self, tally: Tally, *, wants_usage: bool, sources: dict[str, Any] | None = None
    ) -> None:
        self._tally = tally
        self._wants_usage = wants_usage
        self._sources = sources
        self._rest = b""
        self.failure: EngineFailed | None = None

    def feed(self, chunk: bytes) -> bytes:
        """What goes to the caller now: whole events, up to but without `[DONE]`, which is sent once
        the record is written (`tally.done`), and up to what the engine failed at (`failure`)."""
        data = self._rest + chunk if self._rest else chunk
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        *whole, self._rest = data.split(b"\n\n")
        ready: list[bytes] = []
        for event in whole:
            self._pass(event, ready)
            if self._tally.done or self.failure:
                break
        if len(self._rest) > MAX_EVENT_BYTES:
            self.failure = EngineFailed(
                502, f"the engine sent an event of more than {MAX_EVENT_BYTES} bytes"
            )
        if not ready:
            return b""
        ready.append(b"")
        return b"\n\n".join(ready)

    def _pass(self, event: bytes, ready: list[bytes]) -> None:
        """Count one event, without its blank line, and add what goes out for it to `ready`."""
        parsed = payload(event)
        if parsed is None:
            if event.startswith(b"data:") and event[5:].strip() == b"[DONE]":
                self._tally.done = True
            else:
                ready.append(event)
            return
        if "error" in parsed and "choices" not in parsed:
            said = f"the engine failed while answering: {_message(parsed)}"
            self.failure = EngineFailed(502, said)
            return
        first = not self._tally.id
        self._tally.add(parsed)
        if self._wants_usage or parsed.get("choices") or not parsed.get("usage"):
            ready.append(event)
        if first and self._sources is not None:
            ready.append(_sources_event(parsed, self._sources))


class Stream:
    """An engine's stream on its way to the caller. Closed, if it does not come to its end.

    Args:
        end: called once, before the last bytes are handed out, with how it ended.
    """

    def __init__(
        self,
        answer: Answer,
        relay: Relay,
        tally: Tally,
        end: Callable[[Outcome, str | None], None],
    ) -> None:
        self._answer = answer
        self._relay = relay
        self._tally = tally
        self._end = end
        self._ready = b""
        self._over = False

    async def begin(self) -> None:
        """Wait for the first event: until then a failure, EngineFailed, can be mended elsewhere."""
        self._ready = await self._arrived()

    async def more(self) -> bytes:
        """The next events in one piece, b"" after the last. A failure is one event and the end."""
        if self._over:
            return b""
        try:
            ready, self._ready = self._ready or await self._arrived(), b""
        except EngineFailed as exc:
            self._finish(Outcome.ERROR, str(exc))
            return error_event(exc.problem)
        if not ready:
            self._finish(Outcome.OK)
            return DONE
        return ready

    def close(self) -> None:
        """The caller left, unless the stream has ended."""
        if not self._over:
            self._finish(Outcome.CANCELLED)

    def _finish(self, outcome: Outcome, error: str | None = None) -> None:
        self._over = True
        if outcome is Outcome.OK:
            self._answer.finish()
        else:
            self._answer.close()
        self._end(outcome, error)

    async def _arrived(self) -> bytes:
        """Events that have come, b"" once the engine has said that these were all."""
        while not self._tally.done:
            if self._relay.failure is not None:
                raise self._relay.failure
            chunk = await self._answer.more()
            if not chunk:
                raise EngineFailed(502, "the engine ended its stream without [DONE]")
            if ready := self._relay.feed(chunk):
                return ready
        return b""


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
    return b"data: " + orjson.dumps(event)


def _message(parsed: dict[str, Any]) -> str:
    error = parsed["error"]
    return str(error.get("message")) if isinstance(error, dict) else str(error)
