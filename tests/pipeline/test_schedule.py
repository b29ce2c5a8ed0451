"""When an account's lane is due again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from plugin.app import create_worker, open_parts
from plugin.pipeline.lanes import wake
from plugin.pipeline.schedule import due_at, next_at
from plugin.pipeline.upkeep import HOUR, WEEK, Routine, routine_due_at
from plugin.settings import load_settings
from plugin.storage import accounts, deliveries, hints
from plugin.storage.accounts import LONGEST_WAIT
from plugin.storage.database import Database
from plugin.storage.hints import HintKind
from plugin.storage.tables import account, contact, lane

PRESENT = datetime(2026, 9, 16, 10, 0, tzinfo=UTC)  # a Wednesday; noon in Berlin
NOW = round(PRESENT.timestamp() * 1000)
MONDAY = date(2026, 9, 14)
QUIET = {
    "id": 1, "crm": "hubspot", "crm_id": "1", "token": "", "fields": [],
    "connected_at": NOW - 2 * WEEK, "directory_read_at": NOW, "users_read_at": NOW,
    "swept_at": NOW, "tasks_read_at": NOW, "ids_checked_at": NOW,
    "asks_planned_week": MONDAY.toordinal(),
}  # fmt: skip


def stored(database: Database, **values: Any) -> None:
    with database.write() as connection:
        connection.execute(sa.insert(account).values(**{**QUIET, **values}))


def asked(database: Database) -> tuple[int | None, int | None]:
    """When there is work, and when somebody should look again; from now, in milliseconds."""
    with database.read() as connection:
        one = accounts.by_id(connection, 1)
        assert one is not None
        work = due_at(connection, one, now=NOW, present=PRESENT)
        look = next_at(connection, one, now=NOW, present=PRESENT, webhooks=True)
    return tuple(None if at is None else at - NOW for at in (work, look))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (None, HOUR)),
        ({"paused": True}, (None, None)),
        ({"directory_read_at": None}, (0, 0)),
        ({"asks_to_plan": True}, (0, 0)),
        ({"asks_planned_week": None}, (0, 0)),
        ({"asks_planned_week": None, "fields": None}, (None, HOUR)),
        ({"asks_planned_week": None, "mode": "observe"}, (None, HOUR)),
        ({"swept_at": NOW - HOUR + 1}, (None, 1)),
        ({"swept_at": NOW + HOUR}, (None, 0)),  # the clock was set back
        ({"sweep": {"since": 0, "started": 0}}, (None, 0)),
        ({"subscribed_at": NOW - 24 * HOUR + 5}, (None, 5)),
        ({"subscribed_at": NOW + 365 * 24 * HOUR}, (None, 0)),  # the clock was set back
        ({"subscribed_at": 0, "subscribe_after": NOW + 365 * 24 * HOUR}, (None, 0)),
        ({"asks_to_plan": True, "blocked_until": NOW + 7}, (7, 7)),
        ({"asks_to_plan": True, "blocked_until": NOW - 7}, (0, 0)),
        ({"asks_to_plan": True, "blocked_until": NOW + LONGEST_WAIT + 1}, (0, 0)),
    ],
    ids=str,
)
def test_what_is_due_when(
    database: Database, values: dict[str, Any], expected: tuple[int | None, int | None]
) -> None:
    """Work, what is done every hour, and pauses; nothing that can never be done counts."""
    stored(database, **values)
    assert asked(database) == expected


def test_a_contact_to_review_is_due_at_midnight_of_its_day(database: Database) -> None:
    """In the account's own zone: in Berlin half an hour is left of this day."""
    late = NOW + 11 * HOUR + HOUR // 2
    stored(database, users_read_at=late, swept_at=late, tasks_read_at=late)
    person = {
        "account_id": 1, "crm_id": "7", "first_name": "", "last_name": "", "email": "",
        "phones": [], "company": "", "city": "", "review_on": date(2026, 9, 17),
    }  # fmt: skip
    with database.write() as connection:
        connection.execute(sa.insert(contact).values(**person))

    def look(at: int) -> tuple[int | None, int | None]:
        present = datetime.fromtimestamp(at / 1000, UTC)
        with database.read() as connection:
            one = accounts.by_id(connection, 1)
            assert one is not None
            return (
                due_at(connection, one, now=at, present=present),
                next_at(connection, one, now=at, present=present, webhooks=False),
            )

    midnight = NOW + 12 * HOUR
    assert look(late) == (None, midnight)
    assert look(midnight) == (midnight, midnight)
    assert look(midnight + 5) == (midnight + 5, midnight + 5)


def test_who_has_waited_for_long_is_not_first_in_every_round(database: Database) -> None:
    """A lane given back with much left to do comes behind those that are due already."""
    stored(database)
    with database.write() as connection:
        hints.mark(connection, 1, HintKind.CONTACT, ["7"], due_at=NOW - HOUR)
    assert asked(database) == (-HOUR, 0)


def test_parked_hints_wait_for_a_person(database: Database) -> None:
    """The others are due when they say."""
    stored(database)
    with database.write() as connection:
        hints.mark(connection, 1, HintKind.CONTACT, ["7"], due_at=NOW + 60)
    assert asked(database) == (60, 60)
    with database.write() as connection:
        (one,) = hints.due(connection, 1, HintKind.CONTACT, now=NOW + 60, limit=9)
        hints.park(connection, 1, HintKind.CONTACT, one, why="odd")
    assert asked(database) == (None, HOUR)


@pytest.mark.parametrize(
    ("last", "due"),
    [(None, True), (NOW, False), (NOW - HOUR + 1, False), (NOW - HOUR, True), (NOW + 1, True)],
)
def test_what_was_done_in_the_future_is_done_again(
    database: Database, last: int | None, due: bool
) -> None:
    """A clock that was ahead for a while must not keep a sweep from being made."""
    stored(database, users_read_at=last)
    with database.read() as connection:
        one = accounts.by_id(connection, 1)
    assert one is not None
    assert (routine_due_at(one, Routine.USERS, NOW) <= NOW) is due


def test_accounts_in_trouble_are_served_after_the_database_was_away(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking for work while the database fails must not use up the threads kept for them."""
    parts = open_parts(
        load_settings(
            {"DATABASE_URL": database_url, "SECRET_KEY": "a-test-key-of-32-characters-long"}
        )
    )
    worker = create_worker(parts)
    worker._forget_at = math.inf
    lanes = worker._lanes
    asked_for: list[bool] = []

    def away(*, now: int, steady: bool, besides: frozenset[int]) -> None:
        asked_for.append(steady)
        raise sa.exc.OperationalError("claim", {}, Exception("away"))

    with _closing(worker, parts.database):
        monkeypatch.setattr(lanes, "claim", away)
        for _ in range(20):
            with pytest.raises(sa.exc.OperationalError):
                worker._look()
    assert asked_for == [False] * 20


def test_a_backlog_of_deliveries_is_not_all_there_is(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one thread, too: after digesting an account has its turn, if one is due."""
    stored(database)
    parts = open_parts(
        load_settings(
            {"DATABASE_URL": database_url, "SECRET_KEY": "a-test-key-of-32-characters-long"}
        )
    )
    worker = create_worker(parts)
    monkeypatch.setattr(deliveries, "any_new", lambda _connection: True)
    worker._forget_at = math.inf
    done = []
    with _closing(worker, parts.database):
        for _ in range(4):
            with database.write() as connection:
                wake(connection, [1], at=0)
            job = worker._look()
            assert job is not None
            held = worker._lanes._held.popitem()[0]
            with database.write() as connection:
                connection.execute(sa.update(lane).values(until=0))
            done.append(held)
    assert done == ["digest", "account:1"] * 2


def test_slow_accounts_leave_half_of_the_threads_to_others(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four of five were slow the last time, and are due first: two of four threads work for them
    at a time, and another one for the fifth. Whoever is quick again is like all others."""
    with database.write() as connection:
        for number in range(1, 6):
            values = {"crm": "hubspot", "crm_id": f"{number}", "token": "", "connected_at": NOW}
            connection.execute(sa.insert(account), values)
            wake(connection, [number], at=number)
    parts = open_parts(
        load_settings(
            {
                "DATABASE_URL": database_url,
                "SECRET_KEY": "a-test-key-of-32-characters-long",
                "WORKER_THREADS": "4",
            }
        )
    )
    worker = create_worker(parts)
    worker._forget_at = math.inf
    monkeypatch.setattr(worker, "_turn", lambda _claimed: time.sleep(0.02))
    with _closing(worker, parts.database):
        monkeypatch.setattr("plugin.pipeline.worker.LONGEST", 0.01)
        for job in [worker._look() for _ in range(4)]:
            assert job is not None
            job()
        assert worker._slow == {1, 2, 3, 4}
        with database.write() as connection:
            for number in range(1, 6):
                wake(connection, [number], at=number)
        jobs = [worker._look() for _ in range(3)]
        assert worker._look() is None
        assert sorted(worker._lanes._held) == ["account:1", "account:2", "account:5"]

        monkeypatch.setattr("plugin.pipeline.worker.LONGEST", 60.0)
        for job in jobs:
            assert job is not None
            job()
        assert worker._slow == {3, 4}


@contextmanager
def _closing(worker: Any, database: Database) -> Iterator[None]:
    try:
        yield
    finally:
        worker._lanes.close()
        database.close()
