"""Changes of the *in* fields, as events and property histories tell them: a set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from plugin.referral.model import FieldChange
from plugin.storage.accounts import instant, milliseconds
from plugin.storage.among import among
from plugin.storage.database import Row, upsert
from plugin.storage.tables import field_change as table

SAME_WITHIN = 5_000  # milliseconds: how far an event's and the history's clock may differ
MAX_BYTES = 1_000  # of a value: it is part of the key, and an index has its limits


def cut(value: str) -> str:
    """A value as it is kept: what no database stores or indexes is left out."""
    clean = value.replace("\x00", "").encode("utf-8", "ignore")
    return clean[:MAX_BYTES].decode("utf-8", "ignore")


def add(connection: sa.Connection, account_id: int, rows: Iterable[Row]) -> None:
    """Note changes (``contact_id``, ``field``, ``at``, ``value``); the order does not matter.

    The same change told by an event and by the history a moment apart stays twice: one value
    after itself is no change (``referral.ratings``), and causes made of instants are compared
    with ``SAME_WITHIN`` (``pipeline.todo``).
    """
    upsert(
        connection,
        table,
        [{**row, "account_id": account_id, "value": cut(str(row["value"]))} for row in rows],
    )


def replace(
    connection: sa.Connection, account_id: int, contact_id: str, one: FieldChange, value: str
) -> None:
    """Put another value in the place of one."""
    this = {"contact_id": contact_id, "field": one.field, "at": milliseconds(one.at)}
    connection.execute(
        sa.delete(table).where(
            table.c.account_id == account_id,
            table.c.contact_id == contact_id,
            table.c.field == one.field,
            table.c.at == this["at"],
            table.c.value == one.value,
        )
    )
    upsert(connection, table, [{**this, "account_id": account_id, "value": cut(value)}])


def of(
    connection: sa.Connection, account_id: int, contact_ids: Sequence[str]
) -> Mapping[str, Sequence[FieldChange]]:
    """All changes known of these contacts, by contact."""
    found: dict[str, list[FieldChange]] = defaultdict(list)
    for row in connection.execute(
        sa.select(table)
        .where(table.c.account_id == account_id, among(table.c.contact_id, contact_ids))
        .order_by(table.c.at, table.c.value)
    ):
        found[row.contact_id].append(
            FieldChange(field=row.field, value=row.value, at=instant(row.at))
        )
    return found
