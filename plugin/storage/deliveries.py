"""Stored deliveries: what the CRM sent, byte for byte, until nobody needs it any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from plugin.ports import Received
from plugin.storage.accounts import LONGEST_WAIT, instant
from plugin.storage.among import among
from plugin.storage.tables import delivery

MAX_BYTES = 4 * 2**20
"""Bytes of bodies that are read in one go: every thread may do so at the same time."""


class DeliveryState(StrEnum):
    NEW = "new"
    DONE = "done"
    QUARANTINED = "quarantined"
    """Something in it could not be read; the rest of it has been worked on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredDelivery:
    id: int
    crm: str
    endpoint: str
    """"" or the account whose own address was called."""
    topic: str
    received_at: int
    body: bytes

    def received(self, facts: Mapping[str, str]) -> Received:
        """What an adapter gets of it; ``facts`` of the account whose own address was called."""
        return Received(
            body=self.body,
            received_at=instant(self.received_at),
            topic=self.topic,
            account_crm_id=self.endpoint,
            facts=facts if self.endpoint else {},
        )


_COLUMNS = (
    delivery.c.id, delivery.c.crm, delivery.c.endpoint, delivery.c.topic,
    delivery.c.received_at, delivery.c.body,
)  # fmt: skip


def _stored(row: Any) -> StoredDelivery:
    return StoredDelivery(
        id=row.id,
        crm=row.crm,
        endpoint=row.endpoint,
        topic=row.topic,
        received_at=row.received_at,
        body=bytes(row.body),
    )


def any_new(connection: sa.Connection) -> bool:
    """Whether something waits to be digested."""
    first = sa.select(delivery.c.id).where(delivery.c.state == DeliveryState.NEW).limit(1)
    return connection.scalar(first) is not None


def senders(
    connection: sa.Connection, *, after: str | None = None, upto: str | None = None, limit: int
) -> list[str]:
    """Who has deliveries that are not digested yet: the first ones behind ``after``, up to and
    with ``upto``, in the database's own order of texts. One step through the index for each,
    however many deliveries they have."""
    waiting = sa.select(sa.func.min(delivery.c.sender)).where(delivery.c.state == DeliveryState.NEW)
    if upto is not None:
        waiting = waiting.where(delivery.c.sender <= upto)
    begin = waiting if after is None else waiting.where(delivery.c.sender > after)
    found = begin.cte("found", recursive=True)
    sender = found.c[0]
    following = waiting.where(delivery.c.sender > sender).scalar_subquery()
    found = found.union_all(sa.select(following).where(sender.is_not(None)))
    query = sa.select(found.c[0]).where(found.c[0].is_not(None)).limit(limit)
    return list(connection.execute(query).scalars())


def sizes(connection: sa.Connection, sender: str, *, limit: int) -> list[tuple[int, int]]:
    """Id and bytes of a sender's oldest deliveries that are not digested yet."""
    rows = connection.execute(
        sa.select(delivery.c.id, sa.func.length(delivery.c.body))
        .where(delivery.c.state == DeliveryState.NEW, delivery.c.sender == sender)
        .order_by(delivery.c.id)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


def read(
    connection: sa.Connection, ids: Sequence[int], *, to_change: bool = False
) -> list[StoredDelivery]:
    """These deliveries, oldest first. ``to_change``: nobody else changes them until the
    transaction ends."""
    query = sa.select(*_COLUMNS).where(delivery.c.id.in_(ids)).order_by(delivery.c.id)
    return [
        _stored(row) for row in connection.execute(query.with_for_update() if to_change else query)
    ]


def drop_done(connection: sa.Connection, *, before: int, now: int, limit: int) -> int:
    """Forget the oldest deliveries that were digested and received ``before`` (UTC milliseconds),
    or so far ahead of ``now`` that the clock was; returns how many."""
    # As the index says it: of a parameter no database knows at planning that it is in the index.
    done = sa.literal(DeliveryState.DONE, sa.String(), literal_execute=True)
    first = (
        sa.select(delivery.c.id, delivery.c.received_at)
        .where(delivery.c.state == done)
        .order_by(delivery.c.id)
        .limit(limit)
        .subquery()
    )
    old = (
        sa.select(delivery.c.id)
        .join(first, first.c.id == delivery.c.id)
        .where(sa.not_(first.c.received_at.between(before, now + LONGEST_WAIT)))
        .with_for_update(of=delivery, skip_locked=True)  # being redacted: the next time
    )
    return connection.execute(sa.delete(delivery).where(delivery.c.id.in_(old))).rowcount


def lock(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Before several of them are changed: in one order, as everybody does, so that nobody waits
    in a circle. SQLite has one writer at a time anyway."""
    connection.execute(
        sa.select(delivery.c.id)
        .where(among(delivery.c.id, ids))
        .order_by(delivery.c.id)
        .with_for_update()
    ).all()


def finish(
    connection: sa.Connection,
    ids: Sequence[int],
    state: DeliveryState,
    *,
    at: int,
    reason: str | None = None,
) -> None:
    if ids:
        connection.execute(
            sa.update(delivery)
            .where(delivery.c.id.in_(ids))
            .values(state=state, digested_at=at, reason=reason)
        )


def replay(connection: sa.Connection, delivery_id: int | None) -> int:
    """Have one delivery, or every quarantined one, digested again; returns how many."""
    which = (
        delivery.c.state == DeliveryState.QUARANTINED
        if delivery_id is None
        else delivery.c.id == delivery_id
    )
    return connection.execute(
        sa.update(delivery).where(which).values(state=DeliveryState.NEW, reason=None)
    ).rowcount


def portion(connection: sa.Connection, crm: str, *, after: int, limit: int) -> list[StoredDelivery]:
    """The oldest stored deliveries of a CRM behind this id, no more than ``MAX_BYTES`` bytes."""
    rows = connection.execute(
        sa.select(delivery.c.id, sa.func.length(delivery.c.body))
        .where(delivery.c.crm == crm, delivery.c.id > after)
        .order_by(delivery.c.id)
        .limit(limit)
    )
    ids: list[int] = []
    room = MAX_BYTES
    for delivery_id, size in rows:
        if ids and size > room:
            break
        room -= size
        ids.append(delivery_id)
    return read(connection, ids)


def replace_bodies(connection: sa.Connection, bodies: Sequence[tuple[int, bytes]]) -> None:
    """Overwrite bodies that had to be redacted."""
    if bodies:
        connection.execute(
            sa.update(delivery)
            .where(delivery.c.id == sa.bindparam("id_"))
            .values(body=sa.bindparam("body_")),
            [{"id_": delivery_id, "body_": body} for delivery_id, body in bodies],
        )


def discard(connection: sa.Connection, *, first: int, last: int, limit: int) -> int:
    """Forget the oldest quarantined deliveries among these ids; returns how many."""
    oldest = (
        sa.select(delivery.c.id)
        .where(delivery.c.state == DeliveryState.QUARANTINED, delivery.c.id.between(first, last))
        .order_by(delivery.c.id)
        .limit(limit)
        .with_for_update()
    )
    return connection.execute(sa.delete(delivery).where(delivery.c.id.in_(oldest))).rowcount
