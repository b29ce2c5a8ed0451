"""Leave: contacts that were merged into another one, or are gone; what was theirs stays true."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise, permutations
from typing import Any

import sqlalchemy as sa

from plugin.pipeline.absorb import (
    EMPTY_CARD,
    Ripples,
    drop_referrals,
    forget_names,
    known_contacts,
    unlink,
)
from plugin.ports import ContactSnapshot
from plugin.referral.model import MatchOutcome
from plugin.referral.ratings import SCORE
from plugin.storage import aliases, changes
from plugin.storage.accounts import Account
from plugin.storage.among import among
from plugin.storage.database import upsert
from plugin.storage.hints import HintKind
from plugin.storage.tables import (
    contact,
    contact_deal,
    field_change,
    hint,
    referral,
    task,
)


def neighbours(connection: sa.Connection, account: Account, ids: Iterable[str]) -> set[str]:
    """Who referred each of these contacts, and whom they referred."""
    wanted = set(ids)
    rows = [  # two queries: for one with "or" all referrals would be read
        row
        for side in (referral.c.referred_id, referral.c.referrer_id)
        for row in connection.execute(
            sa.select(referral.c.referred_id, referral.c.referrer_id).where(
                referral.c.account_id == account.id,
                referral.c.referrer_is_user.is_(False),
                among(side, wanted),
            )
        )
        if row.referrer_id is not None
    ]
    pairs = {pair for row in rows for pair in permutations((row.referred_id, row.referrer_id))}
    return {other for one, other in pairs if one in wanted and one != other}


def deals_of(connection: sa.Connection, account: Account, ids: Iterable[str]) -> set[str]:
    """The deals of these contacts, as last heard."""
    return set(
        connection.execute(
            sa.select(contact_deal.c.deal_id).where(
                contact_deal.c.account_id == account.id,
                among(contact_deal.c.contact_id, ids),
            )
        ).scalars()
    )


def partners(connection: sa.Connection, account: Account, ids: Iterable[str]) -> set[str]:
    """Who shares a deal with these contacts: tasks about it are made once, for one of them."""
    wanted = set(ids)
    # Joined, SQLite would begin with everybody's deals.
    deals = sa.select(contact_deal.c.deal_id).where(
        contact_deal.c.account_id == account.id, among(contact_deal.c.contact_id, wanted)
    )
    rows = connection.execute(
        sa.select(contact_deal.c.contact_id).where(
            contact_deal.c.account_id == account.id, contact_deal.c.deal_id.in_(deals)
        )
    )
    return set(rows.scalars()) - wanted


def pending_merges(
    connection: sa.Connection, account: Account, snapshots: Sequence[ContactSnapshot]
) -> dict[str, str]:
    """Old id → present id, for merges into these contacts that have not been carried out."""
    ids = [snapshot.card.crm_id for snapshot in snapshots]
    merges = aliases.former_ids(connection, account.id, ids, pending=True)
    seen = {old: s.card.crm_id for s in snapshots for old in s.merged_ids if old != s.card.crm_id}
    if seen:
        for old in aliases.applied(connection, account.id, seen):
            seen.pop(old)
    return {**seen, **merges}


def merge_into_gone(
    connection: sa.Connection, account: Account, ids: Iterable[str], ripples: Ripples
) -> None:
    """Carry out the merges into contacts that went before anybody looked at them."""
    merges = aliases.former_ids(connection, account.id, ids, pending=True)
    known = known_contacts(connection, account, merges)
    rows = [
        {**known[old]._mapping, "crm_id": merges[old], "gone_at": None} for old in sorted(known)
    ]
    upsert(connection, contact, rows)
    for old, new in merges.items():
        merge(connection, account, old, new, ripples)


def merge(
    connection: sa.Connection, account: Account, old: str, new: str, ripples: Ripples
) -> None:
    """Everything known of ``old`` now belongs to ``new``."""
    mine = account.id
    ripples.contacts |= neighbours(connection, account, [old, new])
    ripples.history.add(new)
    merge_changes(connection, mine, old, new)
    deals = connection.execute(
        sa.select(contact_deal).where(
            contact_deal.c.account_id == mine, contact_deal.c.contact_id == old
        )
    ).all()
    upsert(connection, contact_deal, [{**row._mapping, "contact_id": new} for row in deals])
    _merge_referrals(connection, mine, old, new)
    _merge_tasks(connection, mine, old, new)
    ripples.contacts |= forget_contact(connection, account, old)
    aliases.apply(connection, mine, old, new)
    ripples.contacts.discard(old)
    ripples.history.discard(old)


def merge_changes(connection: sa.Connection, mine: int, old: str, new: str) -> None:
    """Both histories become one. Where they tell of the same rating one after the other it was
    said twice: an emptying in between keeps the two apart."""
    told = connection.execute(
        sa.select(field_change)
        .where(field_change.c.account_id == mine, field_change.c.contact_id.in_((old, new)))
        .order_by(field_change.c.at)
    ).all()
    moved = [row for row in told if row.contact_id == old]
    if not moved:
        return
    rows = [{**row._mapping, "contact_id": new} for row in moved]
    for name in ("spiral_rating", SCORE):
        said = [row for row in told if row.field == name and not _tells_again(row, moved)]
        rows += [
            {**row._mapping, "contact_id": new, "at": row.at - 1, "value": ""}
            for before, row in pairwise(said)
            if row.value
            and row.value == before.value
            and row.contact_id != before.contact_id
            and row.at - before.at > changes.SAME_WITHIN
        ]
    connection.execute(
        sa.delete(field_change).where(
            field_change.c.account_id == mine, field_change.c.contact_id == old
        )
    )
    changes.add(connection, mine, rows)


def _tells_again(row: sa.Row[Any], moved: Sequence[sa.Row[Any]]) -> bool:
    """Whether the CRM's history of the one contact tells what is known of the other as well."""
    return any(
        row.contact_id != one.contact_id
        and (row.field, row.value) == (one.field, one.value)
        and abs(row.at - one.at) <= changes.SAME_WITHIN
        for one in moved
    )


def _merge_referrals(connection: sa.Connection, mine: int, old: str, new: str) -> None:
    kept = set(
        connection.execute(
            sa.select(referral.c.text_key).where(
                referral.c.account_id == mine, referral.c.referred_id == new
            )
        ).scalars()
    )
    for row in connection.execute(
        sa.select(referral.c.id, referral.c.text_key).where(
            referral.c.account_id == mine, referral.c.referred_id == old
        )
    ).all():
        if row.text_key in kept:
            drop_referrals(connection, [row.id])
        else:
            connection.execute(
                sa.update(referral).where(referral.c.id == row.id).values(referred_id=new)
            )
    connection.execute(
        sa.update(referral)
        .where(
            referral.c.account_id == mine,
            referral.c.referrer_id == old,
            referral.c.referrer_is_user.is_(False),
        )
        .values(referrer_id=new)
    )
    connection.execute(
        sa.update(referral)
        .where(
            referral.c.account_id == mine,
            referral.c.referred_id == new,
            referral.c.referrer_id == new,
            referral.c.referrer_is_user.is_(False),
        )
        .values(outcome=MatchOutcome.REFUSED_SELF)
    )


def _merge_tasks(connection: sa.Connection, mine: int, old: str, new: str) -> None:
    for name in ("subject_id", "target_id"):
        connection.execute(
            sa.update(task)
            .where(task.c.account_id == mine, task.c[name] == old)
            .values({name: new})
        )
    token = f"referrer={old}"
    changed = []
    for row in connection.execute(
        sa.select(task.c.id, task.c.cause, task.c.mentions, task.c.also_on).where(
            task.c.account_id == mine,
            sa.or_(
                task.c.cause.contains(token, autoescape=True),
                sa.cast(task.c.mentions, sa.Text).contains(f'"{old}"', autoescape=True),
                sa.cast(task.c.also_on, sa.Text).contains(f'"{old}"', autoescape=True),
            ),
        )
    ).all():
        parts = [f"referrer={new}" if part == token else part for part in row.cause.split(";")]
        changed.append(
            {
                "id_": row.id,
                "cause_": ";".join(parts),
                "mentions_": [new if one == old else one for one in row.mentions],
                "also_on_": [new if one == old else one for one in row.also_on],
            }
        )
    if changed:
        names = ("cause", "mentions", "also_on")
        connection.execute(
            sa.update(task)
            .where(task.c.id == sa.bindparam("id_"))
            .values({name: sa.bindparam(f"{name}_") for name in names}),
            changed,
        )


def forget_contact(connection: sa.Connection, account: Account, contact_id: str) -> set[str]:
    """Remove the contact's own rows; returns who is to be looked at again."""
    mine = account.id
    waiting = forget_names(connection, account, [contact_id])
    for table, column in (
        (contact, contact.c.crm_id),
        (contact_deal, contact_deal.c.contact_id),
        (field_change, field_change.c.contact_id),
    ):
        connection.execute(sa.delete(table).where(table.c.account_id == mine, column == contact_id))
    connection.execute(
        sa.delete(hint).where(
            hint.c.account_id == mine,
            hint.c.kind == HintKind.CONTACT,
            hint.c.record_id == contact_id,
        )
    )
    return waiting


def let_go(
    connection: sa.Connection,
    account: Account,
    ids: Sequence[str],
    *,
    now_ms: int,
    ripples: Ripples,
) -> None:
    """These contacts are not in the CRM any more: their names go, their referrals stay counted."""
    others = neighbours(connection, account, ids) | partners(connection, account, ids)
    ripples.contacts |= others - set(ids)
    unlink(connection, account, ids, ripples)
    connection.execute(
        sa.update(contact)
        .where(
            contact.c.account_id == account.id,
            among(contact.c.crm_id, ids),
        )
        .values(
            **EMPTY_CARD,
            gone_at=sa.func.coalesce(contact.c.gone_at, now_ms),
            outcome=None,
            decision=None,
            review_on=None,
            ask_owner=None,
            ask=None,
        )
    )
    ripples.contacts |= forget_names(connection, account, ids) - set(ids)
