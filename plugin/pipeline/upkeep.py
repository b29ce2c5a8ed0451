"""Upkeep: the directory, the users, and the sweeps that repair what webhooks missed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

import sqlalchemy as sa

from plugin.pipeline import absorb
from plugin.pipeline.absorb import Ripples
from plugin.pipeline.lanes import Lane
from plugin.pipeline.outbox import Outbox
from plugin.ports import Session
from plugin.storage import accounts, hints, tasks
from plugin.storage.accounts import Account, instant
from plugin.storage.among import among
from plugin.storage.database import Database, upsert
from plugin.storage.hints import HintKind
from plugin.storage.tables import contact, referral, user
from plugin.storage.tasks import TaskState

log = logging.getLogger(__name__)

HOUR = 3_600_000  # milliseconds
WEEK = 7 * 24 * HOUR
TASKS = 500  # looked at in one go
OVERLAP = 10 * 60_000  # search indexes and clocks lag: look a little further back


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """How far a sweep has come; instants in UTC milliseconds. ``deals``: the contacts are done."""

    since: int
    started: int
    cursor: str | None = None
    deals: bool = False


class Routine(StrEnum):
    """What is done again and again, whatever happens."""

    USERS = "users"
    SWEEP = "sweep"
    TASKS = "tasks"
    IDS = "ids"


def routine_due_at(account: Account, routine: Routine, now: int) -> int:
    """When it is to be done again, in UTC milliseconds; ``now`` also where it was done in the
    future, before the clock was set back."""
    begun = account.connected_at
    last, every = {
        Routine.USERS: (account.users_read_at or 0, HOUR),
        Routine.SWEEP: (account.swept_at or begun, HOUR),
        Routine.TASKS: (account.tasks_read_at or begun, HOUR),
        Routine.IDS: (account.ids_checked_at or begun, WEEK),
    }[routine]
    return now if last > now else last + every


def keep_allowance(account: Account, session: Session, lane: Lane) -> None:
    """What was spent of the CRM's daily budget is kept with the account: it outlives the process,
    the next holder of the lane goes on from it, and ``status`` shows it."""
    allowance = session.allowance
    if allowance is not None and allowance != account.allowance:
        with lane.write() as connection:
            accounts.save(connection, account.id, allowance=accounts.allowance_json(allowance))


class Upkeep:
    """Works for one account, within its lane."""

    def __init__(
        self,
        database: Database,
        account: Account,
        session: Session,
        lane: Lane,
        *,
        batch_size: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._account = account
        self._session = session
        self._lane = lane
        self._batch_size = batch_size
        self._now_ms = now_ms

    # ------------------------------------------------------------------- the directory

    def read_directory(self) -> None:
        """One more page of all contacts; who is there already when matching begins."""
        page = self._session.list_contacts(self._account.directory_cursor)
        ripples = Ripples()
        with self._lane.write() as connection:
            absorb.absorb_cards(connection, self._account, page.items, ripples)
            accounts.save(
                connection,
                self._account.id,
                directory_cursor=page.cursor,
                directory_read_at=None if page.cursor else self._now_ms(),
            )
            self._mark(connection, ripples)

    def users_due(self) -> bool:
        return self._is_due(Routine.USERS)

    def read_users(self) -> None:
        """All CRM users; where one left, the contacts they referred are looked at again."""
        present = self._session.users()
        mine = self._account.id
        with self._lane.write() as connection:
            known = {
                row.crm_id: row
                for row in connection.execute(sa.select(user).where(user.c.account_id == mine))
            }
            rows = [
                {
                    "account_id": mine,
                    "crm_id": one.crm_id,
                    "name": one.name,
                    "email": one.email,
                    "active": one.active,
                }
                for one in present
            ]
            upsert(connection, user, rows, update=("name", "email", "active"))
            there = {one.crm_id for one in present if one.active}
            left = [one for one, row in known.items() if row.active and one not in there]
            connection.execute(
                sa.update(user)
                .where(user.c.account_id == mine, among(user.c.crm_id, left))
                .values(active=False)
            )
            concerned = connection.execute(
                sa.select(referral.c.referred_id).where(
                    referral.c.account_id == mine,
                    referral.c.referrer_is_user.is_(True),
                    among(referral.c.referrer_id, left),
                )
            ).scalars()
            hints.mark(connection, mine, HintKind.CONTACT, list(concerned), due_at=self._now_ms())
            accounts.save(connection, mine, users_read_at=self._now_ms())

    # --------------------------------------------------------------------------- sweeps

    def sweep_due(self) -> bool:
        return self._account.sweep is not None or self._is_due(Routine.SWEEP)

    def sweep(self, state: Sweep | None) -> tuple[Sweep | None, int]:
        """One more page of what was modified since the last sweep: marks it. Returns how far the
        sweep has come, None where it is through, and how many records were marked.

        Where it stands is kept: a CRM that gives no more today goes on from there tomorrow.
        """
        now = self._now_ms()
        since = self._account.swept_at or self._account.connected_at
        state = state or Sweep(since=min(since, now) - OVERLAP, started=now)
        marked, following = (self._sweep_deals if state.deals else self._sweep_contacts)(state)
        values: dict[str, object] = {"sweep": asdict(following) if following else None}
        if following is None:
            values["swept_at"] = state.started
        with self._lane.write() as connection:
            accounts.save(connection, self._account.id, **values)
        return following, marked

    def _sweep_contacts(self, state: Sweep) -> tuple[int, Sweep]:
        page = self._session.contacts_changed_since(instant(state.since), state.cursor)
        ripples = Ripples()
        with self._lane.write() as connection:
            absorb.absorb_cards(connection, self._account, page.items, ripples)
            ripples.history |= {one.crm_id for one in page.items}
            self._mark(connection, ripples)
        return len(page.items), replace(state, cursor=page.cursor, deals=page.cursor is None)

    def _sweep_deals(self, state: Sweep) -> tuple[int, Sweep | None]:
        page = self._session.deals_changed_since(instant(state.since), state.cursor)
        mine, now = self._account.id, self._now_ms()
        with self._lane.write() as connection:
            hints.mark(connection, mine, HintKind.DEAL, page.items, due_at=now)
        return len(page.items), replace(state, cursor=page.cursor) if page.cursor else None

    def tasks_due(self) -> bool:
        return self._is_due(Routine.TASKS)

    def read_tasks(self, outbox: Outbox) -> int:
        """What became of all our open tasks; returns for how many contacts something did."""
        outbox.check_doubtful()
        mine = self._account.id
        found = after = 0
        while True:
            with self._database.read() as connection:
                rows = tasks.in_state(connection, mine, (TaskState.OPEN,), limit=TASKS, after=after)
            if not rows:
                break
            after = rows[-1].id
            found += outbox.read_back(rows, look_again=True)
        with self._lane.write() as connection:
            accounts.save(connection, mine, tasks_read_at=self._now_ms())
        return found

    def ids_due(self) -> bool:
        return self._account.ids_cursor is not None or self._is_due(Routine.IDS)

    def check_ids(self, after: str | None) -> tuple[str | None, int]:
        """Find contacts that vanished without a word, one batch behind the id ``after``. Returns
        the last id that was looked at, None where the check is through, and how many vanished.

        Where it stands is kept, like a sweep's.
        """
        mine = self._account.id
        with self._database.read() as connection:
            ids = list(
                connection.execute(
                    sa.select(contact.c.crm_id)
                    .where(
                        contact.c.account_id == mine,
                        contact.c.gone_at.is_(None),
                        contact.c.crm_id > (after or ""),
                    )
                    .order_by(contact.c.crm_id)
                    .limit(self._batch_size)
                ).scalars()
            )
        there = self._session.existing(ids) if ids else frozenset()
        vanished = [one for one in ids if one not in there]
        last = ids[-1] if ids else None
        values: dict[str, object] = {"ids_cursor": last}
        if last is None:
            values["ids_checked_at"] = self._now_ms()
        with self._lane.write() as connection:
            hints.mark(connection, mine, HintKind.CONTACT, vanished, due_at=self._now_ms())
            accounts.save(connection, mine, **values)
        return last, len(vanished)

    def _is_due(self, routine: Routine) -> bool:
        now = self._now_ms()
        return routine_due_at(self._account, routine, now) <= now

    def _mark(self, connection: sa.Connection, ripples: Ripples) -> None:
        now = self._now_ms()
        mine = self._account.id
        hints.mark(connection, mine, HintKind.CONTACT, ripples.contacts, due_at=now)
        hints.mark(connection, mine, HintKind.CONTACT, ripples.history, due_at=now, history=True)
