"""The repository's settings with shorter patience and less room, so that tests need not wait."""

import socket
from typing import Any

from plugin.web import server
from tests.web.repository import settings

server.HEAD_SECONDS = 0.5
server.REQUEST_SECONDS = 1.0
server.ANSWER_SECONDS = 0.5
server.LINGER_SECONDS = 0.5
server.LOOK_EVERY = 0.1
server.MAX_HELD = 2**20

globals().update(settings())
keepalive = 1


def when_ready(arbiter: Any) -> None:
    """Connections inherit it: an answer that is not read soon finds no room."""
    for listener in arbiter.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
