"""Gives FastAPI's own errors and ours the one error body."""

import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from gateway.deps import parts_of
from gateway.errors import OURS, Problem, explain

logger = logging.getLogger(__name__)


def answer_every_error(app: FastAPI) -> None:
    """Register the handlers; after this no error leaves `app` in another shape."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    # Starlette raises what its handler for Exception has answered again, and the server then
    # drops the connection: that one is for surprises only.
    for kind in (*OURS, Exception):
        app.add_exception_handler(kind, _any)


async def _any(request: Request, exc: Exception) -> Response:
    problem, error_type = explain(exc)
    parts_of(request.scope).telemetry.errors.add(1, error_type)
    if error_type == "gateway_internal":
        logger.error("request failed", exc_info=exc)
    return _render(problem)


async def _invalid(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    first = exc.errors()[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    param = ".".join(place) or None
    code = "invalid_json" if first["type"] == "json_invalid" else None
    message = f"{param}: {first['msg']}" if param else str(first["msg"])
    return _render(Problem(400, message, "invalid_request_error", code, param))


async def _http(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    texts = {404: "no such path", 405: "this path does not take that method"}
    message = texts.get(exc.status_code, str(exc.detail))
    response = _render(Problem(exc.status_code, message, "invalid_request_error", None))
    response.headers.update(exc.headers or {})
    return response


def _render(problem: Problem) -> Response:
    return Response(problem.body(), problem.status, problem.headers(), "application/json")
