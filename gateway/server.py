"""Runs the gateway: one event loop, two listening sockets, one process."""

import gc
import logging
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from gateway.app import create_app
from gateway.settings import ConfigurationError, Settings

logger = logging.getLogger(__name__)


def serve(
    settings: Settings, *, encoder: Path, reload: Callable[[], Settings] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way get 30 s to end."""
    public = listen(settings.server.host, settings.server.port)
    admin = listen(settings.server.host, settings.server.admin_port)
    app = create_app(settings, encoder=encoder, admin_port=admin.getsockname()[1], reload=reload)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="on",
        proxy_headers=False,
        timeout_graceful_shutdown=30,
    )
    logger.info("listening on %s, admin on %s", public.getsockname(), admin.getsockname())
    _Server(config).run(sockets=[public, admin])


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


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises ConfigurationError when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({exc.strerror}); "
            "choose another with --port or --admin-port"
        ) from exc
    listener.listen(2048)
    return listener
