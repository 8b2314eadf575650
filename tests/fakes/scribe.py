"""A model server that writes what it is told to, and is busy when it is told to."""

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Scribe:
    """`write` gets the prompt and the number of the request; `statuses` come first, one for each
    request. `seen` are the bodies."""

    def __init__(self, write: Callable[[str, int], str], *statuses: int, tokens: int = 100) -> None:
        self.write = write
        self.statuses = list(statuses)
        self.tokens = tokens
        self.seen: list[dict[str, Any]] = []
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        if self.statuses:
            return Response("told to", self.statuses.pop(0), headers={"retry-after": "0"})
        self.seen.append(body)
        text = self.write(body["messages"][-1]["content"], len(self.seen))
        message = {"role": "assistant", "content": text}
        return JSONResponse(
            {
                "choices": [{"index": 0, "message": message}],
                "usage": {"total_tokens": self.tokens},
            }
        )
