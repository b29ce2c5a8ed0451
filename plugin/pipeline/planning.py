"""Planning: who of a rep's customers is asked for a referral this week.

Done when a lane has nothing else left to do, over all candidates at once: so it does not
matter in which order they became ready.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from plugin.pipeline import todo
from plugin.pipeline.todo import Intent
from plugin.referral.asks import plan_week
from plugin.referral.model import ASK_KINDS, TaskKind
from plugin.referral.workdays import add_working_days, week_of
from plugin.storage import tasks
from plugin.storage.accounts import Account
from plugin.storage.among import among
from plugin.storage.tables import contact
from plugin.storage.tables import task as table
from plugin.storage.tasks import BACK_AGAIN, LIVE

PORTION = 500
"""Contacts that are read at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """An ask that may be planned. ``order``: the best first."""

    order: tuple[int, int, str, str]
    contact_id: str
    intent: Intent
    same: Any
    """The row of this very ask, where it was withdrawn before."""
    lower: Sequence[Any]
    """Open asks of this contact that it replaces."""


def choose_asks(connection: sa.Connection, account: Account, today: date) -> list[Chosen]:
    """The asks of this week that are not there yet, over all who may be asked. Only reads, in
    portions: that takes a while where they are many."""
    owners = connection.execute(
        sa.select(contact.c.ask_owner)
        .distinct()
        .where(contact.c.account_id == account.id, contact.c.ask_owner.is_not(None))
        .order_by(contact.c.ask_owner)
    ).scalars()
    return [one for owner in owners.all() for one in _of_owner(connection, account, owner, today)]


def store_asks(
    connection: sa.Connection, account: Account, chosen: Sequence[Chosen], today: date
) -> None:
    """Store the asks that were chosen, and withdraw those they replace."""
    new = []
    for one in chosen:
        for row in one.lower:
            todo.withdraw(connection, row, reason="replaced")
        if one.same is None:
            new.append(todo.intended(account, one.contact_id, one.intent, today))
            continue
        due_on = add_working_days(today, one.intent.due_working_days)
        todo.reopen(connection, one.same, due_on=due_on)
        tasks.save(connection, [one.same.id], planned_on=today)
    tasks.add(connection, account.id, new)


def _of_owner(
    connection: sa.Connection, account: Account, owner: str, today: date
) -> Sequence[Chosen]:
    policy = account.policy.asks
    already = _planned_this_week(connection, account, owner, today)
    best: tuple[Chosen, ...] = ()
    if already >= policy.per_owner_and_week:
        return best
    candidates = sa.select(contact.c.crm_id, contact.c.ask).where(
        contact.c.account_id == account.id, contact.c.ask_owner == owner
    )
    for rows in connection.execute(candidates.execution_options(yield_per=PORTION)).partitions():
        best = plan_week([*best, *_candidates(connection, account, rows)], already, policy)
    return best


def _candidates(
    connection: sa.Connection, account: Account, rows: Sequence[Any]
) -> Iterator[Chosen]:
    asks: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(
        sa.select(table).where(
            table.c.account_id == account.id,
            table.c.kind.in_(ASK_KINDS),
            among(table.c.subject_id, (one.crm_id for one in rows)),
        )
    ):
        asks[row.subject_id].append(row)
    for row in rows:
        if found := _candidate(row, asks[row.crm_id]):
            yield found


def _candidate(row: Any, asks: Sequence[Any]) -> Chosen | None:
    intent = Intent(**row.ask["intent"])
    rank = ASK_KINDS.index(TaskKind(intent.kind))
    open_now = [one for one in asks if one.state in LIVE]
    if any(ASK_KINDS.index(TaskKind(one.kind)) >= rank for one in open_now):
        return None
    same = next((one for one in asks if (one.kind, one.cause) == (intent.kind, intent.cause)), None)
    if same is not None and same.state not in BACK_AGAIN:
        return None
    influence, stage, since, contact_id = row.ask["order"]
    return Chosen(
        order=(influence, stage, since, contact_id),
        contact_id=row.crm_id,
        intent=intent,
        same=same,
        lower=open_now,
    )


def _planned_this_week(connection: sa.Connection, account: Account, owner: str, today: date) -> int:
    same_owner = table.c.owner_id == owner if owner else table.c.owner_id.is_(None)
    counted = connection.scalar(
        sa.select(sa.func.count()).where(
            table.c.account_id == account.id,
            table.c.kind.in_(ASK_KINDS),
            same_owner,
            table.c.planned_on >= week_of(today),
            table.c.state.not_in(BACK_AGAIN),
        )
    )
    return counted or 0
