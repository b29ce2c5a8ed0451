"""Which deliveries are digested next: an equal share for everybody who sent something."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from plugin import clock
from plugin.pipeline.digest import MAX_DELIVERIES, Digest
from plugin.pipeline.lanes import DIGEST, Lanes
from plugin.registry import adapters
from plugin.secrets import Vault
from plugin.storage.database import Database
from plugin.storage.deliveries import MAX_BYTES
from plugin.storage.tables import account, delivery, hint

ESPOCRM = "https://crm.example.com"


def store(database: Database, sender: str, count: int, *, size: int = 2) -> None:
    """Deliveries of a sender, all in one go."""
    row = {
        "crm": "hubspot", "endpoint": "", "sender": sender, "received_at": clock.now_ms(),
        "body": b"[" + b" " * (size - 2) + b"]", "state": "new",
    }  # fmt: skip
    with database.write() as connection:
        connection.execute(sa.insert(delivery), [row] * count)


def turns(database: Database, number: int) -> list[dict[str, int]]:
    """How many deliveries of whom each turn digested."""
    digest = Digest(adapters(), database, Vault(["a-test-key-of-32-characters-long"]), clock.now_ms)
    lanes = Lanes(database)
    told = []
    try:
        lane = lanes.take(DIGEST)
        assert lane is not None
        waiting = left(database)
        for _ in range(number):
            digest.turn(lane)
            now = left(database)
            told.append(dict(waiting - now))
            waiting = now
    finally:
        lanes.close()
    return told


def left(database: Database) -> Counter[str]:
    with database.read() as connection:
        rows = connection.execute(
            sa.select(delivery.c.sender, sa.func.count())
            .where(delivery.c.state == "new")
            .group_by(delivery.c.sender)
        )
        return Counter({row[0]: row[1] for row in rows})


def test_a_storm_does_not_keep_others_waiting(database: Database) -> None:
    """Whoever sends one delivery behind a thousand of somebody else is in the next turn."""
    store(database, "hubspot/1", 1_000)
    store(database, "hubspot/2", 1)
    half = MAX_DELIVERIES // 2
    assert turns(database, 2) == [
        {"hubspot/1": half, "hubspot/2": 1},
        {"hubspot/1": MAX_DELIVERIES},
    ]


def test_more_senders_than_a_turn_takes_have_their_turns_one_after_the_other(
    database: Database,
) -> None:
    """Nobody is left out for ever because of where the name stands in the alphabet."""
    many = MAX_DELIVERIES + 50
    for n in range(many):
        store(database, f"hubspot/{n:04}", 2)
    told = turns(database, 2)
    assert [sum(one.values()) for one in told] == [MAX_DELIVERIES] * 2
    assert told[0].keys() | told[1].keys() == {f"hubspot/{n:04}" for n in range(many)}


def test_a_turn_takes_no_more_bytes_than_fit(database: Database) -> None:
    """What does not fit is next; one that is larger than all that fits goes alone."""
    third = MAX_BYTES // 3 + 1
    store(database, "hubspot/1", 3, size=third)
    store(database, "hubspot/2", 3, size=third)
    assert turns(database, 3) == [
        {"hubspot/1": 2},
        {"hubspot/1": 1, "hubspot/2": 1},
        {"hubspot/2": 2},
    ]


def test_a_transaction_takes_no_more_events_than_are_noted_in_a_moment(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much a turn takes: whoever answers webhooks waits for the transaction."""
    told = 0
    with database.write() as connection:
        connected(connection)
        for size in (3_000, 3_000, 1_000, 1, 5_000):
            ids = range(told, told + size)
            told += size
            connection.execute(sa.insert(delivery).values(**of_espocrm(ids)))
    at_once = []
    whole = Digest._note_all

    def note_all(self: Digest, lane: Any, parsed: Any, known: Any) -> None:
        at_once.append([len(result.events) for _, result in parsed])
        whole(self, lane, parsed, known)

    monkeypatch.setattr(Digest, "_note_all", note_all)
    turns(database, 1)
    assert at_once == [[3_000], [3_000, 1_000, 1], [5_000]]
    assert left(database) == Counter()
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(hint)) == told


def test_no_delivery_is_too_much_for_a_statement(database: Database) -> None:
    """A database takes so many parameters and no more; one delivery that is refused for good would
    stand in everybody's way."""
    few = 500
    if database.is_sqlite:

        @sa.event.listens_for(database.engine, "checkout")
        def limit(connection: Any, _record: Any, _proxy: Any) -> None:
            connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, few)

    with database.write() as connection:
        connected(connection)
        connection.execute(sa.insert(delivery).values(**of_espocrm(range(3 * few))))
        connection.execute(sa.insert(delivery).values(**of_espocrm(range(70_000))))
    turns(database, 1)
    with database.read() as connection:
        rows = connection.execute(
            sa.select(delivery.c.state, delivery.c.reason).order_by(delivery.c.id)
        ).all()
    assert [tuple(row) for row in rows] == [
        ("done", None),
        ("quarantined", "70000 events in one delivery; 5000 are taken at most"),
    ]


def connected(connection: sa.Connection) -> None:
    vault = Vault(["a-test-key-of-32-characters-long"])
    connection.execute(
        sa.insert(account).values(
            crm="espocrm", crm_id=ESPOCRM, endpoint=ESPOCRM, token=vault.encrypt("token"),
            own_secrets=vault.encrypt("secret"), connected_at=clock.now_ms(), facts={},
        )
    )  # fmt: skip


def of_espocrm(ids: Iterable[int]) -> dict[str, Any]:
    """A delivery that tells of these contacts."""
    return {
        "crm": "espocrm", "endpoint": ESPOCRM, "sender": f"espocrm/{ESPOCRM}",
        "topic": "Contact.update", "received_at": clock.now_ms(), "state": "new",
        "body": json.dumps([{"id": str(one)} for one in ids]).encode(),
    }  # fmt: skip


@pytest.mark.parametrize("first", ["", "B", "a", "ä", "Z"])
def test_in_whatever_order_senders_come_each_has_its_turn(database: Database, first: str) -> None:
    """Which of two texts is the greater is for the database to say, and differs between them."""
    digest = Digest(adapters(), database, Vault(["a-test-key-of-32-characters-long"]), clock.now_ms)
    with closing(Lanes(database)) as lanes:
        lane = lanes.take(DIGEST)
        assert lane is not None
        store(database, first, 1)
        assert digest.turn(lane)

        for sender in ("", "B", "a", "ä", "Z"):
            store(database, sender, 1)
        assert digest.turn(lane)

    assert left(database) == Counter()
