"""Storing what the CRM sent, before it is answered.

One thread per process writes for all request threads: whatever arrived while the disk was busy,
or another process had its turn, is committed together (measured 1.2 to 4 times the throughput of
a commit per request, more on slow disks). ``put`` returns when the delivery is on disk, never
before.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import sqlalchemy as sa

from plugin.storage.database import Database, upsert
from plugin.storage.deliveries import DeliveryState
from plugin.storage.tables import counter, delivery

MAX_GROUP = 200
GATHER = 0.005  # seconds at most, before a group is taken that is smaller than the last one
COUNT_EVERY = 2_000  # milliseconds
PUT_TIMEOUT = 4.0  # seconds; CRMs give up after five
COLUMNS = ("crm", "endpoint", "topic", "sender", "received_at", "body", "state")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Parcel:
    """A delivery on its way, and where its sender waits for what became of it."""

    row: Mapping[str, Any] | None
    """None: it is only to be seen whether it would get there."""
    stored: SimpleQueue[Exception | None] = field(default_factory=SimpleQueue)


class Inbox:
    """The only writer of new deliveries in this process. It never holds more of them than there
    are threads waiting, besides the group that is being written."""

    def __init__(self, database: Database, now: Callable[[], int]) -> None:
        self._database = database
        self._now = now
        # As text: what SQLAlchemy does with each row costs more than to store it. All rows in one
        # statement: between two the request threads would fight for the interpreter.
        self._insert = f"INSERT INTO {delivery.name} ({', '.join(COLUMNS)}) VALUES "  # noqa: S608 (our own words)
        mark = "?" if database.is_sqlite else "%s"
        self._one_row = f"({', '.join([mark] * len(COLUMNS))})"
        self._guard = threading.Lock()
        self._parcels: deque[_Parcel] = deque()
        self._wanted = 1  # so many parcels wake the writer
        self._bell = threading.Event()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._counted_at = 0
        self._count_now = False
        self._thread: threading.Thread | None = None
        self._closing = False

    def put(
        self, *, crm: str, endpoint: str, topic: str = "", sender: str = "", body: bytes
    ) -> None:
        """Store one delivery durably. Raises what the database raised, or ``TimeoutError``."""
        self._send(
            {
                "crm": crm,
                "endpoint": endpoint,
                "topic": topic,
                "sender": sender,
                "received_at": self._now(),
                "body": body,
                "state": DeliveryState.NEW,
            }
        )

    def probe(self) -> None:
        """Raises what ``put`` would raise now; leaves nothing behind."""
        self._send(None)

    def _send(self, row: Mapping[str, Any] | None) -> None:
        parcel = _Parcel(row=row)
        with self._guard:
            self._run()
            self._parcels.append(parcel)
            enough = len(self._parcels) == self._wanted
        if enough:
            self._bell.set()
        try:
            error = parcel.stored.get(timeout=PUT_TIMEOUT)
        except Empty:
            self._withdraw(parcel)
            raise TimeoutError("the database is stuck") from None
        if error:
            raise error

    def count(self, name: str, subject: str) -> None:
        """Count something that leaves no other trace (a refused delivery).

        Written at most every two seconds and not waited for: a flood of forgeries costs no
        writes, and a busy database delays no refusal."""
        with self._guard:
            self._counts[name, subject] += 1
            if self._now() - self._counted_at < COUNT_EVERY:
                return
            self._counted_at = self._now()
            self._count_now = True
            self._run()
        self._bell.set()

    def close(self) -> None:
        """Write what has come, and end. What is put after this is never stored."""
        with self._guard:
            self._closing = True
        if self._thread:
            self._bell.set()
            self._thread.join()

    def _run(self) -> None:
        # Started on first use: a thread made before gunicorn forks would not exist afterwards.
        if not self._thread:
            self._thread = threading.Thread(target=self._write, name="inbox", daemon=True)
            self._thread.start()

    def _withdraw(self, parcel: _Parcel) -> None:
        """Its sender is told that it was not stored, and will send it again."""
        with self._guard:
            if parcel in self._parcels:
                self._parcels.remove(parcel)

    def _write(self) -> None:
        size = 1
        while self._parcels or not self._closing:
            self._gather(size)
            size = self._store()
        self._store()  # what was counted since

    def _gather(self, expected: int) -> None:
        """Wait until something has come, or a while in which only refusals may be counted.

        ``expected``: how many were sending the last time. Whoever was answered then may be sending
        again: waiting for as many makes few large groups of many small ones. One who sends alone
        is never kept waiting.
        """
        for wanted, seconds in ((1, COUNT_EVERY / 1000), (expected, GATHER)):
            with self._guard:
                if len(self._parcels) >= wanted or self._closing or self._count_now:
                    continue
                self._wanted = wanted
                self._bell.clear()
            self._bell.wait(seconds)

    def _store(self) -> int:
        """What has come, in one transaction; returns how many may be sending again soon: those who
        are answered now, and those who came meanwhile."""
        counts = self._counts_due()
        if not counts and not self._parcels:
            return 1
        group: list[_Parcel] = []
        senders = 1
        try:
            with self._database.write() as connection:
                group = self._take()  # only now: more came while others had their turn
                if rows := [parcel.row for parcel in group if parcel.row]:
                    connection.exec_driver_sql(
                        self._insert + ", ".join([self._one_row] * len(rows)),
                        tuple(row[name] for row in rows for name in COLUMNS),
                    )
                    self._database.notify(connection)
                elif group:
                    _try(connection, at=self._now())
                for (name, subject), n in sorted(counts.items()):  # in one order: no deadlocks
                    count(connection, name, subject, at=self._now(), by=n)
        except Exception as error:  # noqa: BLE001 - handed to the waiting requests, which raise it
            for parcel in group or self._take():
                parcel.stored.put(error)
            with self._guard:
                self._counts.update(counts)
        else:
            senders = max(1, len(group) + len(self._parcels))
            for parcel in group:
                parcel.stored.put(None)
        return senders

    def _counts_due(self) -> Counter[tuple[str, str]]:
        with self._guard:
            if self._parcels and not self._count_now:
                return Counter()
            self._count_now = False
            counts, self._counts = self._counts, Counter()
            return counts

    def _take(self) -> list[_Parcel]:
        with self._guard:
            return [self._parcels.popleft() for _ in range(min(MAX_GROUP, len(self._parcels)))]


def _try(connection: sa.Connection, *, at: int) -> None:
    """Store a delivery and take it back: that the disk is full, or that the database may only be
    read, does not show before."""
    empty = dict.fromkeys(COLUMNS, "") | {"received_at": at, "body": b""}
    tried = sa.insert(delivery).returning(delivery.c.id)
    stored = connection.execute(tried, empty).scalar_one()
    connection.execute(sa.delete(delivery).where(delivery.c.id == stored))


def count(connection: sa.Connection, name: str, subject: str, *, at: int, by: int = 1) -> None:
    """Add to a counter that ``status`` shows."""
    upsert(
        connection,
        counter,
        [{"name": name, "subject": subject, "n": by, "last_at": at}],
        update=("last_at",),
        n=counter.c.n + by,
    )
