"""How fast deliveries are answered: the real receiver against a bare Flask application, each on
gunicorn with the repository's settings."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.load import HOST, Answers, drive, request
from plugin.sandbox.portal import Portal
from plugin.sandbox.webhooks import sign

ROOT = Path(__file__).resolve().parent.parent
PUBLIC_URL = "https://referrals.example.com"
PATIENCE = 20.0  # seconds a server may take to start

ROUNDS = 5
CONNECTIONS = 16
WARM_UP = 0.5  # seconds
SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What is compared: deliveries of so many events, at so many gunicorn processes."""

    events: int
    processes: int
    against: str
    """The path of the bare application."""


SETUPS = (
    Setup(events=1, processes=1, against="/bare"),
    Setup(events=100, processes=1, against="/read"),
    Setup(events=1, processes=2, against="/bare"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Medians over the rounds. Latencies are in ms, rates in answers a second."""

    setup: Setup
    rate: float
    bare_rate: float
    ratio: float
    p50: float
    p99: float
    bare_p50: float
    bare_p99: float
    refused: int


def measure(folder: Path) -> list[Comparison]:
    """One comparison for each setup."""
    return [_compare(folder / str(number), setup) for number, setup in enumerate(SETUPS)]


def _compare(folder: Path, setup: Setup) -> Comparison:
    folder.mkdir()
    portal = Portal()
    path = "/webhooks/hubspot"
    ours = [
        request(path, body, _signed(portal, path, body))
        for body in _bodies(portal, setup.events, 2000 // setup.events)
    ]
    theirs = [one.replace(path.encode(), setup.against.encode(), 1) for one in ours]
    environ = {
        "SECRET_KEY": "only-for-measuring-anything",
        "PUBLIC_URL": PUBLIC_URL,
        "HUBSPOT_CLIENT_SECRET": portal.secret,
        "DATABASE_URL": f"sqlite:///{folder / 'referrals.db'}",
        "LOG_LEVEL": "ERROR",
    }
    rounds: list[tuple[Answers, Answers]] = []
    with ExitStack() as stack:
        port = stack.enter_context(serving("wsgi:app", environ, setup.processes))
        bare_port = stack.enter_context(serving("bench.bare:app", environ, setup.processes))
        driver = stack.enter_context(
            ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        )
        for number in range(ROUNDS):
            # Who is first takes turns, so that a machine that slows down favours nobody.
            order = [(port, ours), (bare_port, theirs)]
            answers = [_drive(driver, *one) for one in (order if number % 2 else order[::-1])]
            rounds.append((answers[0], answers[1]) if number % 2 else (answers[1], answers[0]))
    return Comparison(
        setup=setup,
        rate=median(mine.rate for mine, _ in rounds),
        bare_rate=median(bare.rate for _, bare in rounds),
        ratio=median(mine.rate / bare.rate for mine, bare in rounds),
        p50=median(mine.percentile(0.5) for mine, _ in rounds),
        p99=median(mine.percentile(0.99) for mine, _ in rounds),
        bare_p50=median(bare.percentile(0.5) for _, bare in rounds),
        bare_p99=median(bare.percentile(0.99) for _, bare in rounds),
        refused=sum(one.refused for pair in rounds for one in pair),
    )


def _drive(driver: ProcessPoolExecutor, port: int, requests: Sequence[bytes]) -> Answers:
    return driver.submit(
        drive, port, requests, connections=CONNECTIONS, warm_up=WARM_UP, seconds=SECONDS
    ).result()


def _bodies(portal: Portal, events: int, count: int) -> Iterator[bytes]:
    """Deliveries as HubSpot sends them, each event another one."""
    for delivery in range(count):
        yield json.dumps(
            [
                {
                    "eventId": 4_101_286_121 + delivery * events + number,
                    "subscriptionId": 7_562_680,
                    "portalId": portal.portal_id,
                    "appId": portal.app_id,
                    "occurredAt": 1_795_000_000_000 + delivery * events + number,
                    "subscriptionType": "object.propertyChange",
                    "attemptNumber": 0,
                    "objectId": 541_935_488_001 + number,
                    "objectTypeId": "0-1",
                    "propertyName": "spiral_rating",
                    "propertyValue": "delighted",
                    "changeSource": "CRM_UI",
                    "sourceId": "userId:882761034",
                }
                for number in range(events)
            ],
            separators=(",", ":"),
        ).encode()


def _signed(portal: Portal, path: str, body: bytes) -> list[tuple[str, str]]:
    timestamp = str(int(time.time() * 1000))
    signature = sign(portal.secret, "POST", f"{PUBLIC_URL}{path}", body, timestamp)
    return [
        ("X-HubSpot-Request-Timestamp", timestamp),
        ("X-HubSpot-Signature-v3", signature),
    ]


@contextmanager
def serving(app: str, environ: Mapping[str, str], processes: int = 1) -> Iterator[int]:
    """gunicorn on a free port of the loopback; yields the port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py")),
            *("-b", f"{HOST}:{port}", "-w", str(processes), "--log-level", "warning", app),
        ],
        cwd=ROOT,
        env={**os.environ, **environ},
    )
    try:
        _wait_for(port, server)
        yield port
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with socket.create_connection((HOST, port), timeout=1) as connection:
                connection.sendall(f"GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
                if connection.recv(64):
                    return
        except OSError:
            pass
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("gunicorn did not start")
        time.sleep(0.05)
