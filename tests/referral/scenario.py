"""Short words for what happened to a contact, shared by the tests of the referral model.

Days are written as ISO text, so that a table of happenings reads like a calendar.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from plugin.referral.model import Deal, Evidence, FieldChange, Rating, RatingValue
from plugin.referral.policy import SpiralPolicy

BERLIN = ZoneInfo("Europe/Berlin")
POLICY = SpiralPolicy()
KNOWN = "2025-01-01"
"""The day the contact of a scenario was created, unless told otherwise."""

ANGRY = RatingValue.ANGRY
DISSATISFIED = RatingValue.DISSATISFIED
SATISFIED = RatingValue.SATISFIED
DELIGHTED = RatingValue.DELIGHTED


def day(text: str) -> date:
    return date.fromisoformat(text)


def later(text: str, days: int) -> date:
    """The day so many days after."""
    return day(text) + timedelta(days=days)


def at(text: str) -> datetime:
    """An instant in UTC: ``2025-03-01 10:00``, or noon where only the day is told."""
    moment = datetime.fromisoformat(text) if " " in text else datetime.combine(day(text), time(12))
    return moment.replace(tzinfo=UTC)


def deal(
    opened: str, won: str | None = None, lost: str | None = None, *, crm_id: str = "", **more: Any
) -> Deal:
    """A deal; without an id of its own it gets one from its days."""
    return Deal(
        crm_id=crm_id or f"{opened}/{won}/{lost}",
        opened_on=day(opened),
        won_on=day(won) if won else None,
        lost_on=day(lost) if lost else None,
        **{"first_seen_on": day(opened)} | more,
    )


def rating(on: str, value: RatingValue | str, recorded: str | None = None) -> Rating:
    """A rating about a day, recorded at noon of that day unless told otherwise."""
    return Rating(day=day(on), value=RatingValue(value), recorded_at=at(recorded or on))


def referral(on: str) -> date:
    """The day on which a referral by this contact was recorded."""
    return day(on)


def evidence(*happened: Deal | Rating | date, known: str = KNOWN) -> Evidence:
    """Deals, ratings and days of referrals given, in any order."""
    return Evidence(
        known_since=day(known),
        deals=tuple(one for one in happened if isinstance(one, Deal)),
        ratings=tuple(one for one in happened if isinstance(one, Rating)),
        referrals_given_on=tuple(one for one in happened if isinstance(one, date)),
    )


def change(field: str, value: str, told_at: str) -> FieldChange:
    """A change of a field at an instant in UTC."""
    return FieldChange(field=field, value=value, at=at(told_at))
