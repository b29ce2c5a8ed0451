"""Deliveries that accounts share are redacted for all of them, whoever else is at it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from plugin.pipeline.erase import Eraser, _Traces
from plugin.pipeline.lanes import Lanes, account_lane
from plugin.registry import adapter
from plugin.secrets import Vault
from plugin.storage import accounts, deliveries
from plugin.storage.database import LOCK_TIMEOUT, Database
from plugin.storage.tables import account, delivery

NOW = 1_800_000_000_000  # milliseconds
NAMES = {"4711": "Erika Beispiel", "4712": "Otto Muster"}
"""Account → whom its contact 101 names."""


def event(portal: str) -> dict[str, Any]:
    return {
        "portalId": int(portal), "subscriptionType": "contact.propertyChange", "objectId": 101,
        "propertyName": "spiral_referrer_name", "propertyValue": NAMES[portal], "occurredAt": NOW,
    }  # fmt: skip


@pytest.fixture
def shared(database: Database) -> Database:
    """Two accounts, and one delivery that is about both."""
    body = json.dumps([event(portal) for portal in NAMES]).encode()
    row = {"crm": "hubspot", "endpoint": "", "received_at": NOW, "body": body, "state": "new"}
    with database.write() as connection:
        connection.execute(sa.insert(delivery), row)
        for portal in NAMES:
            values = {"crm": "hubspot", "crm_id": portal, "token": "", "connected_at": NOW}
            connection.execute(sa.insert(account), values)
    return database


@pytest.fixture
def redact(shared: Database) -> Iterator[Callable[[str], None]]:
    """Has one account forget the name that its contact told."""
    vault = Vault(("a-test-key-of-32-characters-long",))
    with closing(Lanes(shared)) as lanes:

        def redact(portal: str) -> None:
            with shared.read() as connection:
                mine = accounts.find(connection, "hubspot", portal)
            assert mine is not None
            lane = lanes.take(account_lane(mine.id))
            assert lane is not None
            traces = _Traces(
                ids=frozenset({"101"}), words=frozenset(), named_on={}, tasks=(), candidates=()
            )
            session: Any = None  # it does not ask the CRM
            eraser = Eraser(
                shared, vault, adapter("hubspot"), mine, session, lane, now_ms=lambda: NOW
            )
            eraser._redact_deliveries(traces, (NAMES[portal],))

        yield redact


def test_two_erasures_at_once_do_not_undo_each_other(
    shared: Database, redact: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One comes between another's reading and writing: both names are gone."""
    portion = deliveries.portion

    def overtaken(connection: Any, crm: str, **words: Any) -> list[Any]:
        found = portion(connection, crm, **words)
        if not found:  # all has been read
            monkeypatch.setattr(deliveries, "portion", portion)
            redact("4712")
        return found

    monkeypatch.setattr(deliveries, "portion", overtaken)
    redact("4711")

    with shared.read() as connection:
        body = connection.scalars(sa.select(delivery.c.body)).one()
    assert [name for name in NAMES.values() if name.encode() in body] == []


def test_large_deliveries_are_read_a_few_at_a_time(
    shared: Database, redact: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every thread of a worker may be erasing somebody: no more bytes at once than digesting
    reads. All are found, also one that is larger than that by itself."""
    sizes = [2**20] * 11 + [deliveries.MAX_BYTES + 1] + [10] * 5
    said = NAMES["4711"].encode()
    rows = [
        {"crm": "hubspot", "endpoint": "", "received_at": NOW, "state": "quarantined",
         "body": said.ljust(size, b".")}
        for size in sizes
    ]  # fmt: skip
    with shared.write() as connection:
        connection.execute(sa.insert(delivery), rows)
    portion = deliveries.portion
    read: list[list[int]] = []

    def noting(connection: Any, crm: str, **words: Any) -> list[Any]:
        found = portion(connection, crm, **words)
        read.append([len(one.body) for one in found])
        return found

    monkeypatch.setattr(deliveries, "portion", noting)
    redact("4711")

    assert [one for one in read if len(one) > 1 and sum(one) > deliveries.MAX_BYTES] == []
    assert [one for portion in read for one in portion][1:] == [
        max(size, len(said)) for size in sizes
    ]
    with shared.read() as connection:
        bodies = list(connection.scalars(sa.select(delivery.c.body)))
    assert [body for body in bodies if said in body] == []


@pytest.mark.sqlite("its log")
def test_who_reads_keeps_nobody_waiting_for_long(database: Database) -> None:
    """What was erased stays in the log while somebody reads an older state: that is said at once,
    and forgetting succeeds once they are done."""
    with database.read() as reader:
        reader.execute(sa.select(account.c.id)).all()
        with database.write() as connection:
            values = {"crm": "hubspot", "crm_id": "4711", "token": "", "connected_at": NOW}
            connection.execute(sa.insert(account), values)
        began = time.monotonic()
        forgotten = database.forget_freed_pages()
        took = time.monotonic() - began
        with database.write() as connection:  # with its own patience again
            patience = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()

    assert (forgotten, took < LOCK_TIMEOUT / 2) == (False, True)
    assert patience == LOCK_TIMEOUT * 1000
    assert database.forget_freed_pages()
