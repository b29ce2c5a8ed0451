"""Ports of the loopback, and WSGI applications there, for real HTTP."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

POLL = 0.02  # seconds until a server notices that it should stop
FIRST_PORT, PORTS = 12_000, 4_000

_next = itertools.count(os.getpid())


def free_port() -> int:
    """A port nobody listens at. Below those the system gives to clients, and in a range of this
    process's own: until the server starts nobody else must get it."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for _ in range(PORTS):
        port = FIRST_PORT + worker % 5 * PORTS + next(_next) % PORTS
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


class Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@contextmanager
def listening(
    app: Any, port: int = 0, *, handler: type[WSGIRequestHandler] = Quiet
) -> Iterator[str]:
    """Serve a WSGI application until the block ends; yields the base URL."""
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=handler)
    thread = threading.Thread(target=server.serve_forever, args=(POLL,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
