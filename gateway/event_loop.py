"""Runs an ASGI application on sockets: one event loop, one process. Knows nothing of gateways."""

import gc
import socket
from typing import Any, Literal

import uvicorn


def run(app: Any, sockets: list[socket.socket], *, lifespan: Literal["on", "off"] = "on") -> None:
    """Serve until SIGTERM or SIGINT; requests under way get 30 s to end."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan=lifespan,
        proxy_headers=False,
        timeout_graceful_shutdown=30,
    )
    _Server(config).run(sockets=sockets)


class _Server(uvicorn.Server):
    """uvicorn, once started, without a garbage collector that looks at everything again and again.

    What is imported and built by then lives as long as the process, and requests leave next to no
    cycles behind; looking took nearly half of the processor time (benchmarks/RESULTS.md).
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
