"""Storing what the CRM sent, before it is answered.

One thread per process writes for all request threads: whatever arrived while the disk was
busy is committed together (measured 1.2 to 4 times the throughput of a commit per request,
more on slow disks). ``put`` returns when the delivery is on disk, never before.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any

import sqlalchemy as sa

from plugin.storage.database import Database, upsert
from plugin.storage.tables import counter, delivery

MAX_GROUP = 200
LOOKS = 5  # at most, before a group is taken that is smaller than the last one
LOOK_EVERY = 0.001  # seconds
COUNT_EVERY = 2_000  # milliseconds
PUT_TIMEOUT = 4.0  # seconds; CRMs give up after five


class Inbox:
    """The only writer of new deliveries in this process."""

    def __init__(self, database: Database, now: Callable[[], int]) -> None:
        self._database = database
        self._now = now
        self._queue: SimpleQueue[tuple[dict[str, Any], Future[None]] | None] = SimpleQueue()
        self._start = threading.Lock()
        self._counting = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._counted_at = 0
        self._thread: threading.Thread | None = None
        self._closing = False

    def put(self, *, crm: str, endpoint: str, topic: str = "", body: bytes) -> None:
        """Store one delivery durably. Raises what the database raised, or ``TimeoutError``."""
        self._run()
        stored: Future[None] = Future()
        row = {
            "crm": crm,
            "endpoint": endpoint,
            "topic": topic,
            "received_at": self._now(),
            "body": body,
            "state": "new",
        }
        self._queue.put((row, stored))
        stored.result(timeout=PUT_TIMEOUT)

    def count(self, name: str, subject: str) -> None:
        """Count something that leaves no other trace (a refused delivery).

        Written at most every two seconds and not waited for: a flood of forgeries costs no
        writes, and a busy database delays no refusal."""
        with self._counting:
            self._counts[name, subject] += 1
            if self._now() - self._counted_at < COUNT_EVERY:
                return
            self._counted_at = self._now()
        self._run()
        self._queue.put(None)  # wakes the writer

    def close(self) -> None:
        """Write what has come, and end. What is put after this is never stored."""
        self._closing = True
        if self._thread:
            self._queue.put(None)
            self._thread.join()

    def _take_counts(self) -> Counter[tuple[str, str]]:
        with self._counting:
            counts, self._counts = self._counts, Counter()
        return counts

    def _run(self) -> None:
        # Started on first use: a thread made before gunicorn forks would not exist afterwards.
        if self._thread:
            return
        with self._start:
            if not self._thread:
                self._thread = threading.Thread(target=self._write, name="inbox", daemon=True)
                self._thread.start()

    def _write(self) -> None:
        insert = sa.insert(delivery)
        size = 1
        while not (self._closing and self._queue.empty()):
            group = self._group(size)
            size = max(1, len(group))
            waiting = [one for one in group if one is not None]
            counts = self._take_counts() if len(waiting) < len(group) or not group else {}
            if not waiting and not counts:
                continue
            try:
                with self._database.write() as connection:
                    if waiting:
                        connection.execute(insert, [row for row, _ in waiting])
                    for (name, subject), n in counts.items():
                        count(connection, name, subject, at=self._now(), by=n)
            except Exception as error:  # noqa: BLE001 - handed to the waiting requests, which raise it
                for _, stored in waiting:
                    stored.set_exception(error)
                with self._counting:
                    self._counts.update(counts)
            else:
                for _, stored in waiting:
                    stored.set_result(None)

    def _group(self, expected: int) -> list[tuple[dict[str, Any], Future[None]] | None]:
        """What has come; nothing after a while in which only refusals may have been counted.

        ``expected``: how many came the last time.

        Whoever was answered then may be sending again: waiting for as many makes few large
        groups of many small ones. One who sends alone is never kept waiting.
        """
        try:
            group = [self._queue.get(timeout=COUNT_EVERY / 1000)]
        except Empty:
            return []
        for _ in range(LOOKS):
            if self._queue.qsize() + 1 >= expected:
                break
            time.sleep(LOOK_EVERY)
        while len(group) < MAX_GROUP and not self._queue.empty():
            group.append(self._queue.get())
        return group


def count(connection: sa.Connection, name: str, subject: str, *, at: int, by: int = 1) -> None:
    """Add to a counter that ``status`` shows."""
    upsert(
        connection,
        counter,
        [{"name": name, "subject": subject, "n": by, "last_at": at}],
        update=("last_at",),
        n=counter.c.n + by,
    )
