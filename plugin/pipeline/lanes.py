"""One lane per account: whoever holds its lease works alone.

A lease ends by itself 12 seconds after its holder was last heard of; a fencing token that
rises with every holder keeps one who comes back late from writing.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from plugin.errors import LeaseLost
from plugin.storage.database import Database, upsert
from plugin.storage.tables import lane

LEASE = 12_000  # milliseconds
RENEW_EVERY = 3.0  # seconds
DIGEST = "digest"


def account_lane(account_id: int) -> str:
    return f"account:{account_id}"


class Lane:
    """A held lease. Everything its holder writes goes through :meth:`write`."""

    def __init__(self, lanes: Lanes, name: str, token: int) -> None:
        self._lanes = lanes
        self.name = name
        self.token = token

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A write transaction that fails with ``LeaseLost`` once the lane is somebody else's."""
        with self._lanes.database.write() as connection:
            token, until = connection.execute(
                sa.select(lane.c.token, lane.c.until)
                .where(lane.c.name == self.name)
                .with_for_update()
            ).one()
            if token != self.token or until < self._lanes.now():
                raise LeaseLost(f"lane {self.name} was taken over")
            yield connection

    def check(self) -> None:
        """Before a call to the CRM: raises ``LeaseLost`` unless the lane is still ours."""
        with self._lanes.database.read() as connection:
            held = connection.execute(
                sa.select(lane.c.token, lane.c.until).where(lane.c.name == self.name)
            ).one()
        if held.token != self.token or held.until < self._lanes.now():
            raise LeaseLost(f"lane {self.name} was taken over")


class Lanes:
    """All leases of this process, renewed by one thread."""

    def __init__(self, database: Database, now: Callable[[], int]) -> None:
        self.database = database
        self.now = now
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._held: dict[str, Lane] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lanes", daemon=True)
        self._thread.start()

    def take(self, name: str) -> Lane | None:
        """The lane, if nobody else holds it."""
        with self._lock:
            if name in self._held:
                return None
        with self.database.write() as connection:
            now = self.now()
            # The row must be there before it can be locked: two workers may be the first at once.
            upsert(connection, lane, [{"name": name, "token": 0, "holder": "", "until": 0}])
            row = connection.execute(
                sa.select(lane).where(lane.c.name == name).with_for_update()
            ).one()
            if row.until >= now:
                return None
            token: int = row.token + 1
            connection.execute(
                sa.update(lane)
                .where(lane.c.name == name)
                .values(token=token, holder=self.holder, until=now + LEASE)
            )
        taken = Lane(self, name, token)
        with self._lock:
            self._held[name] = taken
        return taken

    def release(self, held: Lane) -> None:
        """Give the lane back at once."""
        with self._lock:
            self._held.pop(held.name, None)
        with self.database.write() as connection:
            connection.execute(
                sa.update(lane)
                .where(lane.c.name == held.name, lane.c.token == held.token)
                .values(until=0, holder="")
            )

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._stopped.wait(RENEW_EVERY):
            with self._lock:
                held = list(self._held.values())
            if not held:
                continue
            try:
                with self.database.write() as connection:
                    for one in held:
                        connection.execute(
                            sa.update(lane)
                            .where(
                                lane.c.name == one.name,
                                lane.c.token == one.token,
                                lane.c.holder == self.holder,  # not given back just now
                            )
                            .values(until=self.now() + LEASE)
                        )
            except (sa.exc.SQLAlchemyError, OSError):
                continue  # a busy or restarting database: the next round renews, or the lease ends


def held_by_others(connection: sa.Connection, name: str, *, now: int) -> bool:
    """Whether somebody holds this lane right now."""
    until = connection.scalar(sa.select(lane.c.until).where(lane.c.name == name))
    return until is not None and until >= now
