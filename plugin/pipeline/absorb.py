"""Absorb: what the CRM just told about contacts goes into our tables.

Whatever another contact's decision may depend on is compared with what was known before;
:class:`Ripples` collects who has to be looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import pairwise, permutations
from typing import Any

import sqlalchemy as sa

from plugin.ports import ContactCard, ContactSnapshot, DealSnapshot
from plugin.referral.matching import Person, keys_of_person
from plugin.referral.model import FieldChange
from plugin.referral.names import split_referrers, text_key
from plugin.storage import changes
from plugin.storage.accounts import Account, instant, milliseconds
from plugin.storage.database import upsert
from plugin.storage.tables import (
    alias,
    contact,
    contact_deal,
    contact_key,
    deal,
    field_change,
    hint,
    referral,
    referral_key,
    task,
)

CARD_COLUMNS = (
    "first_name",
    "last_name",
    "email",
    "phones",
    "company",
    "city",
    "owner_id",
    "created_at",
)
NAME_FIELD = "spiral_referrer_name"
NAMING_COLUMNS = ("first_name", "last_name", "email", "phones", "company", "city")
PERSON = tuple(contact.c[name] for name in ("crm_id", *CARD_COLUMNS))
"""What ``person_of`` needs."""
KNOWN = tuple(column for column in contact.c if column.name not in ("decision", "ask"))
"""Without what nobody compares: to unpack it would cost more than to read all the rest."""
EMPTY_CARD: dict[str, Any] = {
    "first_name": "",
    "last_name": "",
    "email": "",
    "phones": [],
    "company": "",
    "city": "",
}


@dataclass(kw_only=True)
class Ripples:
    """Contacts that another one's change concerns. ``history``: read theirs too."""

    contacts: set[str] = field(default_factory=set)
    history: set[str] = field(default_factory=set)


def card_row(account: Account, card: ContactCard) -> dict[str, Any]:
    return {
        "account_id": account.id,
        "crm_id": card.crm_id,
        "first_name": card.first_name,
        "last_name": card.last_name,
        "email": card.email.strip().lower(),
        "phones": list(card.phones),
        "company": card.company,
        "city": card.city,
        "owner_id": card.owner_id,
        "created_at": milliseconds(card.created_at) if card.created_at else None,
    }


def person_of(row: Any) -> Person:
    """A row of the directory as somebody who may be meant by a name."""
    return Person(
        crm_id=row.crm_id,
        first_name=row.first_name,
        last_name=row.last_name,
        email=row.email,
        phones=tuple(row.phones),
        company=row.company,
        city=row.city,
        created_at=instant(row.created_at) if row.created_at is not None else None,
        is_user=False,
    )


def known_contacts(
    connection: sa.Connection, account: Account, ids: Iterable[str]
) -> dict[str, sa.Row[Any]]:
    rows = connection.execute(
        sa.select(*KNOWN).where(
            contact.c.account_id == account.id, contact.c.crm_id.in_(sorted(set(ids)))
        )
    )
    return {row.crm_id: row for row in rows}


def absorb_cards(
    connection: sa.Connection, account: Account, cards: Sequence[ContactCard], ripples: Ripples
) -> None:
    """Bring the directory up to date; names that were waiting for such a person are tried again."""
    known = known_contacts(connection, account, (card.crm_id for card in cards))
    rows = [card_row(account, card) for card in cards]
    _confirm_links(connection, account, [card.crm_id for card in cards])
    changed = [row for row in rows if not _same(known.get(row["crm_id"]), row, CARD_COLUMNS)]
    if not changed:
        return
    upsert(connection, contact, changed, update=(*CARD_COLUMNS,), gone_at=None)
    renamed = [
        row["crm_id"] for row in changed if not _same(known.get(row["crm_id"]), row, NAMING_COLUMNS)
    ]
    _index_names(connection, account, renamed, ripples)


def _links_to(account: Account, ids: Sequence[str], *, confirmed: bool) -> sa.ColumnElement[bool]:
    return sa.and_(
        referral.c.account_id == account.id,
        referral.c.referrer_id.in_(ids),
        referral.c.referrer_is_user.is_(False),
        referral.c.confirmed.is_(confirmed),
    )


def _confirm_links(connection: sa.Connection, account: Account, ids: Sequence[str]) -> None:
    """These contacts are there: whoever was linked to them was linked to somebody."""
    connection.execute(
        sa.update(referral).where(_links_to(account, ids, confirmed=False)).values(confirmed=True)
    )


def _unlink(
    connection: sa.Connection, account: Account, ids: Sequence[str], ripples: Ripples
) -> None:
    """Links to contacts that were gone already when the link was made: only our directory did not
    know it yet. The names are told of nobody then, in whatever order we hear of it."""
    rows = connection.execute(
        sa.select(referral.c.id, referral.c.referred_id).where(
            _links_to(account, ids, confirmed=False)
        )
    ).all()
    if rows:
        drop_referrals(connection, [row.id for row in rows])
        ripples.contacts |= {row.referred_id for row in rows}


def _same(old: sa.Row[Any] | None, new: Mapping[str, Any], columns: Iterable[str]) -> bool:
    return (
        old is not None
        and old.gone_at is None
        and all(getattr(old, name) == new[name] for name in columns)
    )


def _index_names(
    connection: sa.Connection, account: Account, ids: Sequence[str], ripples: Ripples
) -> None:
    if not ids:
        return
    connection.execute(
        sa.delete(contact_key).where(
            contact_key.c.account_id == account.id, contact_key.c.contact_id.in_(ids)
        )
    )
    rows = [
        {"account_id": account.id, "key": key[:160], "contact_id": crm_id}
        for crm_id, row in known_contacts(connection, account, ids).items()
        for key in sorted(keys_of_person(person_of(row)))
    ]
    upsert(connection, contact_key, rows)
    waiting = connection.execute(
        sa.select(referral.c.referred_id)
        .distinct()
        .join(referral_key, referral_key.c.referral_id == referral.c.id)
        .where(
            referral_key.c.account_id == account.id,
            referral_key.c.key.in_({row["key"] for row in rows}),
        )
    )
    ripples.contacts.update(waiting.scalars())


# ------------------------------------------------------------------------------ deals


def absorb_deals(
    connection: sa.Connection,
    account: Account,
    snapshots: Sequence[ContactSnapshot],
    today: date,
) -> None:
    """Keep the deals of these contacts, and the day each outcome was first seen."""
    deals = {one.crm_id: one for snapshot in snapshots for one in snapshot.deals}
    rows = [
        {
            "account_id": account.id,
            "crm_id": one.crm_id,
            "snapshot": deal_json(one),
            "open_seen_on": today if not (one.won or one.lost) else None,
            "won_seen_on": today if one.won else None,
            "lost_seen_on": today if one.lost else None,
        }
        for one in deals.values()
    ]
    # The first sight of the present outcome; one that is over is forgotten.
    first = {
        name: sa.case(
            (sa.text(f"excluded.{name} IS NULL"), None),
            else_=sa.func.coalesce(deal.c[name], sa.text(f"excluded.{name}")),
        )
        for name in ("open_seen_on", "won_seen_on", "lost_seen_on")
    }
    upsert(connection, deal, rows, update=("snapshot",), **first)
    ids = [snapshot.card.crm_id for snapshot in snapshots]
    had = {
        (row.contact_id, row.deal_id)
        for row in connection.execute(
            sa.select(contact_deal.c.contact_id, contact_deal.c.deal_id).where(
                contact_deal.c.account_id == account.id, contact_deal.c.contact_id.in_(ids)
            )
        )
    }
    has = {(s.card.crm_id, one.crm_id) for s in snapshots for one in s.deals}
    if had - has:
        connection.execute(
            sa.delete(contact_deal).where(
                contact_deal.c.account_id == account.id,
                contact_deal.c.contact_id == sa.bindparam("contact_"),
                contact_deal.c.deal_id == sa.bindparam("deal_"),
            ),
            [{"contact_": c, "deal_": d} for c, d in sorted(had - has)],
        )
    upsert(
        connection,
        contact_deal,
        [{"account_id": account.id, "contact_id": c, "deal_id": d} for c, d in sorted(has - had)],
    )


def deal_json(one: DealSnapshot) -> dict[str, Any]:
    """A deal as it is kept between readings."""

    def money(value: Decimal | None) -> str | None:
        return None if value is None else str(value)

    return {
        "name": one.name,
        "created_at": milliseconds(one.created_at),
        "won": one.won,
        "lost": one.lost,
        "closed_at": milliseconds(one.closed_at) if one.closed_at else None,
        "won_at": milliseconds(one.won_at) if one.won_at else None,
        "pipeline": one.pipeline,
        "amount": money(one.amount),
        "currency": one.currency,
        "home_amount": money(one.home_amount),
        "owner_id": one.owner_id,
        "contact_ids": list(one.contact_ids),
        "primary": one.primary_contact_id,
    }


# ---------------------------------------------------------------------------- changes


def absorb_changes(
    connection: sa.Connection,
    account: Account,
    snapshots: Sequence[ContactSnapshot],
    *,
    keeps_history: bool,
    with_history: bool,
    now_ms: int,
    ripples: Ripples,
) -> None:
    """Write down the history that came along; where the present value does not follow from what
    is known, something was missed: read the history next time, or, where the CRM keeps none,
    date the value by now."""
    rows = [
        _change(snapshot, change.field, milliseconds(change.at), _still_told(snapshot, change))
        for snapshot in snapshots
        for change in snapshot.changes
    ]
    ids = [snapshot.card.crm_id for snapshot in snapshots]
    known = changes.of(connection, account.id, ids)
    _forget_corrected(connection, account, snapshots, known)
    if not (with_history and keeps_history):
        for snapshot in snapshots:
            latest = {one.field: one.value for one in known.get(snapshot.card.crm_id, ())}
            for name, value in _present_values(snapshot).items():
                if latest.get(name, "") == changes.cut(value):
                    continue
                if keeps_history:
                    ripples.history.add(snapshot.card.crm_id)
                else:
                    rows.append(_change(snapshot, name, now_ms, value))
    changes.add(connection, account.id, rows)


def _change(snapshot: ContactSnapshot, name: str, at: int, value: str) -> dict[str, Any]:
    return {"contact_id": snapshot.card.crm_id, "field": name, "at": at, "value": value}


def _still_told(snapshot: ContactSnapshot, change: FieldChange) -> str:
    """The value of a change; of the names it told, those that the present text tells too: who
    was corrected away may be erased some day, and the CRM's history would bring them back."""
    if change.field != NAME_FIELD:
        return change.value
    present = {text_key(name) for name in split_referrers(snapshot.values.get(NAME_FIELD, ""))}
    names = split_referrers(change.value)
    if all(text_key(name) in present for name in names):
        return change.value
    return "; ".join(name for name in names if text_key(name) in present)


def _forget_corrected(
    connection: sa.Connection,
    account: Account,
    snapshots: Sequence[ContactSnapshot],
    known: Mapping[str, Sequence[FieldChange]],
) -> None:
    """The same for what events told; the last one stays, it may be newer than what was read."""
    for snapshot in snapshots:
        contact_id = snapshot.card.crm_id
        told = [one for one in known.get(contact_id, ()) if one.field == NAME_FIELD]
        for one in told[:-1]:
            value = _still_told(snapshot, one)
            if value != one.value:
                changes.replace(connection, account.id, contact_id, one, value)


def _present_values(snapshot: ContactSnapshot) -> dict[str, str]:
    values = {
        name: snapshot.values.get(name, "")
        for name in ("spiral_rating", "spiral_rated_on", NAME_FIELD)
    }
    return {**values, "score": snapshot.score}


# ----------------------------------------------------------------- merged, gone, back


def neighbours(connection: sa.Connection, account: Account, ids: Iterable[str]) -> set[str]:
    """Who referred each of these contacts, and whom they referred."""
    wanted = set(ids)
    rows = connection.execute(
        sa.select(referral.c.referred_id, referral.c.referrer_id).where(
            referral.c.account_id == account.id,
            referral.c.referrer_is_user.is_(False),
            referral.c.referrer_id.is_not(None),
            sa.or_(
                referral.c.referred_id.in_(sorted(wanted)),
                referral.c.referrer_id.in_(sorted(wanted)),
            ),
        )
    ).all()
    pairs = {pair for row in rows for pair in permutations((row.referred_id, row.referrer_id))}
    return {other for one, other in pairs if one in wanted and one != other}


def partners(connection: sa.Connection, account: Account, ids: Iterable[str]) -> set[str]:
    """Who shares a deal with these contacts: tasks about it are made once, for one of them."""
    wanted = sorted(set(ids))
    mine, theirs = contact_deal.alias(), contact_deal.alias()
    rows = connection.execute(
        sa.select(theirs.c.contact_id)
        .distinct()
        .join(
            mine,
            sa.and_(mine.c.account_id == theirs.c.account_id, mine.c.deal_id == theirs.c.deal_id),
        )
        .where(mine.c.account_id == account.id, mine.c.contact_id.in_(wanted))
    )
    return set(rows.scalars()) - set(wanted)


def pending_merges(
    connection: sa.Connection, account: Account, snapshots: Sequence[ContactSnapshot]
) -> dict[str, str]:
    """Old id → present id, for merges into these contacts that have not been carried out."""
    ids = [snapshot.card.crm_id for snapshot in snapshots]
    told = connection.execute(
        sa.select(alias.c.old_id, alias.c.new_id).where(
            alias.c.account_id == account.id,
            alias.c.applied.is_(False),
            alias.c.new_id.in_(ids),
        )
    )
    merges = {row.old_id: row.new_id for row in told}
    seen = {old: s.card.crm_id for s in snapshots for old in s.merged_ids if old != s.card.crm_id}
    if seen:
        done = connection.execute(
            sa.select(alias.c.old_id).where(
                alias.c.account_id == account.id,
                alias.c.applied.is_(True),
                alias.c.old_id.in_(sorted(seen)),
            )
        )
        for old in done.scalars():
            seen.pop(old)
    return {**seen, **merges}


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
    _drop_contact(connection, mine, old)
    connection.execute(
        sa.update(alias).where(alias.c.account_id == mine, alias.c.new_id == old).values(new_id=new)
    )
    upsert(
        connection,
        alias,
        [{"account_id": mine, "old_id": old, "new_id": new, "applied": True}],
        update=("new_id", "applied"),
    )
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
    for name in ("spiral_rating", "score"):
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
        .values(outcome="refused_self")
    )


def _merge_tasks(connection: sa.Connection, mine: int, old: str, new: str) -> None:
    for name in ("subject_id", "target_id"):
        connection.execute(
            sa.update(task)
            .where(task.c.account_id == mine, task.c[name] == old)
            .values({name: new})
        )
    token = f"referrer={old}"
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
        connection.execute(
            sa.update(task)
            .where(task.c.id == row.id)
            .values(
                cause=";".join(parts),
                mentions=[new if one == old else one for one in row.mentions],
                also_on=[new if one == old else one for one in row.also_on],
            )
        )


def drop_referrals(connection: sa.Connection, ids: Sequence[int]) -> None:
    connection.execute(sa.delete(referral_key).where(referral_key.c.referral_id.in_(ids)))
    connection.execute(sa.delete(referral).where(referral.c.id.in_(ids)))


def _drop_contact(connection: sa.Connection, mine: int, contact_id: str) -> None:
    for table, column in (
        (contact, contact.c.crm_id),
        (contact_key, contact_key.c.contact_id),
        (contact_deal, contact_deal.c.contact_id),
        (field_change, field_change.c.contact_id),
    ):
        connection.execute(sa.delete(table).where(table.c.account_id == mine, column == contact_id))
    connection.execute(
        sa.delete(hint).where(
            hint.c.account_id == mine, hint.c.kind == "contact", hint.c.record_id == contact_id
        )
    )


def forget_contact(connection: sa.Connection, account: Account, contact_id: str) -> None:
    """Remove the contact's own rows (after an erasure)."""
    _drop_contact(connection, account.id, contact_id)


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
    _unlink(connection, account, ids, ripples)
    connection.execute(
        sa.update(contact)
        .where(
            contact.c.account_id == account.id,
            contact.c.crm_id.in_(ids),
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
    connection.execute(
        sa.delete(contact_key).where(
            contact_key.c.account_id == account.id, contact_key.c.contact_id.in_(ids)
        )
    )
