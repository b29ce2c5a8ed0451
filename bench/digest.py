"""How fast stored deliveries become hints."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from statistics import median

import sqlalchemy as sa

from bench.answers import bodies
from bench.office import CRM, Office
from bench.parts import Part, Row, Sheet, Site, percent, spread
from plugin import clock
from plugin.sandbox.portal import Portal
from plugin.storage.tables import delivery

DELIVERIES = {1: 6_000, 100: 600}
"""Events in a delivery → deliveries in a round."""
ROUNDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Digested:
    """Medians over the rounds: per second, and µs of the worker's processor time an event."""

    database: str
    events: int
    deliveries_per_second: float
    events_per_second: float
    cpu: float
    spread: float


def measure(site: Site) -> list[Row]:
    """Each database with each size of delivery."""
    return [
        asdict(_measure(site, kind, events))
        for kind, events in product(site.databases.kinds, DELIVERIES)
    ]


def _measure(site: Site, kind: str, events: int) -> Digested:
    count = DELIVERIES[events]
    portal = Portal()
    rates: list[float] = []
    cpu: list[float] = []
    with site.databases.fresh(kind) as url:
        office = Office(site.folder, url, crm_id=str(portal.portal_id), ready=False)
        try:
            office.work()  # the directory and the users
            sent = list(bodies(portal, events, count * ROUNDS))
            for number in range(ROUNDS):
                keep(office, sent[number * count : (number + 1) * count])
                spent = time.process_time()
                office.work()
                cpu.append((time.process_time() - spent) * 1e6 / count / events)
                rates.append(_rate(office, after=number * count))
        finally:
            office.close()
    return Digested(
        database=kind,
        events=events,
        deliveries_per_second=median(rates),
        events_per_second=median(rates) * events,
        cpu=median(cpu),
        spread=spread(cpu),
    )


def keep(office: Office, sent: Sequence[bytes], *, ahead_ms: int = 0) -> None:
    """As the receiver keeps deliveries, once they are found authentic."""
    at = clock.now_ms() + ahead_ms
    rows = [
        {
            "crm": CRM,
            "endpoint": "",
            "topic": "",
            "received_at": at,
            "body": body,
            "state": "new",
        }
        for body in sent
    ]
    for start in range(0, len(rows), 200):
        with office.database.write() as connection:
            connection.execute(sa.insert(delivery), rows[start : start + 200])


def _rate(office: Office, *, after: int) -> float:
    """Deliveries a second, of those with a higher id; all have to be digested.

    They are digested in groups, each at the instant when it is written: between the first and the
    last of these all but the last group were done.
    """
    at = delivery.c.digested_at
    with office.database.read() as connection:
        every = sa.select(sa.func.min(at), sa.func.max(at)).where(delivery.c.id > after)
        first, last = connection.execute(every).one()
        done = connection.scalar(
            sa.select(sa.func.count()).where(
                delivery.c.id > after, delivery.c.state == "done", at < last
            )
        )
        left = connection.scalar(sa.select(sa.func.count()).where(delivery.c.state != "done"))
    if left or not done or not office.waiting():
        raise RuntimeError(f"{left} deliveries were not digested")
    return float(done / (last - first) * 1000)


def sheet(rows: Sequence[Row]) -> Sheet:
    return Sheet(
        columns=("delivery", "deliveries /s", "events /s", "cpu µs an event", "±"),
        rows=[
            (
                f"{one['database']}, {one['events']} event{'s' * (one['events'] > 1)}",
                f"{one['deliveries_per_second']:,.0f}",
                f"{one['events_per_second']:,.0f}",
                f"{one['cpu']:.0f}",
                percent(one["spread"] / 2),
            )
            for one in rows
        ],
    )


PART = Part(
    name="digest",
    title="Digesting deliveries",
    about=(
        "One worker, one thread, works off deliveries that are stored already: HubSpot's rating "
        "events about 10,000 contacts, one in a delivery or a hundred. The processor time is the "
        f"worker's own. Medians of {ROUNDS} rounds."
    ),
    measure=measure,
    sheet=sheet,
)
