"""The least a Python server can do under the gateway's own server: read a body, write an answer.

    python -m benchmarks.gateway.asgi PORT

It asks no upstream; no gateway on this server side can be faster.
"""

import asyncio
import json
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway.event_loop import run

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# As many events as the mock's streams have by default, at its usual pace.
_EVENTS, _PAUSE_SECONDS = 67, 0.005
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "word " * 128}}
_WHOLE = json.dumps({"id": "chatcmpl-0", "object": "chat.completion", "choices": [_CHOICE]})
_PIECE = {"index": 0, "delta": {"content": "token"}, "logprobs": None, "finish_reason": None}
_CHUNK = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "choices": [_PIECE]}
_EVENT = f"data: {json.dumps(_CHUNK)}\n\n".encode()


async def app(_scope: Message, receive: Receive, send: Send) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    stream = b'"stream": true' in body
    kind = b"text/event-stream" if stream else b"application/json"
    headers = [(b"content-type", kind)]
    if not stream:
        headers.append((b"content-length", str(len(_WHOLE)).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if stream:
        for _ in range(_EVENTS):
            await send({"type": "http.response.body", "body": _EVENT, "more_body": True})
            await asyncio.sleep(_PAUSE_SECONDS)
    last = b"data: [DONE]\n\n" if stream else _WHOLE.encode()
    await send({"type": "http.response.body", "body": last, "more_body": False})


if __name__ == "__main__":
    run(app, [socket.create_server(("127.0.0.1", int(sys.argv[1])))], lifespan="off")
