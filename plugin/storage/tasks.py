"""Our tasks: what was intended, what the CRM has, and what became of it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from plugin.storage.among import among
from plugin.storage.database import Row
from plugin.storage.tables import task as table

MARKER = re.compile(r"\[spiral:([a-z_]+):([a-z0-9]+)\]")


class TaskState(StrEnum):
    INTENDED = "intended"
    """Decided and stored; the CRM was not called yet."""
    SENDING = "sending"
    """The CRM was called; whether the task exists is not known until the answer is stored."""
    OPEN = "open"
    DONE = "done"
    """Completed in the CRM by a person."""
    DELETED = "deleted"
    """Deleted in the CRM: not made again for the same cause."""
    WITHDRAWING = "withdrawing"
    """The reason has gone: to be completed by us. Never counts as done by a person."""
    WITHDRAWN = "withdrawn"
    REOPENING = "reopening"
    """The reason came back: the same task is opened again."""
    REFUSED = "refused"
    """The CRM does not take it; ``reason`` says why."""


LIVE = (TaskState.INTENDED, TaskState.SENDING, TaskState.OPEN, TaskState.REOPENING)
"""In the CRM and open, or on the way there."""
PENDING = (
    TaskState.INTENDED,
    TaskState.SENDING,
    TaskState.WITHDRAWING,
    TaskState.REOPENING,
)
"""The CRM has still to be called."""
BACK_AGAIN = (TaskState.WITHDRAWN, TaskState.WITHDRAWING, TaskState.REFUSED)
"""Taken back, or never taken: where its reason holds again, so does the task."""


def task_key(account_crm_id: str, subject_id: str, kind: str, cause: str) -> str:
    """What makes a task once: 20 characters that stand for account, contact, kind and cause."""
    whole = "\x1f".join((account_crm_id, subject_id, kind, cause))
    digest = hashlib.sha256(whole.encode()).digest()
    return base64.b32encode(digest)[:20].decode().lower()


def marker(kind: str, key: str) -> str:
    """The line at the end of a task's text by which it is found again."""
    return f"[spiral:{kind}:{key}]"


def key_in(text: str) -> str | None:
    """The key in the last marker of a task's text."""
    found = MARKER.findall(text)
    return found[-1][1] if found else None


def of_subjects(
    connection: sa.Connection, account_id: int, subject_ids: Sequence[str]
) -> Sequence[sa.Row[Any]]:
    return connection.execute(
        sa.select(table)
        .where(table.c.account_id == account_id, among(table.c.subject_id, subject_ids))
        .order_by(table.c.id)
    ).all()


def in_state(
    connection: sa.Connection,
    account_id: int,
    states: Iterable[TaskState],
    *,
    limit: int,
    after: int = 0,
) -> Sequence[sa.Row[Any]]:
    return connection.execute(
        sa.select(table)
        .where(
            table.c.account_id == account_id, table.c.state.in_(list(states)), table.c.id > after
        )
        .order_by(table.c.id)
        .limit(limit)
    ).all()


def add(connection: sa.Connection, account_id: int, rows: Iterable[Row]) -> None:
    """Store tasks to be made. A second one with the same key is impossible."""
    new: dict[str, Row] = {}
    for row in rows:
        new.setdefault(row["key"], row)
    if not new:
        return
    there = connection.execute(
        sa.select(table.c.key).where(table.c.account_id == account_id, among(table.c.key, new))
    )
    for key in there.scalars().all():
        del new[key]
    if new:
        connection.execute(
            sa.insert(table), [{**row, "account_id": account_id} for row in new.values()]
        )


def save(connection: sa.Connection, ids: Sequence[int], **values: Any) -> None:
    if ids:
        connection.execute(sa.update(table).where(among(table.c.id, ids)).values(**values))
