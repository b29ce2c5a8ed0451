"""Todo: which tasks should exist, compared with those that do.

Only intentions are stored here; ``outbox.py`` carries them to the CRM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from plugin.referral.model import ASK_KINDS, AskCandidate, TaskKind, WantedTask
from plugin.referral.workdays import add_working_days
from plugin.storage import changes, tasks
from plugin.storage.accounts import Account
from plugin.storage.tasks import BACK_AGAIN, LIVE, TaskState, marker, task_key
from plugin.texts import task_text

CLOCKS_DIFFER = timedelta(milliseconds=changes.SAME_WITHIN)


@dataclass(frozen=True, kw_only=True)
class Intent:
    """A task to be made, in words; what the weekly planning keeps of an ask until its turn."""

    kind: str
    cause: str
    target_id: str
    also_on: list[str]
    mentions: list[str]
    deal_id: str | None
    owner_id: str | None
    subject: str
    body: str
    priority: str
    due_working_days: int


def intent_of(wanted: WantedTask, *, owner_id: str | None, language: str) -> Intent:
    text = task_text(wanted, language)
    return Intent(
        kind=wanted.kind,
        cause=wanted.causes[0],
        target_id=wanted.target_id,
        also_on=list(wanted.also_on),
        mentions=list(wanted.mentions),
        deal_id=wanted.deal_id,
        owner_id=owner_id,
        subject=text.subject,
        body=text.body,
        priority=wanted.priority,
        due_working_days=wanted.due_working_days,
    )


def intended(account: Account, subject_id: str, intent: Intent, today: date) -> dict[str, Any]:
    """This task as a row to be stored, before it is made."""
    key = task_key(account.crm_id, subject_id, intent.kind, intent.cause)
    return {
        "key": key,
        "kind": intent.kind,
        "cause": intent.cause,
        "subject_id": subject_id,
        "target_id": intent.target_id,
        "also_on": intent.also_on,
        "mentions": intent.mentions,
        "deal_id": intent.deal_id,
        "owner_id": intent.owner_id,
        "state": TaskState.INTENDED,
        "subject": intent.subject,
        "body": f"{intent.body}\n\n{marker(intent.kind, key)}",
        "priority": intent.priority,
        "due_on": add_working_days(today, intent.due_working_days),
        "planned_on": today,
    }


def compare(
    connection: sa.Connection,
    account: Account,
    subject_id: str,
    wanted: Sequence[WantedTask],
    ask: AskCandidate | None,
    existing: Sequence[sa.Row[Any]],
    owner_of: Callable[[WantedTask], str | None],
    today: date,
) -> list[dict[str, Any]]:
    """What has to happen so that exactly the wanted tasks are open is stored; returns those that
    are not there yet, to be stored with those of other contacts."""
    new = []
    by_cause = {(row.kind, row.cause): row for row in sorted(existing, key=_weight)}
    kept: set[int] = set()
    for one in wanted:
        row = _found(one, by_cause)
        if row is None:
            intent = intent_of(one, owner_id=owner_of(one), language=account.language)
            new.append(intended(account, subject_id, intent, today))
            continue
        kept.add(row.id)
        if row.state in BACK_AGAIN:
            reopen(connection, row, due_on=add_working_days(today, one.due_working_days))
    for row in existing:
        closable = row.state in LIVE or row.state == TaskState.REFUSED
        if row.id not in kept and closable and not _ask_stands(row, ask):
            withdraw(connection, row, reason="no_longer_wanted")
    return new


def _found(
    wanted: WantedTask, by_cause: Mapping[tuple[str, str], sa.Row[Any]]
) -> sa.Row[Any] | None:
    """The task of this cause. A complaint is named by the instant of its rating, which the CRM's
    history may tell a moment earlier or later than its event did."""
    for cause in wanted.causes:
        if row := by_cause.get((wanted.kind, cause)):
            return row
    told = [_complaint(cause) for cause in wanted.causes]
    for (kind, cause), row in by_cause.items():
        about, at = _complaint(cause)
        if kind == wanted.kind and at is not None:
            for same, moment in told:
                if same == about and moment is not None and abs(moment - at) <= CLOCKS_DIFFER:
                    return row
    return None


def _complaint(cause: str) -> tuple[str, datetime | None]:
    """A cause without the instant of its complaint, and that instant."""
    parts = cause.split(";")
    moments = [part for part in parts if part.startswith("complaint=")]
    rest = ";".join(part for part in parts if part not in moments)
    return rest, datetime.fromisoformat(moments[0].partition("=")[2]) if moments else None


def _weight(row: sa.Row[Any]) -> tuple[int, int]:
    """After a merge two tasks may have one cause: the one that came further counts, then the
    older; the other is withdrawn."""
    order = (TaskState.DELETED, TaskState.DONE)
    rank = 2 + order.index(row.state) if row.state in order else int(row.state in LIVE)
    return rank, -row.id


def _ask_stands(row: sa.Row[Any], ask: AskCandidate | None) -> bool:
    """An open ask stays while this ask, or a higher one (the planning replaces it), is wanted."""
    if row.kind not in ASK_KINDS or ask is None:
        return False
    return ASK_KINDS.index(TaskKind(row.kind)) <= ASK_KINDS.index(ask.task.kind)


def _not_taken(row: sa.Row[Any]) -> bool:
    """The CRM refused it, and it is certain that it does not exist there."""
    return row.state == TaskState.REFUSED and not row.doubtful


def withdraw(connection: sa.Connection, row: sa.Row[Any], *, reason: str) -> None:
    """The reason has gone. Stored before the CRM is called, so that it never counts as done."""
    never_made = row.crm_id is None and (row.state == TaskState.INTENDED or _not_taken(row))
    state = TaskState.WITHDRAWN if never_made else TaskState.WITHDRAWING
    tasks.save(connection, [row.id], state=state, reason=reason)


def reopen(connection: sa.Connection, row: sa.Row[Any], *, due_on: date) -> None:
    """The reason came back: the same task again, never a second one."""
    if row.crm_id:
        state = TaskState.REOPENING
    elif row.sent_at is not None and not _not_taken(row):
        state = TaskState.SENDING  # it may exist all the same: it is looked for first
    else:
        state = TaskState.INTENDED
    tasks.save(connection, [row.id], state=state, reason=None, due_on=due_on)
