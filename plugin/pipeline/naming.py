"""Naming: the text a rep typed about a referrer becomes referrals, linked or not.

The present text is the truth. A link once made stays until the text changes; a name not yet
found is searched for again whenever something changed that the search goes by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa

from plugin.manifest import manifest
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
from plugin.referral.matching import Match, Person, Search
from plugin.referral.model import Candidate, FieldChange, MatchOutcome, Pillar
from plugin.referral.names import split_referrers, text_key
from plugin.referral.ratings import said_since
from plugin.storage import changes
from plugin.storage.accounts import Account, instant, milliseconds
from plugin.storage.among import among
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

    def as_early_as(self, before: sa.Row[Any] | None) -> _Told:
        """What is known of it may be that it was said earlier."""
        if before is None or before.said_at >= milliseconds(self.said_at):
            return self
        return replace(self, said_at=instant(before.said_at))


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What became of one name, under which keys the person may turn up later, and what the search
    went by. ``before``: what is stored of it."""

    told: _Told
    before: sa.Row[Any] | None
    keys: frozenset[str]
    match: Match
    searched_by: str


@dataclass(frozen=True, kw_only=True)
class Naming:
    """What the texts on a batch of contacts say now, compared with what they said before."""

    existing: Mapping[tuple[str, str], sa.Row[Any]]
    """(Referred contact, key of the text) → the referral as it is stored."""
    wanted: Mapping[tuple[str, str], _Told]
    found: Sequence[_Found]
    """Of those that are not linked yet."""


def look_up(
    connection: sa.Connection,
    account: Account,
    snapshots: Sequence[ContactSnapshot],
    *,
    now: datetime,
) -> Naming | None:
    """Search for those who are named and not linked yet; None where nobody is or was named. Only
    reads: it takes a while where a name is frequent."""
    ids = [snapshot.card.crm_id for snapshot in snapshots]
    existing: dict[tuple[str, str], sa.Row[Any]] = {
        (row.referred_id, row.text_key): row
        for row in connection.execute(
            sa.select(referral).where(
                referral.c.account_id == account.id, among(referral.c.referred_id, ids)
            )
        )
    }
    texts = {s.card.crm_id: s.values.get(NAME_FIELD, "") for s in snapshots}
    if not existing and not any(texts.values()):
        return None
    said = changes.of(connection, account.id, [one for one in ids if texts[one]])
    told = [one for s in snapshots for one in _told(s, said.get(s.card.crm_id, ()), now)]
    wanted = {
        (one.referred_id, one.key): one.as_early_as(existing.get((one.referred_id, one.key)))
        for one in told
    }
    unlinked = [
        (one, existing.get(key))
        for key, one in wanted.items()
        if key not in existing or existing[key].outcome in WAITING
    ]
    found = _match_all(connection, account, unlinked)
    return Naming(existing=existing, wanted=wanted, found=found)


def update_referrals(
    connection: sa.Connection, account: Account, naming: Naming, ripples: Ripples
) -> None:
    """Make the referrals of these contacts follow the text on them."""
    existing, wanted = naming.existing, naming.wanted
    withdrawn = [row for key, row in existing.items() if key not in wanted]
    touched = _withdraw(connection, withdrawn, ripples)
    touched |= _correct(connection, existing, wanted, ripples)
    touched |= _store_all(connection, account, naming, ripples)
    if touched:
        freed = {row.referrer_id for row in withdrawn if not row.referrer_is_user} - {None}
        _refuse_circles(connection, account, touched | freed, ripples)
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
        said_at = milliseconds(one.said_at)
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
    unlinked: Sequence[tuple[_Told, sa.Row[Any] | None]],
) -> list[_Found]:
    """Search for names, where that may find something else than before: of a frequent name there
    are thousands of people to compare."""
    if not unlinked:
        return []
    users = _users(connection, account)
    emails = {one.email for one in users if one.email}
    common = (manifest().version, account.policy.matching, account.record_url, users)
    basis = blake2b(repr(common).encode(), digest_size=16)
    found = []
    for one, before in unlinked:
        searched_by = _searched_by(basis.copy(), one)
        if before is not None and before.searched_by == searched_by:
            continue
        search = Search(
            one.text,
            policy=account.policy.matching,
            pillar=one.pillar,
            record_url=account.record_url,
        )
        keys = frozenset(key[:160] for key in search.keys)
        people = [p for p in _people(connection, account, search, keys) if p.email not in emails]
        match = search.match(one.said_at, [*people, *users])
        found.append(
            _Found(told=one, before=before, keys=keys, match=match, searched_by=searched_by)
        )
    return found


def _searched_by(basis: blake2b, told: _Told) -> str:
    """All that the search goes by besides the directory, told in short."""
    basis.update(repr((told.text, milliseconds(told.said_at), told.pillar)).encode())
    return basis.hexdigest()


def _store_all(
    connection: sa.Connection, account: Account, naming: Naming, ripples: Ripples
) -> set[str]:
    """Store what came of the names; returns whose links changed."""
    touched: set[str] = set()
    waiting: dict[int, frozenset[str]] = {}
    for one in naming.found:
        told, match = one.told, one.match
        row = _store(connection, account, one)
        if match.winner:
            touched.add(told.referred_id)
            if not match.winner.is_user:
                ripples.contacts.add(match.winner.crm_id)
        waiting[row] = one.keys if match.outcome in WAITING else frozenset()
    if waiting:
        _wait_for(connection, account, waiting)
    return touched


def _users(connection: sa.Connection, account: Account) -> list[Person]:
    rows = connection.execute(
        sa.select(user).where(user.c.account_id == account.id).order_by(user.c.crm_id)
    )
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


def _people(
    connection: sa.Connection, account: Account, search: Search, keys: Iterable[str]
) -> list[Person]:
    """The contacts who may be meant. Of a frequent name there are thousands: those who cannot
    matter are passed by before they are read whole."""
    named = connection.execute(
        sa.select(
            contact.c.crm_id,
            contact.c.first_name,
            contact.c.last_name,
            contact.c.company,
            contact.c.city,
        ).where(
            contact.c.account_id == account.id,
            contact.c.gone_at.is_(None),
            contact.c.crm_id.in_(
                sa.select(contact_key.c.contact_id).where(
                    contact_key.c.account_id == account.id, among(contact_key.c.key, keys)
                )
            ),
        )
    ).all()  # at once: one by one costs more than looking at them
    ids = [
        crm_id
        for crm_id, first_name, last_name, company, city in named
        if search.may_find(first_name, last_name, company, city)
    ]
    if not ids:
        return []
    rows = connection.execute(
        sa.select(*PERSON)
        .where(contact.c.account_id == account.id, among(contact.c.crm_id, ids))
        .order_by(contact.c.crm_id)
    )
    return [person_of(row) for row in rows]


def _store(connection: sa.Connection, account: Account, found: _Found) -> int:
    """Store what came of a name where it is not what came of it before; returns the row's id."""
    one, before, match = found.told, found.before, found.match
    winner = match.winner
    outcome = match.outcome
    if winner and not winner.is_user and winner.crm_id == one.referred_id:
        outcome = MatchOutcome.REFUSED_SELF
    values = {
        "text": one.text,
        "position": one.position,
        "outcome": outcome,
        "referrer_id": winner.crm_id if winner else None,
        "referrer_is_user": bool(winner and winner.is_user),
        "confirmed": False,
        "candidates": [_candidate_json(each) for each in match.candidates] if not winner else [],
        "searched_by": found.searched_by if outcome in WAITING else None,
    }
    if before is None:
        new = sa.insert(referral).values(
            account_id=account.id,
            referred_id=one.referred_id,
            text_key=one.key,
            said_at=milliseconds(one.said_at),
            **values,
        )
        return int(connection.execute(new.returning(referral.c.id)).scalar_one())
    if any(getattr(before, name) != value for name, value in values.items()):
        connection.execute(sa.update(referral).where(referral.c.id == before.id).values(**values))
    return int(before.id)


def _wait_for(
    connection: sa.Connection, account: Account, waiting: Mapping[int, frozenset[str]]
) -> None:
    """Keep under which keys the persons may turn up later: referral → keys."""
    kept: dict[int, set[str]] = {one: set() for one in waiting}
    for row in connection.execute(
        sa.select(referral_key.c.referral_id, referral_key.c.key).where(
            among(referral_key.c.referral_id, waiting)
        )
    ):
        kept[row.referral_id].add(row.key)
    changed = {one: keys for one, keys in waiting.items() if keys != kept[one]}
    if not changed:
        return
    connection.execute(sa.delete(referral_key).where(among(referral_key.c.referral_id, changed)))
    upsert(
        connection,
        referral_key,
        [
            {"account_id": account.id, "key": key, "referral_id": one}
            for one, keys in changed.items()
            for key in sorted(keys)
        ],
    )


def _candidate_json(one: Candidate) -> dict[str, Any]:
    return {**asdict(one), "reasons": list(one.reasons)}


def stored_candidates(raw: Iterable[Mapping[str, Any]]) -> tuple[Candidate, ...]:
    return tuple(Candidate(**{**one, "reasons": tuple(one["reasons"])}) for one in raw)


# --------------------------------------------------------------------------- circles


def _refuse_circles(
    connection: sa.Connection, account: Account, touched: set[str], ripples: Ripples
) -> None:
    """The referral said first stands; the one that closes a circle is refused."""
    rows = _above(connection, account, touched)
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


def _above(connection: sa.Connection, account: Account, start: set[str]) -> Sequence[sa.Row[Any]]:
    """All links by which these contacts, at some remove, were sent. Whether one closes a circle
    depends on no others: of those who sent thousands, the thousands need not be read."""
    rows: dict[int, sa.Row[Any]] = {}
    seen: set[str] = set()
    front = start
    while front:
        seen |= front
        found = connection.execute(
            sa.select(
                referral.c.id,
                referral.c.referred_id,
                referral.c.referrer_id,
                referral.c.said_at,
                referral.c.text_key,
                referral.c.outcome,
            ).where(
                referral.c.account_id == account.id,
                referral.c.outcome.in_((MatchOutcome.LINKED, MatchOutcome.REFUSED_CIRCLE)),
                referral.c.referrer_is_user.is_(False),
                among(referral.c.referred_id, front),
            )
        ).all()
        rows |= {row.id: row for row in found}
        front = {row.referrer_id for row in found} - seen
    return [rows[one] for one in sorted(rows)]
