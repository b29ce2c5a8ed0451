"""Naming: the text a rep typed about a referrer becomes referrals, linked or not.

The present text is the truth. A link once made stays until the text changes; a name not yet
found is tried again whenever its contact is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from plugin.pipeline.absorb import (
    NAME_FIELD,
    PERSON,
    Ripples,
    drop_referrals,
    person_of,
)
from plugin.pipeline.leave import partners
from plugin.ports import ContactSnapshot
from plugin.referral.circles import Edge, refused
from plugin.referral.matching import Match, Person, keys_of_told, match
from plugin.referral.model import Candidate, FieldChange, MatchOutcome, Pillar
from plugin.referral.names import parse_name, split_referrers, text_key
from plugin.referral.ratings import said_since
from plugin.storage import changes
from plugin.storage.accounts import Account, instant, milliseconds
from plugin.storage.database import upsert
from plugin.storage.tables import (
    contact,
    contact_key,
    referral,
    referral_key,
    user,
)

MAX_NAMES = 10
KEY_LENGTH = 240
WAITING = (MatchOutcome.AMBIGUOUS, MatchOutcome.NONE)


@dataclass(frozen=True, kw_only=True)
class _Told:
    """One name on one contact."""

    referred_id: str
    position: int
    text: str
    key: str
    said_at: datetime
    pillar: Pillar | None


def update_referrals(
    connection: sa.Connection,
    account: Account,
    snapshots: Sequence[ContactSnapshot],
    *,
    now: datetime,
    ripples: Ripples,
) -> None:
    """Make the referrals of these contacts follow the text on them."""
    ids = [snapshot.card.crm_id for snapshot in snapshots]
    existing: dict[tuple[str, str], sa.Row[Any]] = {
        (row.referred_id, row.text_key): row
        for row in connection.execute(
            sa.select(referral).where(
                referral.c.account_id == account.id, referral.c.referred_id.in_(ids)
            )
        )
    }
    texts = {s.card.crm_id: s.values.get(NAME_FIELD, "") for s in snapshots}
    if not existing and not any(texts.values()):
        return
    said = changes.of(connection, account.id, [one for one in ids if texts[one]])
    told = [one for s in snapshots for one in _told(s, said.get(s.card.crm_id, ()), now)]
    wanted = {(one.referred_id, one.key): one for one in told}

    touched = _withdraw(
        connection, [row for k, row in existing.items() if k not in wanted], ripples
    )
    touched |= _correct(connection, existing, wanted, ripples)
    unlinked = [
        one
        for key, one in wanted.items()
        if key not in existing or existing[key].outcome in WAITING
    ]
    touched |= _match_all(connection, account, unlinked, ripples)
    if touched:
        _refuse_circles(connection, account, touched, ripples)
        ripples.contacts |= partners(connection, account, touched)


def _told(snapshot: ContactSnapshot, said: Sequence[FieldChange], now: datetime) -> list[_Told]:
    text = snapshot.values.get(NAME_FIELD, "")
    names = split_referrers(text)[:MAX_NAMES]
    pillar = snapshot.values.get("spiral_referrer_pillar", "")
    told = []
    for position, name in enumerate(names):
        key = text_key(name)[:KEY_LENGTH]
        since = said_since(said, _keys_of_text, key)
        told.append(
            _Told(
                referred_id=snapshot.card.crm_id,
                position=position,
                text=name,
                key=key,
                said_at=since or now,
                pillar=Pillar(pillar) if pillar in set(Pillar) else None,
            )
        )
    return told


def _keys_of_text(text: str) -> frozenset[str]:
    return frozenset(text_key(name)[:KEY_LENGTH] for name in split_referrers(text))


def _withdraw(connection: sa.Connection, rows: Sequence[sa.Row[Any]], ripples: Ripples) -> set[str]:
    """The text no longer says so."""
    if rows:
        drop_referrals(connection, [row.id for row in rows])
    ripples.contacts |= {
        row.referrer_id for row in rows if row.referrer_id and not row.referrer_is_user
    }
    return {row.referred_id for row in rows if row.referrer_id}


def _correct(
    connection: sa.Connection,
    existing: Mapping[tuple[str, str], sa.Row[Any]],
    wanted: Mapping[tuple[str, str], _Told],
    ripples: Ripples,
) -> set[str]:
    """Place and spelling follow the text, and what is told late may show that it was said
    earlier; returns whose links that may change."""
    earlier: set[str] = set()
    for key, row in existing.items():
        one = wanted.get(key)
        if one is None:
            continue
        said_at = min(row.said_at, milliseconds(one.said_at))
        if (row.position, row.text, row.said_at) == (one.position, one.text, said_at):
            continue
        connection.execute(
            sa.update(referral)
            .where(referral.c.id == row.id)
            .values(position=one.position, text=one.text, said_at=said_at)
        )
        if said_at < row.said_at:
            earlier.add(row.referred_id)
        if row.referrer_id and not row.referrer_is_user:
            ripples.contacts.add(row.referrer_id)
    return earlier


# -------------------------------------------------------------------------- matching


def _match_all(
    connection: sa.Connection,
    account: Account,
    told: Sequence[_Told],
    ripples: Ripples,
) -> set[str]:
    """Match these names and store what came of it; returns whose links changed."""
    if not told:
        return set()
    users = _users(connection, account)
    emails = {one.email for one in users if one.email}
    touched: set[str] = set()
    for one in told:
        keys = keys_of_told(parse_name(one.text, record_url=account.record_url))
        people = [p for p in _people(connection, account, keys) if p.email not in emails]
        found = match(
            one.text,
            one.said_at,
            [*people, *users],
            policy=account.policy.matching,
            pillar=one.pillar,
            record_url=account.record_url,
        )
        row = _store(connection, account, one, found)
        if found.winner:
            touched.add(one.referred_id)
            if not found.winner.is_user:
                ripples.contacts.add(found.winner.crm_id)
        _wait_for(connection, account, row, keys if found.outcome in WAITING else ())
    return touched


def _users(connection: sa.Connection, account: Account) -> list[Person]:
    rows = connection.execute(sa.select(user).where(user.c.account_id == account.id))
    people = []
    for row in rows:
        first, _, last = row.name.rpartition(" ")
        people.append(
            Person(
                crm_id=row.crm_id,
                first_name=first,
                last_name=last,
                email=row.email.lower(),
                is_user=True,
            )
        )
    return people


def _people(connection: sa.Connection, account: Account, keys: Iterable[str]) -> list[Person]:
    rows = connection.execute(
        sa.select(*PERSON)
        .where(
            contact.c.account_id == account.id,
            contact.c.gone_at.is_(None),
            contact.c.crm_id.in_(
                sa.select(contact_key.c.contact_id).where(
                    contact_key.c.account_id == account.id,
                    contact_key.c.key.in_([key[:160] for key in sorted(keys)]),
                )
            ),
        )
        .order_by(contact.c.crm_id)
    )
    return [person_of(row) for row in rows]


def _store(connection: sa.Connection, account: Account, one: _Told, found: Match) -> int:
    winner = found.winner
    outcome = found.outcome
    if winner and not winner.is_user and winner.crm_id == one.referred_id:
        outcome = MatchOutcome.REFUSED_SELF
    values = {
        "text": one.text,
        "position": one.position,
        "outcome": outcome,
        "referrer_id": winner.crm_id if winner else None,
        "referrer_is_user": bool(winner and winner.is_user),
        "confirmed": False,
        "score": winner.score if winner else 0.0,
        "reasons": list(winner.reasons) if winner else [],
        "candidates": [asdict(each) for each in found.candidates] if not winner else [],
    }
    same = (
        referral.c.account_id == account.id,
        referral.c.referred_id == one.referred_id,
        referral.c.text_key == one.key,
    )
    if not connection.execute(sa.update(referral).where(*same).values(**values)).rowcount:
        connection.execute(
            sa.insert(referral).values(
                account_id=account.id,
                referred_id=one.referred_id,
                text_key=one.key,
                said_at=milliseconds(one.said_at),
                **values,
            )
        )
    stored: int = connection.execute(sa.select(referral.c.id).where(*same)).scalar_one()
    return stored


def _wait_for(
    connection: sa.Connection, account: Account, referral_id: int, keys: Iterable[str]
) -> None:
    """Keep under which keys the person may turn up later."""
    connection.execute(sa.delete(referral_key).where(referral_key.c.referral_id == referral_id))
    upsert(
        connection,
        referral_key,
        [
            {"account_id": account.id, "key": key[:160], "referral_id": referral_id}
            for key in sorted(keys)
        ],
    )


def stored_candidates(raw: Iterable[Mapping[str, Any]]) -> tuple[Candidate, ...]:
    return tuple(Candidate(**{**one, "reasons": tuple(one["reasons"])}) for one in raw)


# --------------------------------------------------------------------------- circles


def _refuse_circles(
    connection: sa.Connection, account: Account, touched: set[str], ripples: Ripples
) -> None:
    """The referral said first stands; the one that closes a circle is refused."""
    rows = _component(connection, account, touched)
    closing = refused(
        Edge(
            referred_id=row.referred_id,
            referrer_id=row.referrer_id,
            said_at=instant(row.said_at),
            key=row.text_key,
        )
        for row in rows
    )
    for row in rows:
        outcome = (
            MatchOutcome.REFUSED_CIRCLE
            if (row.referred_id, row.text_key) in closing
            else MatchOutcome.LINKED
        )
        if outcome != row.outcome:
            connection.execute(
                sa.update(referral).where(referral.c.id == row.id).values(outcome=outcome)
            )
            ripples.contacts |= {row.referred_id, row.referrer_id}


def _component(
    connection: sa.Connection, account: Account, start: set[str]
) -> Sequence[sa.Row[Any]]:
    """All links between contacts that hang together with these contacts."""
    rows: dict[int, sa.Row[Any]] = {}
    seen: set[str] = set()
    front = start
    while front:
        seen |= front
        found = connection.execute(
            sa.select(referral).where(
                referral.c.account_id == account.id,
                referral.c.outcome.in_((MatchOutcome.LINKED, MatchOutcome.REFUSED_CIRCLE)),
                referral.c.referrer_is_user.is_(False),
                sa.or_(
                    referral.c.referred_id.in_(sorted(front)),
                    referral.c.referrer_id.in_(sorted(front)),
                ),
            )
        ).all()
        rows |= {row.id: row for row in found}
        front = {one for row in found for one in (row.referred_id, row.referrer_id)} - seen
    return [rows[one] for one in sorted(rows)]
