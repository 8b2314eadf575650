"""Request bodies in, response bodies and errors out; every error leaves in vLLM's shape."""

import logging
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from adapters.engines.embedded.errors import EngineFailure, MalformedRequest, TooLarge, error_body

MOST_BYTES = 32 * 2**20
_MOST_REPORTED = 10
_MOST_INPUT_CHARACTERS = 200
_log = logging.getLogger(__name__)

Fields = TypeVar("Fields", bound=BaseModel)


async def read(request: Request, kind: type[Fields]) -> Fields:
    """The body as `kind`. Raises MalformedRequest, TooLarge, or what `kind` itself raises."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BYTES:
            raise TooLarge(f"The body is larger than {MOST_BYTES} bytes.")
    try:
        return kind.model_validate(orjson.loads(data))
    except orjson.JSONDecodeError as exc:
        raise MalformedRequest(f"1 validation error:\n  JSON decode error: {exc}", "body") from exc
    except ValidationError as exc:
        raise _malformed(exc) from exc


def _malformed(exc: ValidationError) -> MalformedRequest:
    problems = exc.errors(include_url=False, include_context=False)
    lines = [f"{len(problems)} validation error{'s' * (len(problems) > 1)}:"]
    for problem in problems[:_MOST_REPORTED]:
        given = str(problem["input"])[:_MOST_INPUT_CHARACTERS]
        lines.append(f"  {_field(problem['loc'])}: {problem['msg']} (got {given})")
    return MalformedRequest("\n".join(lines), _field(problems[0]["loc"]))


def _field(location: tuple[int | str, ...]) -> str:
    """The field's path without pydantic's names for the branches of a union."""
    parts = [str(part) for part in location if not set(str(part)) & set("[]{}()")]
    return ".".join(
        ["body", *(part for part in parts if part not in ("str", "int", "bool", "float"))]
    )


def json_response(body: dict[str, Any], status: int = 200) -> Response:
    """A JSON body."""
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")


def error_handlers() -> dict[Any, ExceptionHandler]:
    """For Starlette: everything that can be raised, in one shape."""
    return {EngineFailure: _failure, HTTPException: _http, Exception: _unexpected}


async def _failure(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, EngineFailure)  # Starlette calls a handler for its own class only
    return json_response(exc.body(), exc.status)


async def _http(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    kind = HTTPStatus(exc.status_code).phrase
    return json_response(error_body(exc.status_code, kind, exc.detail), exc.status_code)


async def _unexpected(_request: Request, _exc: Exception) -> Response:
    # Starlette logs the traceback by raising the exception again after this answer.
    return json_response(error_body(500, "InternalServerError", "The engine failed."), 500)
