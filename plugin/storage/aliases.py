"""Aliases: ids that were merged away, each with the id that took its place.

Merges are told in any order and one after the other: an alias may lead to one that leads on. One
that would close a circle is not kept, and where one came to be nobody in it counts as merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from plugin.storage.among import among
from plugin.storage.database import upsert
from plugin.storage.tables import alias


def tell(connection: sa.Connection, account_id: int, merges: Mapping[str, str]) -> None:
    """Note merges (old id → the id it became) that were told and have not been carried out; what
    was told of an old id before stays."""
    steps = _steps(connection, account_id, {*merges, *merges.values()})
    rows = []
    for old, new in sorted(merges.items()):
        end = _end(steps, new)
        if end is not None and end != old and old not in steps:
            steps[old] = end
            rows.append({"account_id": account_id, "old_id": old, "new_id": end, "applied": False})
    upsert(connection, alias, rows)


def apply(connection: sa.Connection, account_id: int, old: str, new: str) -> None:
    """What was known of ``old`` is kept under ``new`` by now, whatever was told before."""
    connection.execute(
        sa.update(alias)
        .where(alias.c.account_id == account_id, alias.c.new_id == old)
        .values(new_id=new)
    )
    upsert(
        connection,
        alias,
        [{"account_id": account_id, "old_id": old, "new_id": new, "applied": True}],
        update=("new_id", "applied"),
    )
    if _end(_steps(connection, account_id, [new]), new) is None:
        forget(connection, account_id, [new])


def applied(connection: sa.Connection, account_id: int, old_ids: Iterable[str]) -> set[str]:
    """Those whose merge has been carried out."""
    found = connection.execute(
        sa.select(alias.c.old_id).where(
            alias.c.account_id == account_id, alias.c.applied, among(alias.c.old_id, old_ids)
        )
    )
    return set(found.scalars())


def present_ids(
    connection: sa.Connection, account_id: int, record_ids: Iterable[str]
) -> dict[str, str]:
    """Old id → present id, for those of these that were merged away."""
    wanted = set(record_ids)
    steps = _steps(connection, account_id, wanted)
    ends = {one: _end(steps, one) for one in wanted & steps.keys()}
    return {one: end for one, end in ends.items() if end is not None}


def former_ids(
    connection: sa.Connection, account_id: int, record_ids: Iterable[str], *, pending: bool = False
) -> dict[str, str]:
    """Old id → which of these it was merged into, be it by way of others; ``pending``: only those
    whose merge has not been carried out."""
    wanted = set(record_ids)
    steps: dict[str, str] = {}
    done: set[str] = set()
    latest = wanted
    while latest:
        found = connection.execute(
            sa.select(alias).where(alias.c.account_id == account_id, among(alias.c.new_id, latest))
        ).all()
        latest = {row.old_id for row in found} - steps.keys()
        steps |= {row.old_id: row.new_id for row in found}
        done |= {row.old_id for row in found if row.applied}
    chosen = steps.keys() - done if pending else steps.keys()
    ends = {one: _end(steps, one) for one in sorted(chosen)}
    return {one: end for one, end in ends.items() if end in wanted}


def forget(connection: sa.Connection, account_id: int, old_ids: Iterable[str]) -> None:
    """Nobody knows any more what became of these."""
    connection.execute(
        sa.delete(alias).where(alias.c.account_id == account_id, among(alias.c.old_id, old_ids))
    )


def _steps(connection: sa.Connection, account_id: int, record_ids: Iterable[str]) -> dict[str, str]:
    """Old id → the next one, as far as it leads on from these."""
    steps: dict[str, str] = {}
    latest = set(record_ids)
    while latest:
        found = connection.execute(
            sa.select(alias.c.old_id, alias.c.new_id).where(
                alias.c.account_id == account_id, among(alias.c.old_id, latest)
            )
        )
        new = {row.old_id: row.new_id for row in found}
        steps |= new
        latest = set(new.values()) - steps.keys()
    return steps


def _end(steps: Mapping[str, str], one: str) -> str | None:
    """Where the steps lead; None where they lead in a circle."""
    passed = set()
    while one in steps:
        if one in passed:
            return None
        passed.add(one)
        one = steps[one]
    return one
