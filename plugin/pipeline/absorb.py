"""Absorb: what the CRM just told about contacts goes into our tables.

Whatever another contact's decision may depend on is compared with what was known before;
:class:`Ripples` collects who has to be looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from plugin.ports import ContactCard, ContactSnapshot, DealSnapshot
from plugin.referral.matching import Person, keys_of_person
from plugin.referral.model import FieldChange
from plugin.referral.names import split_referrers, text_key
from plugin.referral.ratings import SCORE
from plugin.storage import changes
from plugin.storage.accounts import Account, instant, milliseconds
from plugin.storage.among import among
from plugin.storage.database import upsert
from plugin.storage.tables import (
    contact,
    contact_deal,
    contact_key,
    deal,
    referral,
    referral_key,
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
NAMING_COLUMNS = ("first_name", "last_name", "email", "phones", "company", "city", "created_at")
"""What decides whom a told name means."""
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
        sa.select(*KNOWN).where(contact.c.account_id == account.id, among(contact.c.crm_id, ids))
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
    upsert(connection, contact, changed, update=CARD_COLUMNS, gone_at=None)
    renamed = [
        row["crm_id"] for row in changed if not _same(known.get(row["crm_id"]), row, NAMING_COLUMNS)
    ]
    _index_names(connection, account, renamed, ripples)


def _links_to(account: Account, ids: Sequence[str], *, confirmed: bool) -> sa.ColumnElement[bool]:
    return sa.and_(
        referral.c.account_id == account.id,
        among(referral.c.referrer_id, ids),
        referral.c.referrer_is_user.is_(False),
        referral.c.confirmed.is_(confirmed),
    )


def _confirm_links(connection: sa.Connection, account: Account, ids: Sequence[str]) -> None:
    """These contacts are there: whoever was linked to them was linked to somebody."""
    connection.execute(
        sa.update(referral).where(_links_to(account, ids, confirmed=False)).values(confirmed=True)
    )


def unlink(
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
    before = _drop_keys(connection, account, ids)
    keys = {
        crm_id: sorted(key[:160] for key in keys_of_person(person_of(row)))
        for crm_id, row in known_contacts(connection, account, ids).items()
    }
    upsert(
        connection,
        contact_key,
        [
            {"account_id": account.id, "key": key, "contact_id": crm_id}
            for crm_id, theirs in keys.items()
            for key in theirs
        ],
    )
    ripples.contacts |= _search_again(connection, account, before.union(*keys.values()))


def forget_names(connection: sa.Connection, account: Account, ids: Sequence[str]) -> set[str]:
    """Nobody finds these contacts by their names any more. Returns on whom such names were told:
    with one less whom they may mean it may be clear who is meant."""
    return _search_again(connection, account, _drop_keys(connection, account, ids))


def _drop_keys(connection: sa.Connection, account: Account, ids: Sequence[str]) -> set[str]:
    # In one statement: to select them SQLite would read everybody's keys.
    dropped = connection.execute(
        sa.delete(contact_key)
        .where(contact_key.c.account_id == account.id, among(contact_key.c.contact_id, ids))
        .returning(contact_key.c.key)
    )
    return set(dropped.scalars())


def _search_again(connection: sa.Connection, account: Account, keys: Iterable[str]) -> set[str]:
    """Who stands under these keys changed: names that are told and may mean them are searched for
    anew. Returns on whom they were told."""
    waiting = connection.execute(
        sa.select(referral.c.id, referral.c.referred_id)
        .distinct()
        .join(referral_key, referral_key.c.referral_id == referral.c.id)
        .where(referral_key.c.account_id == account.id, among(referral_key.c.key, keys))
    ).all()
    if waiting:
        connection.execute(
            sa.update(referral)
            .where(among(referral.c.id, [row.id for row in waiting]))
            .values(searched_by=None)
        )
    return {row.referred_id for row in waiting}


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
                contact_deal.c.account_id == account.id, among(contact_deal.c.contact_id, ids)
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
    heard_at: Mapping[str, int],
    now: int,
    ripples: Ripples,
) -> None:
    """Write down the history that came along; where the present value does not follow from what
    is known, something was missed: read the history next time, or, where the CRM keeps none,
    date the value by when we last heard of the contact (``heard_at``), else by ``now``."""
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
            seen_at = heard_at.get(snapshot.card.crm_id, now)
            latest = {one.field: one.value for one in known.get(snapshot.card.crm_id, ())}
            for name, value in _present_values(account, snapshot).items():
                if latest.get(name, "") == changes.cut(value):
                    continue
                if keeps_history:
                    ripples.history.add(snapshot.card.crm_id)
                else:
                    rows.append(_change(snapshot, name, seen_at, value))
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


def _present_values(account: Account, snapshot: ContactSnapshot) -> dict[str, str]:
    """What the fields say now. One that could not be read says nothing: it was not emptied."""
    told = ("spiral_rating", "spiral_rated_on", NAME_FIELD)
    values = {name: snapshot.values[name] for name in told if name in snapshot.values}
    return {**values, SCORE: snapshot.score} if account.rating_property else values


def drop_referrals(connection: sa.Connection, ids: Sequence[int]) -> None:
    connection.execute(sa.delete(referral_key).where(among(referral_key.c.referral_id, ids)))
    connection.execute(sa.delete(referral).where(among(referral.c.id, ids)))
