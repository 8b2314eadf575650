"""What can go wrong in the embedded engine, and the HTTP status each becomes.

EngineFailure
├── ModelUnusable        the model folder cannot be served: fix the folder or choose another
├── ModelMissing         the package with the default model is not installed
├── RequestRefused       the request is wrong: 400, names the parameter
│   └── ContextOverflow  prompt and answer do not fit the context
├── UnknownModel         no such model or adapter: 404
├── MalformedRequest     not JSON, or fields of the wrong type: 400 with a type of its own, as in
vLLM ├── TooLarge             the body is larger than any prompt could be: 413
├── InvalidAdapterName   a name or path that is empty or taken: 400 with a type of its own, as in
vLLM ├── AdapterNotFound      no adapter files at the path: 404
├── AdapterRefused       the adapter cannot run on this base model: 400
└── Overloaded           the waiting queue is full: 503
"""

from adapters.errors import AdapterError


class EngineFailure(AdapterError):
    """Base of every error of the embedded engine.

    `kind`, `status` and `param` become `type`, `code` and `param` of vLLM's error body.
    """

    status = 500
    kind = "InternalServerError"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param

    def body(self) -> dict[str, object]:
        """The error in vLLM's shape; `code` is an integer there."""
        return error_body(self.status, self.kind, str(self), self.param)


class ModelUnusable(EngineFailure):
    """The model folder cannot be served by this engine."""


class ModelMissing(EngineFailure):
    """The package that carries the default model is not installed."""


class RequestRefused(EngineFailure):
    """The request is wrong; `param` names the field."""

    status = 400
    kind = "BadRequestError"


class ContextOverflow(RequestRefused):
    """Prompt and requested answer do not fit the model's context."""


class MalformedRequest(EngineFailure):
    """The body is not JSON, or a field has the wrong type."""

    status = 400
    kind = "Bad Request"


class TooLarge(EngineFailure):
    """The body is larger than the engine reads."""

    status = 413
    kind = "Content Too Large"


class InvalidAdapterName(EngineFailure):
    """An adapter's name or path is empty, or the name is taken."""

    status = 400
    kind = "InvalidUserInput"


class UnknownModel(EngineFailure):
    """No model or adapter of this name is served."""

    status = 404
    kind = "NotFoundError"


class AdapterNotFound(EngineFailure):
    """No adapter of this name, or no adapter files at the path."""

    status = 404
    kind = "NotFoundError"


class AdapterRefused(EngineFailure):
    """The adapter's files or configuration cannot run on this base model."""

    status = 400
    kind = "BadRequestError"


class Overloaded(EngineFailure):
    """Too many requests wait already."""

    status = 503
    kind = "ServiceUnavailableError"


def error_body(status: int, kind: str, message: str, param: str | None = None) -> dict[str, object]:
    """`{"error": {"message", "type", "param", "code"}}` as vLLM writes it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}
