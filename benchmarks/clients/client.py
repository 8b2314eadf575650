"""What every client of the comparison does, in as few lines as its library takes.

Standard library only: a client may run in an environment that holds nothing of ours.
"""

from collections.abc import AsyncGenerator
from importlib import import_module
from typing import Protocol, cast

HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
SILENCE_SECONDS = 5  # after which a client gives up


class ClientFailed(Exception):
    """The client says that no whole answer came."""


class Client(Protocol):
    """One per event loop. `cafile` names the certificates that are trusted."""

    def __init__(self, cafile: str | None = None) -> None: ...

    async def whole(self, url: str, body: bytes) -> tuple[int, bytes]:
        """POST; status and whole body. Raises ClientFailed."""

    def stream(self, url: str, body: bytes) -> AsyncGenerator[bytes, None]:
        """POST; the body as it arrives. Closing it early cuts the connection."""

    async def close(self) -> None:
        """End every connection."""


NAMES = ("turnout", "aiohttp", "pyreqwest")


def client_class(name: str) -> type[Client]:
    """Imported by name: no environment has to hold all of the libraries."""
    return cast(type[Client], import_module(f"benchmarks.clients.{name}_client").Client)
