"""When an account has something to do next."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta

import sqlalchemy as sa

from plugin.pipeline.lanes import DIGEST, account_lane, is_held
from plugin.pipeline.outbox import settled_at
from plugin.pipeline.subscribe import subscription_due_at
from plugin.pipeline.upkeep import Routine, routine_due_at
from plugin.referral.workdays import week_of
from plugin.storage import accounts, deliveries, hints
from plugin.storage.accounts import LONGEST_WAIT, Account, milliseconds
from plugin.storage.database import Database
from plugin.storage.hints import HintKind
from plugin.storage.tables import contact, task
from plugin.storage.tasks import PENDING, TaskState

SOON = 8_000  # milliseconds: what is due within is waited for before being idle


def due_at(
    connection: sa.Connection, account: Account, *, now: int, present: datetime
) -> int | None:
    """When there is work for this account: now, at some instant, or never by itself (None).

    ``now`` in UTC milliseconds, as back-off and the like count; ``present``: the same instant, as
    the referral model lives in it. What is done every hour anyway is not counted.
    """
    if account.paused:
        return None
    times = list(_work(connection, account, now=now, today=account.day(present)))
    return max(account.waits_until(now), min(times)) if times else None


def next_at(
    connection: sa.Connection, account: Account, *, now: int, present: datetime, webhooks: bool
) -> int | None:
    """When somebody should look into this account's lane again: for work, for what is done every
    hour, or because a day begins that may change a decision. ``webhooks``: whether they are looked
    after."""
    if account.paused:
        return None
    times = [
        *_work(connection, account, now=now, today=account.day(present)),
        *_upkeep(account, now),
        *_days(connection, account, now=now, present=present),
    ]
    if webhooks and (at := subscription_due_at(account, now)) is not None:
        times.append(at)
    # Not before now, however long it has waited: a backlog must not be first in every round.
    return min(max(now, account.waits_until(now), min(times)), now + LONGEST_WAIT)


def _work(connection: sa.Connection, account: Account, *, now: int, today: date) -> Iterator[int]:
    if account.directory_read_at is None or account.users_read_at is None:
        yield now
    kinds = list(HintKind) if account.ready else [HintKind.DEAL, HintKind.ERASE]
    first_hint = hints.first_due(connection, account.id, kinds, now=now)
    if first_hint is not None:
        yield first_hint
    if not account.observing:
        yield from _tasks(connection, account, now)
        if account.ready and (
            account.asks_to_plan or account.asks_planned_week != week_of(today).toordinal()
        ):
            yield now
    first_review = _first_review(connection, account) if account.ready else None
    if first_review is not None and first_review <= today:
        yield now


def _tasks(connection: sa.Connection, account: Account, now: int) -> Iterator[int]:
    for row in connection.execute(
        sa.select(task.c.state, sa.func.min(task.c.sent_at).label("sent_at"))
        .where(task.c.account_id == account.id, task.c.state.in_(PENDING))
        .group_by(task.c.state)
    ):
        yield settled_at(row.sent_at or 0, now) if row.state == TaskState.SENDING else now


def _first_review(connection: sa.Connection, account: Account) -> date | None:
    found: date | None = connection.scalar(
        sa.select(sa.func.min(contact.c.review_on)).where(contact.c.account_id == account.id)
    )
    return found


def _upkeep(account: Account, now: int) -> Iterator[int]:
    if account.sweep is not None or account.ids_cursor is not None:
        yield now
    for routine in Routine:
        yield routine_due_at(account, routine, now)


def _days(
    connection: sa.Connection, account: Account, *, now: int, present: datetime
) -> Iterator[int]:
    """Days on which time alone changes something."""
    if not account.ready:
        return
    monday = week_of(account.day(present)) + timedelta(weeks=1)
    for day in (_first_review(connection, account), monday):
        if day is not None:
            midnight = datetime.combine(day, time(), account.zone)
            yield now + milliseconds(midnight) - milliseconds(present)


def nothing_due(database: Database, *, now: int, present: datetime, soon: int = SOON) -> bool:
    """Whether nothing is due anywhere, nor within ``soon`` milliseconds, and nobody works."""
    with database.read() as connection:
        if deliveries.any_new(connection):
            return False
        leases = database.present()
        if is_held(connection, DIGEST, now=leases):
            return False
        for account in accounts.all_accounts(connection):
            if is_held(connection, account_lane(account.id), now=leases):
                return False
            at = due_at(connection, account, now=now, present=present)
            if at is not None and at <= now + (0 if account.waits_until(now) else soon):
                return False
    return True
