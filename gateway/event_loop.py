"""Runs an ASGI application on sockets: one event loop, one process. Knows nothing of gateways."""

import asyncio
import gc
import socket
import sys
from typing import Any, Literal

import uvicorn

from gateway.joined import JoiningProtocol


def run(
    app: Any,
    sockets: list[socket.socket],
    *,
    lifespan: Literal["on", "off"] = "on",
    lifeline: int | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way get 30 s to end.

    Args:
        lifeline: a descriptor at whose end we end too: whoever holds the other side has ended.
    """
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=JoiningProtocol,
        log_level="warning",
        access_log=False,
        ws="none",
        server_header=False,
        date_header=False,
        lifespan=lifespan,
        proxy_headers=False,
        timeout_graceful_shutdown=30,
    )
    _Server(config, lifeline).run(sockets=sockets)


class _Server(uvicorn.Server):
    """uvicorn, once started, without a garbage collector that looks at everything again and again.

    What is imported and built by then lives as long as the process, and requests leave next to no
    cycles behind; looking took nearly half of the processor time (benchmarks/RESULTS.md).
    """

    def __init__(self, config: uvicorn.Config, lifeline: int | None) -> None:
        super().__init__(config)
        self._lifeline = lifeline

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._lifeline is not None:
            asyncio.get_running_loop().add_reader(self._lifeline, self._let_go)
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        # A thread with work of its own gives the interpreter back to requests ten times sooner.
        sys.setswitchinterval(0.0005)

    def _let_go(self) -> None:
        assert self._lifeline is not None
        asyncio.get_running_loop().remove_reader(self._lifeline)
        self.should_exit = True
