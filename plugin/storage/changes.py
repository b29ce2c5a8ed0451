"""Changes of the *in* fields, as events and property histories tell them: a set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from plugin.referral.model import FieldChange
from plugin.storage.accounts import instant, milliseconds
from plugin.storage.database import Row, upsert
from plugin.storage.tables import field_change as table

SAME_WITHIN = 5_000  # milliseconds: how far an event's and the history's clock may differ
MAX_VALUE = 1024


def add(connection: sa.Connection, account_id: int, rows: Iterable[Row]) -> None:
    """Note changes (``contact_id``, ``field``, ``at``, ``value``).

    The same change told once more, a moment apart, is the same change: what is told first keeps
    its instant, which may be the cause of a task.
    """
    cut = [{**row, "value": str(row["value"])[:MAX_VALUE]} for row in rows]
    if not cut:
        return
    known: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    ids = sorted({str(row["contact_id"]) for row in cut})
    for start in range(0, len(ids), 500):
        for old in connection.execute(
            sa.select(table).where(
                table.c.account_id == account_id,
                table.c.contact_id.in_(ids[start : start + 500]),
            )
        ):
            known[old.contact_id, old.field, old.value].append(old.at)
    fresh = []
    for row in sorted(cut, key=lambda one: one["at"]):
        times = known[row["contact_id"], row["field"], row["value"]]
        if all(abs(row["at"] - at) > SAME_WITHIN for at in times):
            times.append(row["at"])
            fresh.append({**row, "account_id": account_id})
    upsert(connection, table, fresh)


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
    upsert(connection, table, [{**this, "account_id": account_id, "value": value}])


def of(
    connection: sa.Connection, account_id: int, contact_ids: Sequence[str]
) -> Mapping[str, Sequence[FieldChange]]:
    """All changes known of these contacts, by contact."""
    found: dict[str, list[FieldChange]] = defaultdict(list)
    for row in connection.execute(
        sa.select(table)
        .where(table.c.account_id == account_id, table.c.contact_id.in_(contact_ids))
        .order_by(table.c.at, table.c.value)
    ):
        found[row.contact_id].append(
            FieldChange(field=row.field, value=row.value, at=instant(row.at))
        )
    return found
