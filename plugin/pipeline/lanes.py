"""One lane per account: whoever holds its lease works alone.

A lease ends by itself 12 seconds after its holder was last heard of; a fencing token that
rises with every holder keeps one who comes back late from writing. A lane also knows when there
is something to do in it, so that finding work costs the same however many accounts there are.

Whoever writes rows of an account locks its lane first, by holding or by waking it, in the order of
the accounts: so no two transactions wait for each other.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from plugin.errors import LeaseLost
from plugin.storage.accounts import has_come
from plugin.storage.database import Database, upsert
from plugin.storage.tables import account, lane

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
            self._require_or_revive(connection)
            yield connection

    def check(self) -> None:
        """Before a call to the CRM: raises ``LeaseLost`` unless the lane is still ours, and once
        this process has to end."""
        if self._lanes.ending:
            raise LeaseLost(f"lane {self.name} is given back: the process ends")
        with self._lanes.database.read() as connection:
            row = connection.execute(self._state()).one()
        if row.token != self.token or row.until < row.now:
            raise LeaseLost(f"lane {self.name} was taken over, or its lease ran out")

    def _state(self) -> sa.Select[Any]:
        now = self._lanes.present().label("now")
        return sa.select(lane.c.token, lane.c.until, lane.c.holder, now).where(
            lane.c.name == self.name
        )

    def _require_or_revive(self, connection: sa.Connection) -> None:
        """A lease that ran out while nobody else wanted the lane goes on: its row is locked, so
        nobody can take it before this transaction ends."""
        row = connection.execute(self._state().with_for_update()).one()
        if row.token != self.token or row.holder != self._lanes.holder:
            raise LeaseLost(f"lane {self.name} was taken over")
        if row.until < row.now:
            until = self._lanes.present() + LEASE
            connection.execute(sa.update(lane).where(lane.c.name == self.name).values(until=until))


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A lane that was due, and is ours now. ``failures``: of its account, in a row."""

    lane: Lane
    account_id: int
    failures: int
    due_at: int
    """What the lane says while it is held, in UTC milliseconds: if its holder dies, somebody looks
    then. Earlier only if it was woken meanwhile."""


class Lanes:
    """All leases of this process, renewed by one thread.

    ``now``: the clock of leases in milliseconds, else the database's own: hosts may differ.
    """

    def __init__(self, database: Database, now: Callable[[], int] | None = None) -> None:
        self.database = database
        self._now = now
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._held: dict[str, Lane] = {}
        self._lock = threading.Lock()
        self._ends_at: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lanes", daemon=True)
        self._thread.start()

    def present(self) -> sa.ColumnElement[int]:
        """Now, as leases count it."""
        return sa.literal(self._now()) if self._now else self.database.present()

    @property
    def ending(self) -> bool:
        """Whether nobody may begin another call to a CRM."""
        return self._ends_at is not None and time.monotonic() >= self._ends_at

    def end_in(self, seconds: float) -> None:
        """From then on, holders are stopped at their next call to a CRM."""
        self._ends_at = time.monotonic() + seconds

    def take(self, name: str) -> Lane | None:
        """This lane, if nobody else holds it."""
        with self._lock:
            if name in self._held:
                return None
        with self.database.write() as connection:
            # The row must be there before it can be locked: two workers may be the first at once.
            upsert(connection, lane, [_new(name)])
            row = connection.execute(
                sa.select(lane.c.name, lane.c.token)
                .where(lane.c.name == name, _is_free(self.present()))
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if row is None:
                return None
            taken = self._lease(connection, row)
        return self._hold(taken)

    def claim(self, *, now: int, steady: bool, besides: Collection[int] = ()) -> Claimed | None:
        """The account's lane that has been due for longest, if there is one; ``steady``: only of
        accounts whose last work did not fail, and none of those ``besides``."""
        waiting = (
            sa.select(lane.c.name, lane.c.token, lane.c.account_id, account.c.failures)
            .join(account, account.c.id == lane.c.account_id)
            .where(_is_free(self.present()))
            .order_by(lane.c.due_at, lane.c.account_id)
            .limit(1)
        )
        if steady:
            waiting = waiting.where(
                account.c.failures == 0, lane.c.account_id.not_in(sorted(besides))
            )
        looks = [waiting.where(come) for come in has_come(lane.c.due_at, now)]
        with self.database.read() as connection:  # a look costs nobody the write lock
            due = next((one for one in looks if connection.execute(one).first()), None)
        if due is None:
            return None
        with self.database.write() as connection:
            row = connection.execute(due.with_for_update(of=lane, skip_locked=True)).one_or_none()
            if row is None:
                return None
            taken = self._lease(connection, row, due_at=now + LEASE)
        return Claimed(
            lane=self._hold(taken),
            account_id=row.account_id,
            failures=row.failures,
            due_at=now + LEASE,
        )

    def _lease(self, connection: sa.Connection, row: Any, **values: int) -> Lane:
        token: int = row.token + 1
        connection.execute(
            sa.update(lane)
            .where(lane.c.name == row.name)
            .values(token=token, holder=self.holder, until=self.present() + LEASE, **values)
        )
        return Lane(self, row.name, token)

    def _hold(self, taken: Lane) -> Lane:
        with self._lock:
            self._held[taken.name] = taken
        return taken

    def release(
        self,
        held: Lane,
        *,
        due_at: Callable[[sa.Connection, int | None], int | None] | None = None,
    ) -> None:
        """Give the lane back at once. ``due_at`` is handed what the lane says and tells when there
        is something to do again; asked in the same transaction, so that nothing that was marked
        meanwhile is overlooked."""
        with self._lock:
            if self._held.get(held.name) is held:
                del self._held[held.name]
        with self.database.write() as connection:
            ours = sa.and_(lane.c.name == held.name, lane.c.token == held.token)
            row = connection.execute(sa.select(lane.c.due_at).where(ours).with_for_update()).first()
            if row:
                again = {} if due_at is None else {"due_at": due_at(connection, row.due_at)}
                connection.execute(sa.update(lane).where(ours).values(until=0, holder="", **again))

    def close(self, *, patience: float = 2.0) -> None:
        """Stop renewing; what is still held is given back as it is. Waits no longer than so many
        seconds twice: where the database hangs, leases end by themselves."""
        self._stopped.set()
        self._thread.join(patience)
        giving_back = threading.Thread(target=self._give_back, name="lanes", daemon=True)
        giving_back.start()
        giving_back.join(patience)

    def _give_back(self) -> None:
        with self._lock:
            left = list(self._held.values())
        for one in left:
            try:
                self.release(one)
            except (sa.exc.SQLAlchemyError, OSError):
                return  # no database: the leases end by themselves

    def _renew(self) -> None:
        while not self._stopped.wait(RENEW_EVERY):
            with self._lock:
                held = {one.name: one.token for one in self._held.values()}
            if not held:
                continue
            try:
                with self.database.write() as connection:
                    self._renew_all(connection, held)
            except (sa.exc.SQLAlchemyError, OSError):
                continue  # a busy or restarting database: the next round renews, or the lease ends

    def _renew_all(self, connection: sa.Connection, held: dict[str, int]) -> None:
        """One that is being written in is locked: it is renewed in a later round."""
        rows = connection.execute(
            sa.select(lane.c.name, lane.c.token)
            .where(
                lane.c.name.in_(sorted(held)),
                lane.c.holder == self.holder,  # not given back just now
            )
            .with_for_update(skip_locked=True)
        )
        ours = [row.name for row in rows if row.token == held[row.name]]
        connection.execute(
            sa.update(lane).where(lane.c.name.in_(ours)).values(until=self.present() + LEASE)
        )


def _new(name: str, account_id: int | None = None, due_at: int | None = None) -> dict[str, object]:
    return {
        "name": name, "account_id": account_id, "token": 0, "holder": "", "until": 0,
        "due_at": due_at,
    }  # fmt: skip


def wake(connection: sa.Connection, account_ids: Collection[int], *, at: int) -> None:
    """There is something to do for these accounts. Locks their lanes until the transaction ends:
    to be called before any row of these accounts is written."""
    sooner = sa.case((lane.c.due_at <= at, lane.c.due_at), else_=at)
    rows = [_new(account_lane(one), one, at) for one in sorted(account_ids)]
    upsert(connection, lane, rows, update=("account_id",), due_at=sooner)


def wake_all(connection: sa.Connection, *, at: int) -> None:
    """The same for every account."""
    wake(connection, connection.execute(sa.select(account.c.id)).scalars().all(), at=at)


def is_held(connection: sa.Connection, name: str, *, now: sa.ColumnElement[int]) -> bool:
    """Whether somebody holds this lane right now."""
    held = sa.select(lane.c.name).where(lane.c.name == name, sa.not_(_is_free(now)))
    return connection.execute(held).first() is not None


def _is_free(now: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Not leased; or leased for longer than can be: then the clock was set back."""
    return sa.or_(lane.c.until < now, lane.c.until > now + 2 * LEASE)
