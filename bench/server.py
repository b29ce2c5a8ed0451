"""gunicorn with the repository's own settings, on the loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import children, cpu_seconds

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
PATIENCE = 20.0  # seconds a server may take to start


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    port: int
    process: subprocess.Popen[bytes]

    def cpu(self) -> float:
        """Seconds of processor time its worker processes have had so far."""
        return sum(map(cpu_seconds, self.workers()))

    def workers(self) -> list[int]:
        """The ids of gunicorn's worker processes."""
        return children(self.process.pid)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    app: str, environ: Mapping[str, str], *, processes: int = 1, port: int | None = None
) -> Iterator[Server]:
    """The application, on this port or any free one."""
    port = port or free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py")),
            *("-b", f"{HOST}:{port}", "-w", str(processes), "--log-level", "warning", app),
        ],
        cwd=ROOT,
        env={**os.environ, **environ},
    )
    try:
        _wait_for(port, process)
        yield Server(port=port, process=process)
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("gunicorn did not start")
        time.sleep(0.05)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(f"GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
            return bool(connection.recv(64))
    except OSError:
        return False
