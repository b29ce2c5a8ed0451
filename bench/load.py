"""A load generator: keep-alive connections that send prepared requests as fast as they are
answered. It runs in a process of its own, and is the same on every machine."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle

HOST = "127.0.0.1"
GOOD = b"HTTP/1.1 204"
END = b"\r\n\r\n"
APART = 0.005
"""Seconds between two connections. Of several processes that sleep now this one, now that one takes
the next; at once, or with work to do, the first that is awake would take them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What came back. ``latencies`` are in ms, sorted; ``refused`` answers were no 204; ``sent``
    counts the warm-up too."""

    seconds: float
    latencies: tuple[float, ...]
    refused: int
    sent: int

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """The latency that this share of the answers did not exceed."""
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


def request(path: str, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """The bytes of a POST."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {HOST}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def drive(
    port: int, requests: Sequence[bytes], *, connections: int, warm_up: float, seconds: float
) -> Answers:
    """Keep so many connections busy; what was sent during ``warm_up`` does not count."""
    following = cycle(requests)
    latencies: list[float] = []
    refused = sent = 0
    asked: dict[socket.socket, float] = {}
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(connections):
            connection = stack.enter_context(socket.create_connection((HOST, port), timeout=10))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(connection, selectors.EVENT_READ, connection)
            asked[connection] = 0.0
            time.sleep(APART)
        begin = time.perf_counter() + warm_up
        end = begin + seconds
        for connection in asked:
            asked[connection] = time.perf_counter()
            connection.sendall(next(following))
        while (now := time.perf_counter()) < end:
            for key, _ in selector.select(end - now):
                connection = key.data
                answer = _answer(connection)
                now = time.perf_counter()
                sent += 1
                if asked[connection] >= begin:
                    latencies.append((now - asked[connection]) * 1000)
                    refused += not answer.startswith(GOOD)
                asked[connection] = now
                connection.sendall(next(following))
    return Answers(seconds=seconds, latencies=tuple(sorted(latencies)), refused=refused, sent=sent)


def _answer(connection: socket.socket) -> bytes:
    """The head of the answer; those that count have no body."""
    head = b""
    while END not in head:
        part = connection.recv(4096)
        if not part:
            raise ConnectionError("the server hung up")
        head += part
    return head
