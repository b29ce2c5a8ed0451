"""Planning: who of a rep's customers is asked for a referral this week.

Done when a lane has nothing else left to do, over all candidates at once: so it does not
matter in which order they became ready.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from plugin.pipeline import todo
from plugin.pipeline.todo import Intent
from plugin.referral.asks import plan_week
from plugin.referral.model import ASK_KINDS, TaskKind
from plugin.referral.workdays import add_working_days, week_of
from plugin.storage.accounts import Account
from plugin.storage.tables import contact
from plugin.storage.tables import task as table
from plugin.storage.tasks import LIVE, TaskState

BACK_AGAIN = (TaskState.WITHDRAWN, TaskState.WITHDRAWING, TaskState.REFUSED)
"""States of an ask in which its reason may bring it back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    order: tuple[int, int, str, str]
    contact_id: str
    intent: Intent
    same: Any
    """The row of this very ask, where it was withdrawn before."""
    lower: Sequence[Any]
    """Open asks of this contact that it replaces."""


def plan_asks(connection: sa.Connection, account: Account, today: date) -> int:
    """Store the asks of this week that are not there yet; returns how many."""
    by_owner: dict[str, list[_Candidate]] = defaultdict(list)
    for owner, candidate in _candidates(connection, account):
        by_owner[owner].append(candidate)
    planned = 0
    for owner, candidates in sorted(by_owner.items()):
        already = _planned_this_week(connection, account, owner, today)
        for one in plan_week(candidates, already, account.policy.asks):
            _intend(connection, account, one, today)
            planned += 1
    return planned


def _candidates(connection: sa.Connection, account: Account) -> list[tuple[str, _Candidate]]:
    rows = connection.execute(
        sa.select(contact.c.crm_id, contact.c.ask_owner, contact.c.ask).where(
            contact.c.account_id == account.id, contact.c.ask_owner.is_not(None)
        )
    ).all()
    asks: dict[str, list[Any]] = defaultdict(list)
    for start in range(0, len(rows), 500):
        for row in connection.execute(
            sa.select(table).where(
                table.c.account_id == account.id,
                table.c.kind.in_(ASK_KINDS),
                table.c.subject_id.in_([one.crm_id for one in rows[start : start + 500]]),
            )
        ):
            asks[row.subject_id].append(row)
    found = []
    for row in rows:
        if candidate := _candidate(row, asks[row.crm_id]):
            found.append((row.ask_owner, candidate))
    return found


def _candidate(row: Any, asks: Sequence[Any]) -> _Candidate | None:
    intent = Intent(**row.ask["intent"])
    rank = ASK_KINDS.index(TaskKind(intent.kind))
    open_now = [one for one in asks if one.state in LIVE]
    if any(ASK_KINDS.index(TaskKind(one.kind)) >= rank for one in open_now):
        return None
    same = next((one for one in asks if (one.kind, one.cause) == (intent.kind, intent.cause)), None)
    if same is not None and same.state not in BACK_AGAIN:
        return None
    influence, stage, since, contact_id = row.ask["order"]
    return _Candidate(
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
            table.c.state.not_in((TaskState.WITHDRAWN, TaskState.WITHDRAWING, TaskState.REFUSED)),
        )
    )
    return counted or 0


def _intend(connection: sa.Connection, account: Account, one: _Candidate, today: date) -> None:
    for row in one.lower:
        todo.withdraw(connection, row, reason="replaced")
    if one.same is not None:
        due_on = add_working_days(today, one.intent.due_working_days)
        todo.reopen(connection, one.same, due_on=due_on)
        connection.execute(
            sa.update(table).where(table.c.id == one.same.id).values(planned_on=today)
        )
    else:
        todo.intend(connection, account, one.contact_id, one.intent, today)
