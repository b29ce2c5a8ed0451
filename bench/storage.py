"""How much the database grows with what."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from bench.answers import bodies
from bench.digest import keep
from bench.office import Office
from bench.parts import Part, Row, Sheet, Site
from plugin.sandbox.portal import Portal
from plugin.storage.database import Database

CONTACTS = 4_000
DELIVERIES = {1: 4_000, 100: 100}
"""Events in a delivery → deliveries."""
KEPT_DAYS = 2  # DELIVERY_DAYS
DAYS = 8  # of steady load
A_DAY = 400  # deliveries
DAY = 86_400_000  # milliseconds


def measure(site: Site) -> list[Row]:
    """Each database: bytes per contact, delivery and event; its size day by day."""
    rows: list[Row] = []
    for kind in site.databases.kinds:
        rows += _contacts(site, kind)
        for events in DELIVERIES:
            rows += _deliveries(site, kind, events)
        rows += _steady(site, kind)
    return rows


def size(database: Database) -> int:
    """Bytes in use: of all tables with their indexes."""
    with database.read() as connection:
        if database.is_sqlite:
            pages, free, page = (
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("page_count", "freelist_count", "page_size")
            )
            return int((pages - free) * page)
        return int(
            connection.execute(
                sa.text(
                    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
                    "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
                )
            ).scalar_one()
        )


def _contacts(site: Site, kind: str) -> list[Row]:
    with site.databases.fresh(kind) as url:
        office = Office(site.folder, url, contacts=CONTACTS)
        try:
            empty = size(office.database)
            office.work()
            known = size(office.database)
            office.mark(map(str, range(CONTACTS)))
            office.work()
            seen = size(office.database)
        finally:
            office.close()
    return [
        {"database": kind, "what": "contact in the directory", "bytes": (known - empty) / CONTACTS},
        {
            "database": kind,
            "what": "the same, reconciled, with its deal, tasks and referrals",
            "bytes": (seen - empty) / CONTACTS,
        },
    ]


def _deliveries(site: Site, kind: str, events: int) -> list[Row]:
    count = DELIVERIES[events]
    portal = Portal()
    sent = list(bodies(portal, events, count))
    with site.databases.fresh(kind) as url:
        office = Office(site.folder, url, crm_id=str(portal.portal_id), ready=False)
        try:
            office.work()
            before = size(office.database)
            keep(office, sent)
            stored = size(office.database)
            office.work()
            digested = size(office.database)
        finally:
            office.close()
    each = f"delivery of {events} event{'s' * (events > 1)}"
    return [
        {
            "database": kind,
            "what": f"{each} ({len(sent[0]):,} bytes of JSON), while it is kept",
            "bytes": (stored - before) / count,
        },
        {
            "database": kind,
            "what": f"what an event of a {each} leaves: rating and mark",
            "bytes": (digested - stored) / count / events,
        },
    ]


def _steady(site: Site, kind: str) -> list[Row]:
    """So many deliveries a day, and each kept for two days."""
    portal = Portal()
    sizes: list[int] = []
    environ = {"DELIVERY_DAYS": str(KEPT_DAYS)}
    with site.databases.fresh(kind) as url:
        office = Office(
            site.folder, url, crm_id=str(portal.portal_id), ready=False, environ=environ
        )
        try:
            for day in range(DAYS):
                keep(office, _of_a_day(portal, day), ahead_ms=day * DAY)
                office.work(ahead_ms=day * DAY)
                _tidy(office.database)
                sizes.append(size(office.database))
        finally:
            office.close()
    return [
        {
            "database": kind,
            "what": f"everything after {day + 1} day{'s' * (day > 0)} of {A_DAY} deliveries each",
            "bytes": sizes[day],
        }
        for day in (0, KEPT_DAYS, DAYS // 2, DAYS - 1)
    ]


def _tidy(database: Database) -> None:
    """What PostgreSQL does by itself within a minute or so, which here is a day."""
    if not database.is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as it:
            it.exec_driver_sql("VACUUM")


def _of_a_day(portal: Portal, day: int) -> list[bytes]:
    """The same contacts every day; a name is nothing that is kept as a history."""
    sent = []
    for body in bodies(portal, 1, A_DAY):
        (event,) = json.loads(body)
        event |= {"propertyName": "city", "propertyValue": f"day {day}"}
        sent.append(json.dumps([event]).encode())
    return sent


def sheet(rows: Sequence[Row]) -> Sheet:
    return Sheet(
        texts=2,
        columns=("", "database", "bytes"),
        rows=[(one["what"], one["database"], f"{one['bytes']:,.0f}") for one in rows],
    )


PART = Part(
    name="storage",
    title="Size of the database",
    about=(
        f"Bytes of all tables with their indexes, by what was put in: {CONTACTS:,} contacts, "
        f"deliveries of one and of 100 events. Then {DAYS} days of steady load with DELIVERY_DAYS "
        f"at {KEPT_DAYS}, after which the size has to stay; PostgreSQL is vacuumed once a day, as "
        "it does by itself."
    ),
    measure=measure,
    sheet=sheet,
)
