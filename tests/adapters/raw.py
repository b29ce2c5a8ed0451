"""A server that says exactly the bytes a test wants, over a real connection on the loopback."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

Say = Callable[[socket.socket], None]
"""Answers one request on a connection; the connection is closed when it returns."""


@dataclass
class Server:
    """``heard`` are the heads of the requests that came."""

    port: int
    heard: list[str] = field(default_factory=list)


@contextmanager
def speaking(
    say: Say | bytes, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[Server]:
    """Serve until the block ends; each connection has one request."""
    with closing(socket.create_server((host, 0))) as listening:
        server = Server(listening.getsockname()[1])
        thread = threading.Thread(target=_serve, args=(listening, server, say, tls), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(
    listening: socket.socket, server: Server, say: Say | bytes, tls: ssl.SSLContext | None
) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return  # the test is over
        with connection, suppress(OSError):  # the client may hang up in the middle of anything
            _converse(tls.wrap_socket(connection, server_side=True) if tls else connection,
                      server, say)  # fmt: skip


def _converse(connection: socket.socket, server: Server, say: Say | bytes) -> None:
    with connection, connection.makefile("rb") as reader:
        head = b""
        while (line := reader.readline()).strip():
            head += line
        if not head:
            return
        server.heard.append(head.decode("latin-1"))
        if isinstance(say, bytes):
            connection.sendall(say)
        else:
            say(connection)


def answer(body: bytes = b"{}", *headers: str, status: str = "200 OK") -> bytes:
    """A whole answer as it goes over the wire."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body
