"""Looking for work costs the same however much waits, is set aside or is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from plugin.pipeline.lanes import Lanes
from plugin.storage import deliveries, hints
from plugin.storage.accounts import LONGEST_WAIT
from plugin.storage.database import Database
from plugin.storage.hints import HintKind
from plugin.storage.tables import account, delivery, hint, lane

NOW = 1_800_000_000_000  # milliseconds
MANY = 20_000
ROWS_READ = (
    "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))"
    " FROM pg_stat_xact_user_tables"
)


class Effort:
    """What the dearest transaction cost: rows read by PostgreSQL, steps of SQLite's machine, of
    which a row takes some tens."""

    def __init__(self) -> None:
        self.rows = 0
        self.steps = 0

    @property
    def small(self) -> bool:
        return self.rows < MANY / 20 and self.steps < MANY


@contextmanager
def effort(database: Database) -> Iterator[Effort]:
    """Of all that is done within."""
    spent = Effort()

    def step() -> int:
        spent.steps += 10
        return 0

    def before(connection: sa.Connection, *_: Any) -> None:
        if database.is_sqlite:
            raw: Any = connection.connection.driver_connection
            raw.set_progress_handler(step, 10)

    def after(connection: sa.Connection, *_: Any) -> None:
        if not database.is_sqlite:
            raw: Any = connection.connection.driver_connection
            spent.rows = max(spent.rows, int(raw.execute(ROWS_READ).fetchone()[0]))

    if not database.is_sqlite:  # PostgreSQL does so by itself, SQLite never
        with database.write() as connection:
            connection.exec_driver_sql("ANALYZE")
    sa.event.listen(database.engine, "before_cursor_execute", before)
    sa.event.listen(database.engine, "after_cursor_execute", after)
    yield spent
    sa.event.remove(database.engine, "before_cursor_execute", before)
    sa.event.remove(database.engine, "after_cursor_execute", after)


def mark_many(database: Database, account_id: int, *, due_at: int, parked: str | None) -> None:
    rows = [
        {
            "account_id": account_id, "kind": kind, "record_id": f"{parked} {number}",
            "version": 1, "due_at": due_at, "history": False, "deleted": False, "attempts": 0,
            "parked": parked,
        }
        for kind in (HintKind.CONTACT, HintKind.DEAL)
        for number in range(MANY // 2)
    ]  # fmt: skip
    with database.write() as connection:
        connection.execute(sa.insert(hint), rows)


def test_the_next_hints_are_found_among_many(database: Database) -> None:
    """Whether the others are due as well, parked, or wait."""
    mark_many(database, 1, due_at=NOW, parked=None)
    mark_many(database, 1, due_at=NOW, parked="odd")
    mark_many(database, 2, due_at=NOW + 1, parked=None)
    with effort(database) as spent, database.read() as connection:
        for account_id, found in ((1, 10), (2, 0)):
            due = hints.due(connection, account_id, HintKind.CONTACT, now=NOW, limit=10)
            assert len(due) == found
        assert hints.first_due(connection, 1, list(HintKind), now=NOW) == NOW
        assert hints.first_due(connection, 2, list(HintKind), now=NOW) == NOW + 1
        assert hints.first_due(connection, 3, list(HintKind), now=NOW) is None
    assert spent.small


def test_hints_due_in_a_far_future_are_due_now(database: Database) -> None:
    """The clock was ahead when they were put off. Behind those that are due anyway."""
    far = NOW + LONGEST_WAIT + 1
    with database.write() as connection:
        hints.mark(connection, 1, HintKind.CONTACT, ["7"], due_at=far)
        hints.mark(connection, 1, HintKind.CONTACT, ["8"], due_at=far - 1)
        hints.mark(connection, 1, HintKind.CONTACT, ["9"], due_at=NOW)
    for expected in ("9", "7"):
        with database.write() as connection:
            found = hints.due(connection, 1, HintKind.CONTACT, now=NOW, limit=9)
            assert [one.record_id for one in found] == [expected]
            hints.clear(connection, 1, HintKind.CONTACT, found)


def test_the_oldest_deliveries_are_found_behind_all_in_quarantine(database: Database) -> None:
    """They stay until somebody deals with them, and are the oldest then."""
    kept = {"crm": "hubspot", "endpoint": "", "received_at": NOW - 2, "body": b"[]"}
    states = ["quarantined"] * MANY + ["done"] * 20 + ["new"] * 20
    with database.write() as connection:
        connection.execute(sa.insert(delivery), [{**kept, "state": one} for one in states])
    with effort(database) as spent, database.write() as connection:
        assert deliveries.drop_done(connection, before=NOW - 1, now=NOW, limit=10) == 10
    assert spent.small


@pytest.mark.parametrize("due_at", [NOW, NOW + 1, NOW + LONGEST_WAIT + 1])
def test_a_lane_that_is_due_is_found_among_many(database: Database, due_at: int) -> None:
    """Whether all are due, woken together, or none, or all were put off by a clock that was ahead;
    and so where the look ends with nothing."""
    with database.write() as connection:
        connection.execute(
            sa.insert(account),
            [{"id": one, "crm": "hubspot", "crm_id": str(one), "token": "", "connected_at": 0}
             for one in range(1, MANY)],
        )  # fmt: skip
        connection.execute(
            sa.insert(lane),
            [{"name": f"account:{one}", "account_id": one, "token": 1, "holder": "", "until": 0,
              "due_at": due_at} for one in range(1, MANY)],
        )  # fmt: skip
    lanes = Lanes(database)
    try:
        with effort(database) as spent:
            found = [lanes.claim(now=NOW, steady=steady) for steady in (True, False)]
    finally:
        lanes.close()
    expected = [None, None] if due_at == NOW + 1 else [1, 2]
    assert [one and one.account_id for one in found] == expected
    assert spent.small
