"""One error body for every failure, and the table that says which status it gets.

GatewayError
├── BadRequest            the caller's body or headers: 400, 404, 413, 422
├── Unauthorized          no key, or one that is really unknown: 401
├── Forbidden             a known key without the right: 403
├── Overloaded            refused early: 429 with Retry-After
├── RateLimited           one key asks too often: 429 with Retry-After
├── EngineRefused         the engine's own 400, 413, 422 or 429, passed through
└── EngineFailed          an engine that broke or did not answer: 502, 503, 504
    ├── EngineUnreachable nothing listens there; the request cannot have been the reason
    └── VersionLost       it does not hold the adapter version any more
"""

from dataclasses import dataclass
from typing import Any

import orjson

from adapters.errors import (
    AdapterError,
    ArtifactsUnavailable,
    CorruptAdapter,
    InvalidExperiment,
    InvalidReview,
    RefusedChange,
    RefusedMove,
    StoreUnavailable,
    UnknownExperiment,
    UnknownFile,
    UnknownItem,
    UnknownJob,
    UnknownVersion,
)
from retrieval.errors import RetrievalError
from router.errors import RouterError


@dataclass(frozen=True, slots=True)
class Problem:
    """What the caller is told. `error_type` below names the metric label, from a closed list."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None
    retry_after: int | None = None

    def body(self) -> bytes:
        """`{"error": {"message", "type", "param", "code"}}`, OpenAI's shape."""
        return orjson.dumps(
            {
                "error": {
                    "message": self.message,
                    "type": self.type,
                    "param": self.param,
                    "code": self.code,
                }
            }
        )

    def headers(self) -> dict[str, str]:
        return {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}


class GatewayError(Exception):
    """Base of what the gateway itself raises; carries the caller's answer and the metric's
    label."""

    def __init__(self, problem: Problem, error_type: str) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.error_type = error_type


class BadRequest(GatewayError):
    """The request cannot be served as it is; the message says what to change."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(
            Problem(status, message, "invalid_request_error", code, param),
            "caller_not_found" if status == 404 else "caller_bad_request",
        )


class Unauthorized(GatewayError):
    """No key was sent, or one that nobody issued."""

    def __init__(self, message: str) -> None:
        super().__init__(
            Problem(401, message, "authentication_error", "invalid_api_key"), "caller_unauthorized"
        )


class Forbidden(GatewayError):
    """The key is known and may not do this."""

    def __init__(self, message: str) -> None:
        super().__init__(
            Problem(403, message, "permission_error", "insufficient_permissions"),
            "policy_forbidden",
        )


class Overloaded(GatewayError):
    """Refused before any work was done."""

    def __init__(self, message: str) -> None:
        super().__init__(
            Problem(429, message, "rate_limit_error", "overloaded", retry_after=1),
            "policy_overloaded",
        )


class RateLimited(GatewayError):
    """A key that asks more often than it may; `seconds` until it may again."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(
            Problem(429, message, "rate_limit_error", "rate_limited", retry_after=seconds),
            "policy_rate_limited",
        )


class EngineRefused(GatewayError):
    """The engine says the request itself is wrong; its words are the caller's answer."""

    def __init__(self, status: int, body: Any) -> None:
        error = body.get("error", {}) if isinstance(body, dict) else {}
        error = error if isinstance(error, dict) else {"message": str(error)}
        code = error.get("code")
        super().__init__(
            Problem(
                status,
                str(error.get("message") or "the engine refused the request"),
                "rate_limit_error" if status == 429 else "invalid_request_error",
                None if code is None or isinstance(code, int) else str(code),
                error.get("param") if isinstance(error.get("param"), str) else None,
                1 if status == 429 else None,
            ),
            "engine_refused",
        )


class EngineFailed(GatewayError):
    """The engine is at fault: 502 broke, 503 nobody can answer, 504 took too long."""

    _CODES = {502: "engine_error", 503: "engine_unavailable", 504: "engine_timeout"}

    def __init__(self, status: int, message: str) -> None:
        code = self._CODES[status]
        retry = 5 if status == 503 else None
        super().__init__(Problem(status, message, "api_error", code, retry_after=retry), code)


class EngineUnreachable(EngineFailed):
    """No connection to a replica could be made."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message)


class VersionLost(EngineFailed):
    """A replica does not know an adapter version that it held before."""

    def __init__(self, message: str) -> None:
        super().__init__(502, message)


# The base classes of everything this project raises on purpose.
OURS = (GatewayError, AdapterError, RouterError, RetrievalError)

# Errors of the packages below, by class; the first base class that matches counts.
_TABLE: dict[type[Exception], tuple[int, str, str]] = {
    UnknownVersion: (404, "not_found", "caller_not_found"),
    UnknownExperiment: (404, "not_found", "caller_not_found"),
    UnknownFile: (404, "not_found", "caller_not_found"),
    UnknownJob: (404, "not_found", "caller_not_found"),
    UnknownItem: (404, "not_found", "caller_not_found"),
    InvalidReview: (400, "invalid_review", "caller_bad_request"),
    RefusedChange: (400, "refused", "caller_bad_request"),  # OpenAI's; its client repeats a 409
    RefusedMove: (409, "refused", "caller_bad_request"),
    InvalidExperiment: (422, "invalid_experiment", "caller_bad_request"),
    CorruptAdapter: (422, "corrupt_adapter", "caller_bad_request"),
    StoreUnavailable: (503, "store_unavailable", "gateway_store"),
    ArtifactsUnavailable: (503, "artifacts_unavailable", "gateway_store"),
    AdapterError: (500, "adapter_error", "gateway_internal"),
    RouterError: (500, "router_error", "gateway_internal"),
    RetrievalError: (500, "retrieval_error", "gateway_internal"),
}


def explain(exc: Exception) -> tuple[Problem, str]:
    """The caller's answer and the metric's label for any exception; unknown ones tell nothing
    away."""
    if isinstance(exc, GatewayError):
        return exc.problem, exc.error_type
    for kind, (status, code, error_type) in _TABLE.items():
        if isinstance(exc, kind):
            family = "api_error" if status >= 500 else "invalid_request_error"
            retry = 5 if status == 503 else None
            return Problem(status, str(exc), family, code, retry_after=retry), error_type
    return Problem(
        500, "internal error; the log has the details", "api_error", "internal_error"
    ), "gateway_internal"
