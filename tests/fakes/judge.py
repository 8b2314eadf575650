"""A judge behind HTTP: its opinion is a function of the prompt, its failures are told before."""

import re
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

# The text between the marks of this name in a prompt.
_MARKED = r"<{name}-([0-9a-f]{{16}})>\n(.*)\n</{name}-\1>"


def part(prompt: str, name: str) -> str:
    """What a prompt shows between its marks: `conversation`, `answer`, `answer-A` or `answer-B`."""
    found = re.findall(_MARKED.format(name=name), prompt, re.DOTALL)
    assert len(found) == 1, prompt
    return str(found[0][1])


class FakeJudge:
    """`opinion` gets the last of the prompts; `statuses` come first, one for each question; `seen`
    and `keys` are the bodies and Authorization headers it got."""

    def __init__(self, opinion: Callable[[str], str], *statuses: int) -> None:
        self.opinion = opinion
        self.statuses = list(statuses)
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append(body)
        self.keys.append(request.headers.get("authorization"))
        if self.statuses:
            status = self.statuses.pop(0)
            return Response("told to", status, headers={"location": "/v1/chat/completions"})
        message = {"role": "assistant", "content": self.opinion(body["messages"][1]["content"])}
        usage = {"prompt_tokens": 100, "completion_tokens": 5}
        return JSONResponse({"choices": [{"index": 0, "message": message}], "usage": usage})
