"""Retention: what was digested goes after a while, what waits for a person stays."""

from __future__ import annotations

import sqlalchemy as sa

from plugin.pipeline import retention
from plugin.pipeline.lanes import Lanes
from plugin.pipeline.retention import DAY, forget_old
from plugin.storage.database import Database
from plugin.storage.tables import delivery

NOW = 1_800_000_000_000  # milliseconds


def store(database: Database, *rows: tuple[str, int]) -> None:
    """Deliveries by state and age in days."""
    with database.write() as connection:
        connection.execute(
            sa.insert(delivery),
            [
                {
                    "crm": "hubspot", "endpoint": "", "sender": "hubspot/1", "body": b"[]",
                    "state": state, "received_at": NOW - days * DAY,
                }
                for state, days in rows
            ],
        )  # fmt: skip


def kept(database: Database) -> list[tuple[str, int]]:
    with database.read() as connection:
        rows = connection.execute(
            sa.select(delivery.c.state, delivery.c.received_at).order_by(delivery.c.id)
        )
        return [(row.state, (NOW - row.received_at) // DAY) for row in rows]


def forget(database: Database, days: int) -> list[bool]:
    """What each batch said, until none is left."""
    lanes = Lanes(database)
    try:
        lane = lanes.take(retention.RETENTION)
        assert lane is not None
        said = [forget_old(lane, days=days, now=NOW)]
        while said[-1]:
            said.append(forget_old(lane, days=days, now=NOW))
        return said
    finally:
        lanes.close()


def test_only_what_was_digested_long_ago_is_forgotten(database: Database) -> None:
    """What is new or in quarantine stays, however old it is."""
    every = [(state, days) for state in ("new", "done", "quarantined") for days in (0, 30, 31)]
    store(database, *every)
    assert forget(database, 30) == [False]
    assert kept(database) == [one for one in every if one != ("done", 31)]


def test_what_is_dated_ahead_is_no_obstacle(database: Database) -> None:
    """The clock was ahead for a while: nobody knows how old it is, so it is taken for old; what is
    less than a day ahead waits with the others."""
    store(database, *[("done", -700)] * (retention.BATCH + 1), ("quarantined", -700))
    store(database, ("done", -1), ("done", 40), ("done", 1))
    assert forget(database, 30) == [True, False]
    assert kept(database) == [("quarantined", -700), ("done", -1), ("done", 1)]


def test_it_is_done_in_small_batches(database: Database) -> None:
    """So that webhooks which come in never wait for all of it."""
    store(database, *[("done", 40)] * (2 * retention.BATCH + 1), ("done", 1))
    assert forget(database, 30) == [True, True, False]
    assert kept(database) == [("done", 1)]
