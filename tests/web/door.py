"""The plugin's web server as it runs in earnest, and clients that speak to it in raw bytes."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from plugin.sandbox.webhooks import sign
from tests.listening import free_port

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
PUBLIC_URL = "https://referrals.example.com"
SECRET = "the-client-secret-of-the-tests"
PATH = "/webhooks/hubspot"
PATIENCE = 20.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Door:
    """A running server; ``log`` is all it has written."""

    port: int
    database: Path
    log: Path

    def connect(self, timeout: float = PATIENCE) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=timeout)

    def ask(self, raw: bytes, timeout: float = PATIENCE) -> bytes:
        """All that is answered, until the server closes."""
        with self.connect(timeout) as client:
            client.sendall(raw)
            return rest(client)

    def status(self, raw: bytes) -> int:
        """The status of the answer, 0 where there is none."""
        return status_in(self.ask(raw))

    def kept(self) -> list[bytes]:
        with sqlite3.connect(self.database) as connection:
            found = connection.execute("SELECT body FROM delivery ORDER BY id").fetchall()
        connection.close()
        return [body for (body,) in found]


@contextmanager
def opened(folder: Path, *options: str, conf: Path = ROOT / "gunicorn.conf.py") -> Iterator[Door]:
    """gunicorn with the repository's settings, or others."""
    port = free_port()
    log = folder / "log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "-c", str(conf)),
                *("-b", f"{HOST}:{port}", *options, "wsgi:app"),
            ],
            cwd=ROOT,
            stdout=written,
            stderr=written,
            env={
                **os.environ,
                "SECRET_KEY": "only-for-testing-anything",
                "PUBLIC_URL": PUBLIC_URL,
                "HUBSPOT_CLIENT_SECRET": SECRET,
                "DATABASE_URL": f"sqlite:///{folder / 'referrals.db'}",
                "LOG_LEVEL": "DEBUG",
            },
        )
    door = Door(port=port, database=folder / "referrals.db", log=log)
    try:
        _wait_for(door, process)
        yield door
    finally:
        process.terminate()
        process.wait()


def _wait_for(door: Door, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, door.log.read_text()
        assert time.monotonic() < deadline, door.log.read_text()
        try:
            door.connect().close()
        except OSError:
            time.sleep(0.05)
        else:
            return


def rest(client: socket.socket) -> bytes:
    """What comes until the server closes; a reset ends it like a close."""
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def is_closed(client: socket.socket) -> bool:
    """Whether the server has hung up, as far as it shows without waiting."""
    client.setblocking(False)
    try:
        return not client.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        client.settimeout(PATIENCE)


def status_in(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def signature(body: bytes, target: str = PATH) -> list[str]:
    """The lines of the header that make it authentic."""
    at = str(int(time.time() * 1000))
    return [
        f"X-HubSpot-Request-Timestamp: {at}",
        f"X-HubSpot-Signature-v3: {sign(SECRET, 'POST', PUBLIC_URL + target, body, at)}",
    ]


def head(*lines: str, first: str = f"POST {PATH} HTTP/1.1", close: bool = True) -> bytes:
    every = [first, "Host: localhost", *(["Connection: close"] if close else []), *lines]
    return "\r\n".join([*every, "", ""]).encode("latin-1")


def delivery(body: bytes, *lines: str, close: bool = True) -> bytes:
    """An authentic delivery in one piece."""
    return head(f"Content-Length: {len(body)}", *signature(body), *lines, close=close) + body


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
