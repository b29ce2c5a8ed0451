"""Casebook: from our tables to the cases the referral model decides about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

import sqlalchemy as sa

from plugin.pipeline.absorb import known_contacts
from plugin.pipeline.naming import stored_candidates
from plugin.ports import ContactSnapshot
from plugin.referral.model import (
    ASK_KINDS,
    Ask,
    Case,
    Channel,
    Complaint,
    Deal,
    Evidence,
    FieldChange,
    GivenReferral,
    MatchOutcome,
    Origin,
    Rating,
    RatingValue,
    Referral,
    Referrer,
    Stage,
    TaskKind,
)
from plugin.referral.ratings import ratings_from_changes
from plugin.storage import changes
from plugin.storage.accounts import Account, instant
from plugin.storage.among import among
from plugin.storage.tables import contact_deal, deal, referral, task, user
from plugin.storage.tasks import LIVE, TaskState

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, kw_only=True)
class Books:
    """What a batch of contacts has in common: read once, used for each."""

    account: Account
    people: Mapping[str, sa.Row[Any]]
    users: Mapping[str, sa.Row[Any]]
    changes: Mapping[str, Sequence[FieldChange]]
    deals: Mapping[str, sa.Row[Any]]
    deals_of: Mapping[str, Sequence[str]]
    referrals_of: Mapping[str, Sequence[sa.Row[Any]]]
    given_by: Mapping[str, Sequence[sa.Row[Any]]]
    asks: Mapping[str, Sequence[Ask]]
    emails: frozenset[str]
    firsts: dict[tuple[str, str | None], tuple[int, str | None]] = field(default_factory=dict)
    """What ``_first_on`` found: deals of hundreds of contacts are asked for by each of them."""


def open_books(connection: sa.Connection, account: Account, ids: Sequence[str]) -> Books:
    """Read all that the cases of these contacts need."""
    mine = account.id
    told = connection.execute(
        sa.select(referral)
        .where(referral.c.account_id == mine, among(referral.c.referred_id, ids))
        .order_by(referral.c.position)
    ).all()
    given = connection.execute(
        sa.select(referral).where(
            referral.c.account_id == mine,
            among(referral.c.referrer_id, ids),
            referral.c.referrer_is_user.is_(False),
            referral.c.outcome == MatchOutcome.LINKED,
        )
    ).all()
    referred = [row.referred_id for row in given]
    deals_of, deals = _deals(connection, mine, [*ids, *referred])
    on_deals = {one for row in deals.values() for one in row.snapshot["contact_ids"]}
    referrals_of = defaultdict(list)
    for row in told:
        referrals_of[row.referred_id].append(row)
    for row in _referrals_beside(connection, mine, on_deals - set(ids), told):
        referrals_of[row.referred_id].append(row)
    people = known_contacts(
        connection,
        account,
        {*ids, *referred, *on_deals, *(row.referrer_id for row in told if row.referrer_id)},
    )
    users = {
        row.crm_id: row
        for row in connection.execute(sa.select(user).where(user.c.account_id == mine))
    }
    return Books(
        account=account,
        people=people,
        users=users,
        changes=changes.of(connection, mine, ids),
        deals=deals,
        deals_of=deals_of,
        referrals_of=referrals_of,
        given_by=_by(given, "referrer_id"),
        asks=_asks(connection, mine, ids),
        emails=frozenset(row.email.lower() for row in users.values() if row.email),
    )


def _by(rows: Iterable[sa.Row[Any]], column: str) -> dict[str, list[sa.Row[Any]]]:
    grouped: dict[str, list[sa.Row[Any]]] = defaultdict(list)
    for row in rows:
        grouped[getattr(row, column)].append(row)
    return grouped


def _deals(
    connection: sa.Connection, mine: int, contact_ids: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, sa.Row[Any]]]:
    links = connection.execute(
        sa.select(contact_deal.c.contact_id, contact_deal.c.deal_id).where(
            contact_deal.c.account_id == mine,
            among(contact_deal.c.contact_id, contact_ids),
        )
    ).all()
    deals_of: dict[str, list[str]] = defaultdict(list)
    # Sorted here: SQLite would read everybody's deals rather than sort a few.
    for row in sorted(links, key=lambda one: one.deal_id):
        deals_of[row.contact_id].append(row.deal_id)
    rows = connection.execute(
        sa.select(deal).where(
            deal.c.account_id == mine, among(deal.c.crm_id, {r.deal_id for r in links})
        )
    )
    return deals_of, {row.crm_id: row for row in rows}


def _referrals_beside(
    connection: sa.Connection,
    mine: int,
    others: Iterable[str],
    told: Sequence[sa.Row[Any]],
) -> Sequence[sa.Row[Any]]:
    """Links of the other contacts of shared deals to the same referrers."""
    referrers = sorted({row.referrer_id for row in told if row.referrer_id})
    if not referrers or not others:
        return []
    return connection.execute(
        sa.select(referral).where(
            referral.c.account_id == mine,
            among(referral.c.referred_id, others),
            among(referral.c.referrer_id, referrers),
            referral.c.outcome == MatchOutcome.LINKED,
        )
    ).all()


def _asks(connection: sa.Connection, mine: int, ids: Sequence[str]) -> dict[str, list[Ask]]:
    asks: dict[str, list[Ask]] = defaultdict(list)
    for row in connection.execute(
        sa.select(task.c.subject_id, task.c.kind, task.c.cause, task.c.done_on, task.c.state)
        .where(
            task.c.account_id == mine,
            among(task.c.subject_id, ids),
            task.c.kind.in_(ASK_KINDS),
            task.c.state.in_((*LIVE, TaskState.DONE)),
        )
        .order_by(task.c.id)
    ):
        asks[row.subject_id].append(
            Ask(
                kind=TaskKind(row.kind),
                cause=row.cause,
                made_on=row.done_on if row.state == TaskState.DONE else None,
            )
        )
    return asks


# ------------------------------------------------------------------------- one case


def case_of(books: Books, snapshot: ContactSnapshot, now: datetime) -> Case:
    """Everything the model needs to decide about this contact."""
    account = books.account
    card = snapshot.card
    values = snapshot.values
    given = tuple(_given(books, row) for row in books.given_by.get(card.crm_id, ()))
    locked = values.get("spiral_stage_locked") == "true"
    consent = values.get("spiral_contact_consent", "").split(";")
    return Case(
        crm_id=card.crm_id,
        name=card.name or card.email,
        company=card.company,
        owner_id=card.owner_id,
        employee=_is_employee(books, card.email),
        evidence=Evidence(
            known_since=account.day(card.created_at or now),
            deals=_deals_of(books, card.crm_id),
            ratings=ratings_from_changes(
                books.changes.get(card.crm_id, ()), zone=account.zone, score=account.score_scale()
            ),
            referrals_given_on=tuple(sorted(one.recorded_on for one in given)),
        ),
        origin=_member(Origin, values.get("spiral_origin", "")),
        recommended_service=values.get("spiral_recommended_service", ""),
        recommended_words=values.get("spiral_recommended_words", ""),
        do_not_ask=values.get("spiral_do_not_ask") == "true",
        consent=frozenset(channel for channel in Channel if channel in consent),
        locked_stage=_member(Stage, values.get("spiral_stage", "")) if locked else None,
        referrals=tuple(_referral(books, row) for row in books.referrals_of.get(card.crm_id, ())),
        given=given,
        asks=tuple(books.asks.get(card.crm_id, ())),
        main_currency=account.currency,
    )


def _member(kind: type[E], value: str) -> E | None:
    try:
        return kind(value) if value else None
    except ValueError:
        return None


def _is_employee(books: Books, email: str) -> bool:
    address = email.strip().lower()
    return bool(address) and (
        address in books.emails
        or address.rpartition("@")[2] in books.account.policy.company_domains
    )


def _deals_of(books: Books, contact_id: str) -> tuple[Deal, ...]:
    found = (books.deals[one] for one in books.deals_of.get(contact_id, ()) if one in books.deals)
    pipelines = books.account.policy.pipelines
    return tuple(
        deal_of(books, row, contact_id)
        for row in found
        if pipelines is None or row.snapshot["pipeline"] in pipelines
    )


def deal_of(books: Books, row: Any, contact_id: str) -> Deal:
    """A stored deal as the model sees it for one of its contacts."""
    raw = row.snapshot
    day = books.account.day
    created = day(instant(raw["created_at"]))
    closed = day(instant(raw["closed_at"])) if raw["closed_at"] is not None else None
    won_on = lost_on = None
    if raw["won"]:
        became = day(instant(raw["won_at"])) if raw["won_at"] is not None else row.won_seen_on
        won_on = min(closed, became) if closed else became
        seen = row.won_seen_on
    elif raw["lost"]:
        lost_on = min(closed, row.lost_seen_on) if closed else row.lost_seen_on
        seen = row.lost_seen_on
    else:
        seen = row.open_seen_on
    return Deal(
        crm_id=row.crm_id,
        name=raw["name"],
        opened_on=min(created, won_on) if won_on else created,
        won_on=won_on,
        lost_on=lost_on,
        amount=_money(raw["amount"]),
        currency=raw["currency"],
        home_amount=_money(raw["home_amount"]),
        owner_id=raw["owner_id"],
        lead=_lead(books, row, contact_id) == contact_id,
        first_seen_on=seen,
    )


def _money(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _lead(books: Books, row: Any, contact_id: str) -> str:
    """The contact that tasks about a deal belong to."""
    if row.snapshot["primary"]:
        return str(row.snapshot["primary"])
    _, first = _first_on(books, row)
    return contact_id if first is None else _created_first(books, (first, contact_id))


def _first_on(books: Books, row: Any, referrer_id: str | None = None) -> tuple[int, str | None]:
    """How many contacts a deal has, or has whom this contact referred, and who of them was created
    first."""
    asked = row.crm_id, referrer_id
    if asked not in books.firsts:
        them = [
            one
            for one in row.snapshot["contact_ids"]
            if referrer_id is None or _is_referred_by(books, one, referrer_id)
        ]
        books.firsts[asked] = len(them), _created_first(books, them) if them else None
    return books.firsts[asked]


def _is_referred_by(books: Books, contact_id: str, referrer_id: str) -> bool:
    return any(
        row.referrer_id == referrer_id and row.outcome == MatchOutcome.LINKED
        for row in books.referrals_of.get(contact_id, ())
    )


def _created_first(books: Books, contact_ids: Iterable[str]) -> str:
    def order(one: str) -> tuple[float, int, str]:
        person = books.people.get(one)
        at = person.created_at if person is not None and person.gone_at is None else None
        return (float("inf") if at is None else at, len(one), one)

    return min(contact_ids, key=order)


def _given(books: Books, row: Any) -> GivenReferral:
    person = books.people.get(row.referred_id)
    return GivenReferral(
        referred_id=row.referred_id,
        referred_name=_name(person),
        recorded_on=books.account.day(instant(row.said_at)),
        primary=row.position == 0,
        deals=_deals_of(books, row.referred_id),
    )


def _name(person: Any) -> str:
    if person is None:
        return ""
    return f"{person.first_name} {person.last_name}".strip() or str(person.email)


def _referral(books: Books, row: Any) -> Referral:
    return Referral(
        text=row.text,
        text_key=row.text_key,
        position=row.position,
        outcome=MatchOutcome(row.outcome),
        recorded_on=books.account.day(instant(row.said_at)),
        referrer=_referrer(books, row) if row.referrer_id else None,
        candidates=stored_candidates(row.candidates),
        tells_deal_ids=_told_elsewhere(books, row),
    )


def _referrer(books: Books, row: Any) -> Referrer:
    if row.referrer_is_user:
        found = books.users.get(row.referrer_id)
        return Referrer(
            crm_id=row.referrer_id,
            name=found.name if found else "",
            is_user=True,
            gone=found is None or not found.active,
        )
    person = books.people.get(row.referrer_id)
    outcome = person.outcome if person is not None else None
    return Referrer(
        crm_id=row.referrer_id,
        name=_name(person),
        owner_id=person.owner_id if person is not None else None,
        gone=person is None or person.gone_at is not None,
        spiral=complaint_of(outcome.get("complaint")) if outcome else None,
    )


def _told_elsewhere(books: Books, row: Any) -> frozenset[str]:
    """Deals whose outcome this referrer hears through another contact of the same deal."""
    if not row.referrer_id or row.referrer_is_user:
        return frozenset()
    elsewhere = set()
    for deal_id in books.deals_of.get(row.referred_id, ()):
        shared = books.deals.get(deal_id)
        if shared is None:
            continue
        count, first = _first_on(books, shared, row.referrer_id)
        if count > 1 and first != row.referred_id:
            elsewhere.add(deal_id)
    return frozenset(elsewhere)


# ------------------------------------------------------- what others need to know of one


def complaint_json(complaint: Complaint | None) -> dict[str, Any] | None:
    if complaint is None:
        return None
    return {
        "grade": complaint.grade,
        "ratings": [
            [one.day.isoformat(), one.value, one.recorded_at.isoformat()]
            for one in complaint.ratings
        ],
    }


def complaint_of(raw: Mapping[str, Any] | None) -> Complaint | None:
    if raw is None:
        return None
    return Complaint(
        grade=RatingValue(raw["grade"]),
        ratings=tuple(
            Rating(
                day=date.fromisoformat(day),
                value=RatingValue(value),
                recorded_at=datetime.fromisoformat(at),
            )
            for day, value, at in raw["ratings"]
        ),
    )


def outcome_of(case: Case, spiral: Complaint | None) -> dict[str, Any]:
    """What decisions about this contact's referrers and referred depend on."""
    return {
        "name": case.name,
        "owner": case.owner_id,
        "complaint": complaint_json(spiral),
        "deals": [
            [
                one.crm_id,
                one.opened_on.isoformat(),
                one.won_on.isoformat() if one.won_on else None,
                one.lost_on.isoformat() if one.lost_on else None,
                str(one.home_amount if one.home_amount is not None else one.amount),
                one.currency,
            ]
            for one in sorted(case.evidence.deals, key=lambda each: each.crm_id)
        ],
    }
