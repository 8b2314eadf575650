"""Runs the gateway: one event loop, two listening sockets, one process; or several such processes
on the same addresses."""

import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from gateway.app import create_app
from gateway.configuration import ConfigurationError
from gateway.event_loop import run
from gateway.settings import Settings
from gateway.workers import Place

logger = logging.getLogger(__name__)


def serve(
    settings: Settings,
    *,
    encoder: Path,
    reload: Callable[[], Settings] | None = None,
    place: Place | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way get 30 s to end.

    Args:
        place: this worker's; without one, a configuration that wants several workers turns this
            process into their supervisor.
    """
    server = settings.server
    if place is None and server.workers > 1:
        _supervise(settings)
    bind = listen if place is None else _share
    public, admin = bind(server.host, server.port), bind(server.host, server.admin_port)
    app = create_app(
        settings, encoder=encoder, admin_port=admin.getsockname()[1], reload=reload, place=place
    )
    logger.info("listening on %s, admin on %s", public.getsockname(), admin.getsockname())
    run(app, [public, admin], lifeline=None if place is None else sys.stdin.fileno())


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises ConfigurationError when the address is taken or not ours."""
    listener = _bound(host, port, socket.SO_REUSEADDR)
    listener.listen(2048)
    return listener


def _supervise(settings: Settings) -> NoReturn:
    """Become the supervisor of the workers: the same process, without what was imported here."""
    server = settings.server
    command = [sys.executable, "-m", "gateway", "serve", "--host", server.host]
    for option, port in (("--port", server.port), ("--admin-port", server.admin_port)):
        held = _reserve(server.host, port)
        command += [option, str(held.getsockname()[1])]
        os.set_inheritable(held.detach(), True)
    command += ["--state", str(settings.state)]
    if settings.config_file is not None:
        command += ["--config", str(settings.config_file)]
    supervisor = [sys.executable, "-m", "gateway.workers", str(server.workers)]
    os.execv(sys.executable, [*supervisor, *command])


def _reserve(host: str, port: int) -> socket.socket:
    """Hold an address for our workers. Binding it in the ordinary way says whether it is free; a
    shared one would silently take half of another gateway's connections."""
    held = _bound(host, port, socket.SO_REUSEADDR)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return held


def _share(host: str, port: int) -> socket.socket:
    """A worker's own socket at an address that is reserved. It listens once the worker serves, and
    only then does the kernel give it connections."""
    return _bound(host, port, socket.SO_REUSEADDR, socket.SO_REUSEPORT)


def _bound(host: str, port: int, *options: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    for option in options:
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        bound.bind((host, port))
    except OSError as exc:
        bound.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({exc.strerror}); "
            "choose another with --port or --admin-port"
        ) from exc
    return bound
