"""Runs an ASGI application under a real uvicorn in a thread, on a free loopback port."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn


@contextlib.contextmanager
def serving(app: Any, *sockets: socket.socket) -> Iterator[str]:
    """Serve until the block ends; yields the base URL of the first socket."""
    listeners = list(sockets) or [free_socket()]
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": listeners}, daemon=True)
    thread.start()
    wait_for(lambda: server.started or not thread.is_alive(), "the server to start")
    assert server.started, "the server ended while starting"
    try:
        yield f"http://127.0.0.1:{listeners[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(15)
        for listener in listeners:
            listener.close()


class Switched:
    """A server that can be stopped, cutting its connections, and started again where it was."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._stack = contextlib.ExitStack()
        listener = free_socket()
        self._port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._stack.enter_context(serving(app, listener))

    def stop(self) -> None:
        self._stack.close()

    def start(self) -> None:
        self._stack.enter_context(serving(self._app, free_socket(self._port)))


def free_socket(port: int = 0) -> socket.socket:
    """A listening socket, on a port the system chose unless one is named."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 20) -> None:
    """Poll until `condition` holds; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)
