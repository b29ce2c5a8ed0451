"""How fast deliveries are answered: the real receiver against a bare Flask application, each on
gunicorn with the repository's settings."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import product
from statistics import median

from bench.load import Answers, drive, request
from bench.parts import Part, Row, Sheet, Site, percent, spread
from bench.server import Server, serving
from plugin.sandbox.portal import Portal
from plugin.sandbox.webhooks import sign

PUBLIC_URL = "https://referrals.example.com"
PATH = "/webhooks/hubspot"

ROUNDS = {1: 7, 2: 15}
"""By number of processes: how two and the driver share two processors differs much."""
CONNECTIONS = 16
WARM_UP = 0.3  # seconds
SECONDS = 1.2
BODIES = 2000  # events in all requests that are prepared
AGAINST = {1: "/bare", 10: "/bare", 100: "/read"}
"""Events in a delivery → the path of the bare application it is compared with."""


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
    """Medians over the rounds. ``ratio``: of answers a second, ours to the bare ones; ``p99``: of
    the 99th percentile; both are medians of the rounds' own ratios."""

    database: str
    processes: int
    events: int
    against: str
    ratio: float
    spread: float
    p99: float
    ours: Speed
    bare: Speed


def measure(site: Site) -> list[Row]:
    """One comparison for each database, number of processes and size of delivery."""
    found: list[Row] = []
    for kind, processes in product(site.databases.kinds, ROUNDS):
        with site.databases.fresh(kind) as url:
            found += [asdict(one) for one in _compare(kind, url, processes)]
    return found


def _compare(kind: str, url: str, processes: int) -> Iterator[Comparison]:
    portal = Portal()
    environ = {
        "SECRET_KEY": "only-for-measuring-anything",
        "PUBLIC_URL": PUBLIC_URL,
        "HUBSPOT_CLIENT_SECRET": portal.secret,
        "DATABASE_URL": url,
        "LOG_LEVEL": "ERROR",
    }
    with ExitStack() as stack:
        plugin, bare = (
            stack.enter_context(serving(app, environ, processes=processes))
            for app in ("wsgi:app", "bench.bare:app")
        )
        driver = stack.enter_context(
            ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        )
        for events, against in AGAINST.items():
            ours = deliveries(portal, events, BODIES // events)
            theirs = [one.replace(PATH.encode(), against.encode(), 1) for one in ours]
            mine: list[tuple[Answers, float]] = []
            others: list[tuple[Answers, float]] = []
            for number in range(ROUNDS[processes]):
                # Who is first takes turns, so that a machine that slows down favours nobody.
                turns = [(mine, plugin, ours), (others, bare, theirs)]
                for answers, server, requests in turns[:: 1 if number % 2 else -1]:
                    answers.append(_drive(driver, server, requests))
            yield _compared(kind, processes, events, mine, others)


def _compared(
    kind: str,
    processes: int,
    events: int,
    mine: Sequence[tuple[Answers, float]],
    others: Sequence[tuple[Answers, float]],
) -> Comparison:
    if refused := sum(answers.refused for answers, _ in [*mine, *others]):
        raise RuntimeError(f"{refused} deliveries were not taken")
    pairs = [(a, b) for (a, _), (b, _) in zip(mine, others, strict=True)]
    ratios = [ours.rate / bare.rate for ours, bare in pairs]
    return Comparison(
        database=kind,
        processes=processes,
        events=events,
        against=AGAINST[events],
        ratio=median(ratios),
        spread=spread(ratios),
        p99=median(ours.percentile(0.99) / bare.percentile(0.99) for ours, bare in pairs),
        ours=_speed(mine),
        bare=_speed(others),
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


def deliveries(portal: Portal, events: int, count: int) -> list[bytes]:
    """Signed requests, each with so many events."""
    return [request(PATH, body, signed(portal, body)) for body in bodies(portal, events, count)]


def bodies(portal: Portal, events: int, count: int, *, contacts: int = 10_000) -> Iterator[bytes]:
    """Deliveries as HubSpot sends them, each event another one about another contact."""
    for delivery in range(count):
        yield json.dumps(
            [
                _event(portal, number, number % contacts)
                for number in range(delivery * events, (delivery + 1) * events)
            ],
            separators=(",", ":"),
        ).encode()


def _event(portal: Portal, number: int, contact: int) -> dict[str, object]:
    return {
        "eventId": 4_101_286_121 + number,
        "subscriptionId": 7_562_680,
        "portalId": portal.portal_id,
        "appId": portal.app_id,
        "occurredAt": 1_795_000_000_000 + number,
        "subscriptionType": "object.propertyChange",
        "attemptNumber": 0,
        "objectId": 541_935_488_001 + contact,
        "objectTypeId": "0-1",
        "propertyName": "spiral_rating",
        "propertyValue": "delighted",
        "changeSource": "CRM_UI",
        "sourceId": "userId:882761034",
    }


def signed(portal: Portal, body: bytes) -> list[tuple[str, str]]:
    """The headers that make it authentic for the next five minutes."""
    timestamp = str(int(time.time() * 1000))
    signature = sign(portal.secret, "POST", f"{PUBLIC_URL}{PATH}", body, timestamp)
    return [
        ("X-HubSpot-Request-Timestamp", timestamp),
        ("X-HubSpot-Signature-v3", signature),
    ]


def sheet(rows: Sequence[Row]) -> Sheet:
    return Sheet(
        columns=(
            "delivery", "/s", "bare /s", "ratio", "±", "p50 ms", "bare", "p99 ms", "bare",
            "p99 ratio", "cpu µs", "bare",
        ),
        rows=[
            (
                f"{one['database']}, {one['processes']} process{'es' * (one['processes'] > 1)}, "
                f"{one['events']} event{'s' * (one['events'] > 1)}",
                f"{one['ours']['rate']:.0f}",
                f"{one['bare']['rate']:.0f}",
                f"{one['ratio']:.2f}",
                percent(one["spread"] / 2),
                f"{one['ours']['p50']:.1f}",
                f"{one['bare']['p50']:.1f}",
                f"{one['ours']['p99']:.1f}",
                f"{one['bare']['p99']:.1f}",
                f"{one['p99']:.2f}",
                f"{one['ours']['cpu']:.0f}",
                f"{one['bare']['cpu']:.0f}",
            )
            for one in rows
        ],
    )  # fmt: skip


PART = Part(
    name="answers",
    title="Answers to webhooks",
    about=(
        "The receiver on gunicorn, with the repository's settings, against a bare Flask "
        "application on the same settings that answers 204: without reading the body, for "
        "deliveries of 100 events after reading it. Deliveries are signed as HubSpot signs them "
        f"and committed durably before they are answered. {CONNECTIONS} connections send as fast "
        "as they are answered, from a process of their own; they are opened one after another, so "
        "that of two processes each has its share. Both applications take turns in rounds of "
        f"{SECONDS} s, after {WARM_UP} s of warming up: {ROUNDS[1]} with one process, {ROUNDS[2]} "
        "with two, as how these and the driver share the processors differs. Figures are medians "
        "over the rounds, ratios are medians of the rounds' own ratios, and ± is half the "
        "distance between the best and the worst round. Processor time is that of gunicorn's "
        "workers alone: a PostgreSQL server's comes on top."
    ),
    measure=measure,
    sheet=sheet,
    plots={"answers": "Answers a second, ours beside the bare application's"},
)
