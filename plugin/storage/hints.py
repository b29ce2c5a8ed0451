"""Hints: which contacts, deals and erasures of an account still have to be looked at.

A hint says only *that* something changed. Its ``version`` rises with every mark, so that work
on an old version never clears a newer one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from plugin.storage.accounts import has_come, put_off_until
from plugin.storage.among import among
from plugin.storage.database import upsert
from plugin.storage.tables import hint

LOOKS = 5  # at a record that is told oddly, before it is parked
LOOK_AGAIN = 60_000  # milliseconds


class HintKind(StrEnum):
    CONTACT = "contact"
    DEAL = "deal"
    ERASE = "erase"


@dataclass(frozen=True, kw_only=True, slots=True)
class Hint:
    record_id: str
    version: int
    history: bool
    deleted: bool
    attempts: int
    heard_at: int | None = None
    """UTC milliseconds when a delivery last told that the record had changed."""


def mark(
    connection: sa.Connection,
    account_id: int,
    kind: HintKind,
    record_ids: Iterable[str],
    *,
    due_at: int,
    history: bool = False,
    deleted: bool = False,
    heard_at: Mapping[str, int] | None = None,
) -> None:
    """Note that these records have to be looked at; a parked one gets another chance.

    ``heard_at``: when deliveries told of them; the last one counts.
    """
    rows = [
        {
            "account_id": account_id,
            "kind": kind,
            "record_id": record_id,
            "version": 1,
            "due_at": due_at,
            "history": history,
            "deleted": deleted,
            "heard_at": (heard_at or {}).get(record_id),
            "attempts": 0,
            "parked": None,
        }
        for record_id in sorted(set(record_ids))
    ]
    sooner = sa.case((hint.c.due_at < due_at, hint.c.due_at), else_=due_at)
    upsert(
        connection,
        hint,
        rows,
        update=("attempts", "parked"),
        version=hint.c.version + 1,
        due_at=sa.case((hint.c.parked.is_(None), sooner), else_=due_at),
        history=sa.or_(hint.c.history, sa.literal(history)),
        deleted=sa.or_(hint.c.deleted, sa.literal(deleted)),
        heard_at=sa.case(
            (sa.text("excluded.heard_at IS NULL"), hint.c.heard_at),
            (hint.c.heard_at > sa.text("excluded.heard_at"), hint.c.heard_at),
            else_=sa.text("excluded.heard_at"),
        ),
    )


def due(
    connection: sa.Connection, account_id: int, kind: HintKind, *, now: int, limit: int
) -> list[Hint]:
    """Hints to work on now, the longest waiting first."""
    waiting = (
        sa.select(hint)
        .where(hint.c.account_id == account_id, hint.c.kind == kind, hint.c.parked.is_(None))
        .order_by(hint.c.due_at, hint.c.record_id)
        .limit(limit)
    )
    looks = (connection.execute(waiting.where(at)).all() for at in has_come(hint.c.due_at, now))
    return [
        Hint(
            record_id=row.record_id,
            version=row.version,
            history=row.history,
            deleted=row.deleted,
            attempts=row.attempts,
            heard_at=row.heard_at,
        )
        for row in next(filter(None, looks), ())
    ]


def first_due(
    connection: sa.Connection, account_id: int, kinds: Iterable[HintKind], *, now: int
) -> int | None:
    """When the first hint of these kinds is due."""
    # One by one: only of a single kind is the first one that of an index.
    firsts = sa.union_all(
        *(
            sa.select(sa.func.min(hint.c.due_at)).where(
                hint.c.account_id == account_id, hint.c.kind == kind, hint.c.parked.is_(None)
            )
            for kind in kinds
        )
    )
    times = [at for at in connection.execute(firsts).scalars() if at is not None]
    return min((put_off_until(at, now) for at in times), default=None)


def clear(
    connection: sa.Connection, account_id: int, kind: HintKind, hints: Sequence[Hint]
) -> None:
    """Done with these, unless something new arrived meanwhile."""
    if hints:
        connection.execute(
            sa.delete(hint).where(
                hint.c.account_id == account_id,
                hint.c.kind == kind,
                hint.c.record_id == sa.bindparam("id_"),
                hint.c.version == sa.bindparam("version_"),
            ),
            [{"id_": h.record_id, "version_": h.version} for h in hints],
        )


def postpone(
    connection: sa.Connection,
    account_id: int,
    kind: HintKind,
    hints: Sequence[Hint],
    *,
    due_at: int,
) -> None:
    """Look again at ``due_at``; counts as an attempt."""
    if hints:
        connection.execute(
            sa.update(hint)
            .where(
                hint.c.account_id == account_id,
                hint.c.kind == kind,
                hint.c.record_id == sa.bindparam("id_"),
                hint.c.version == sa.bindparam("version_"),
            )
            .values(due_at=due_at, attempts=hint.c.attempts + 1),
            [{"id_": h.record_id, "version_": h.version} for h in hints],
        )


def park(
    connection: sa.Connection, account_id: int, kind: HintKind, one: Hint, *, why: str
) -> None:
    """Leave a record until something new arrives about it or a person replays it; unless
    something new arrived meanwhile."""
    connection.execute(
        sa.update(hint)
        .where(
            hint.c.account_id == account_id,
            hint.c.kind == kind,
            hint.c.record_id == one.record_id,
            hint.c.version == one.version,
        )
        .values(parked=why[:500])
    )


def look_or_park(
    connection: sa.Connection, account_id: int, kind: HintKind, one: Hint, *, why: str, now: int
) -> None:
    """Of what the CRM tells nobody can read: look again, as the CRM itself may be in disorder for a
    while; park it once that was done often enough."""
    if one.attempts < LOOKS:
        postpone(connection, account_id, kind, [one], due_at=now + LOOK_AGAIN)
    else:
        park(connection, account_id, kind, one, why=why)


def unpark(
    connection: sa.Connection,
    account_id: int | None,
    *,
    now: int,
    only: tuple[HintKind, Iterable[str]] | None = None,
) -> int:
    """Give parked records another chance, all of them or ``only`` these; returns how many."""
    chosen: list[sa.ColumnElement[bool]] = [hint.c.parked.is_not(None)]
    if account_id is not None:
        chosen.append(hint.c.account_id == account_id)
    if only is not None:
        kind, record_ids = only
        chosen += [hint.c.kind == kind, among(hint.c.record_id, record_ids)]
    return connection.execute(
        sa.update(hint)
        .where(*chosen)
        .values(parked=None, attempts=0, due_at=now, version=hint.c.version + 1)
    ).rowcount
