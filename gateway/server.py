"""Runs the gateway: one event loop, two listening sockets, one process."""

import logging
import socket
from collections.abc import Callable
from pathlib import Path

from gateway.app import create_app
from gateway.event_loop import run
from gateway.settings import ConfigurationError, Settings

logger = logging.getLogger(__name__)


def serve(
    settings: Settings, *, encoder: Path, reload: Callable[[], Settings] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way get 30 s to end."""
    public = listen(settings.server.host, settings.server.port)
    admin = listen(settings.server.host, settings.server.admin_port)
    app = create_app(settings, encoder=encoder, admin_port=admin.getsockname()[1], reload=reload)
    logger.info("listening on %s, admin on %s", public.getsockname(), admin.getsockname())
    run(app, [public, admin])


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
