"""How fast deliveries are answered: the real receiver against a bare Flask application, each on
gunicorn with the repository's settings."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.load import Answers, drive, request
from bench.server import Server, serving
from plugin.sandbox.portal import Portal
from plugin.sandbox.webhooks import sign

PUBLIC_URL = "https://referrals.example.com"

ROUNDS = 4
CONNECTIONS = 16
WARM_UP = 0.3  # seconds
SECONDS = 1.5
BODIES = 2000  # events in all requests that are prepared


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
class Speed:
    """One application under load: answers a second, latencies in ms, and the server's processor
    time for an answer in µs (what others do on the machine changes it least)."""

    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Medians over the rounds; ``ratio`` is that of the rounds' ratios of answers a second."""

    setup: Setup
    ratio: float
    ours: Speed
    bare: Speed
    refused: int


def measure(folder: Path) -> list[Comparison]:
    """One comparison for each setup."""
    return [_compare(folder / f"answers{number}", setup) for number, setup in enumerate(SETUPS)]


def _compare(folder: Path, setup: Setup) -> Comparison:
    folder.mkdir()
    portal = Portal()
    path = "/webhooks/hubspot"
    ours = [
        request(path, body, _signed(portal, path, body))
        for body in _bodies(portal, setup.events, BODIES // setup.events)
    ]
    theirs = [one.replace(path.encode(), setup.against.encode(), 1) for one in ours]
    environ = {
        "SECRET_KEY": "only-for-measuring-anything",
        "PUBLIC_URL": PUBLIC_URL,
        "HUBSPOT_CLIENT_SECRET": portal.secret,
        "DATABASE_URL": f"sqlite:///{folder / 'referrals.db'}",
        "LOG_LEVEL": "ERROR",
    }
    with ExitStack() as stack:
        plugin, bare = (
            stack.enter_context(serving(app, environ, processes=setup.processes))
            for app in ("wsgi:app", "bench.bare:app")
        )
        driver = stack.enter_context(
            ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        )
        mine: list[tuple[Answers, float]] = []
        others: list[tuple[Answers, float]] = []
        for number in range(ROUNDS):
            # Who is first takes turns, so that a machine that slows down favours nobody.
            turns = [(mine, plugin, ours), (others, bare, theirs)]
            for answers, server, requests in turns[:: 1 if number % 2 else -1]:
                answers.append(_drive(driver, server, requests))
    return Comparison(
        setup=setup,
        ratio=median(a.rate / b.rate for (a, _), (b, _) in zip(mine, others, strict=True)),
        ours=_speed(mine),
        bare=_speed(others),
        refused=sum(answers.refused for answers, _ in [*mine, *others]),
    )


def _drive(
    driver: ProcessPoolExecutor, server: Server, requests: Sequence[bytes]
) -> tuple[Answers, float]:
    """The answers, and the processor time of one of them in µs."""
    before = server.cpu()
    answers = driver.submit(
        drive,
        server.port,
        requests,
        connections=CONNECTIONS,
        warm_up=WARM_UP,
        seconds=SECONDS,
    ).result()
    return answers, (server.cpu() - before) / max(1, answers.sent) * 1e6


def _speed(rounds: Sequence[tuple[Answers, float]]) -> Speed:
    return Speed(
        rate=median(answers.rate for answers, _ in rounds),
        p50=median(answers.percentile(0.5) for answers, _ in rounds),
        p99=median(answers.percentile(0.99) for answers, _ in rounds),
        cpu=median(cpu for _, cpu in rounds),
    )


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
