"""From changes of fields to ratings: what a customer said about us, and when.

The same change may be told by an event and again by the CRM's property history, in any
order. So everything here is a function of the *set* of changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from plugin.referral.model import FieldChange, Rating, RatingValue

T = TypeVar("T")

_RATING = "spiral_rating"
_RATED_ON = "spiral_rated_on"
_REFERRER_NAME = "spiral_referrer_name"
SCORE = "score"
"""The NPS or CSAT property that an account counts as ratings, whatever the CRM calls it."""

_ONE_SAYING = timedelta(hours=1)
"""A rating and the day it is about, changed no further apart than this, belong together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreScale:
    """How the numbers of the mapped property are read.

    ``maximum`` is the top of a CSAT scale; an NPS always ends at 10.
    """

    kind: Literal["nps", "csat"]
    maximum: int = 10

    def rate(self, number: Decimal) -> RatingValue | None:
        """The rating a number stands for; None where it is neutral or off the scale."""
        return _rate_nps(number) if self.kind == "nps" else _rate_csat(number, self.maximum)


def _rate_nps(number: Decimal) -> RatingValue | None:
    if not 0 <= number <= 10:
        return None
    if number < 7:
        return RatingValue.DISSATISFIED
    return RatingValue.SATISFIED if number < 9 else RatingValue.DELIGHTED


def _rate_csat(number: Decimal, maximum: int) -> RatingValue | None:
    if not 0 <= number <= maximum:
        return None
    if number <= Decimal("0.4") * maximum:
        return RatingValue.DISSATISFIED
    if number <= Decimal("0.6") * maximum:
        return None
    return RatingValue.SATISFIED if number <= Decimal("0.8") * maximum else RatingValue.DELIGHTED


class _Recorded(NamedTuple):
    """A rating on its way: made by a change of ``field`` at ``at``."""

    at: datetime
    field: str
    day: date
    value: RatingValue


def ratings_from_changes(
    changes: Iterable[FieldChange], *, zone: ZoneInfo, score: ScoreScale | None
) -> tuple[Rating, ...]:
    """All ratings the changes tell of, one a day, by day.

    ``zone`` is the account's time zone, ``score`` the scale of the mapped property (None: no
    property is mapped). What cannot be read as a rating, a day or a number is passed over.
    """
    ordered = _in_sequence(changes)
    recorded = _own_ratings(ordered, zone)
    if score is not None:
        recorded += _scored_ratings(ordered, zone, score)

    by_day: dict[date, Rating] = {}
    for at, field, day, value in sorted(recorded, key=lambda one: (one.at, one.field)):
        if field == _RATED_ON and day in by_day:
            continue
        by_day[day] = Rating(day=day, value=value, recorded_at=at)
    return tuple(by_day[day] for day in sorted(by_day))


def said_since(
    changes: Iterable[FieldChange], fragment_key: Callable[[str], frozenset[str]], key: str
) -> datetime | None:
    """Since when a name has been standing in ``spiral_referrer_name`` without a break.

    ``fragment_key`` gives the keys of all names in a text. None where the last text does not
    hold the name, or no change is known.
    """
    since: datetime | None = None
    for change in _in_sequence(changes):
        if change.field != _REFERRER_NAME:
            continue
        if key not in fragment_key(change.value):
            since = None
        elif since is None:
            since = change.at
    return since


def _in_sequence(changes: Iterable[FieldChange]) -> list[FieldChange]:
    return sorted(set(changes), key=lambda change: (change.at, change.field, change.value))


def _own_ratings(ordered: Sequence[FieldChange], zone: ZoneInfo) -> list[_Recorded]:
    """Ratings by the plugin's own two fields."""
    values = list(_readable(ordered, _RATING, RatingValue))
    said = list(_turns(values))
    days = [(at, day) for at, day in _readable(ordered, _RATED_ON, date.fromisoformat) if day]

    named: dict[datetime, date] = {}
    for day_at, day in days:
        if near := [at for at, _ in said if abs(day_at - at) <= _ONE_SAYING]:
            named[min(near, key=lambda at: (abs(day_at - at), at))] = day
    recorded = []
    for at, value in said:
        about = [day for day_at, day in days if abs(day_at - at) <= _ONE_SAYING]
        day = named.get(at) or (about[-1] if about else _local_day(at, zone))
        recorded.append(_Recorded(at, _RATING, day, value))
    for at, day in days:
        if any(abs(said_at - at) <= _ONE_SAYING for said_at, _ in said):
            continue
        in_force = [value for value_at, value in values if value_at <= at][-1:]
        recorded += [_Recorded(at, _RATED_ON, day, value) for value in in_force if value]
    return recorded


def _scored_ratings(
    ordered: Sequence[FieldChange], zone: ZoneInfo, scale: ScoreScale
) -> list[_Recorded]:
    """Ratings by the mapped NPS/CSAT property."""
    numbers = _turns(_readable(ordered, SCORE, _number))
    return [
        _Recorded(at, SCORE, _local_day(at, zone), value)
        for at, number in numbers
        if (value := scale.rate(number)) is not None
    ]


def _readable(
    ordered: Iterable[FieldChange], field: str, read: Callable[[str], T]
) -> Iterator[tuple[datetime, T | None]]:
    """The values of one field in sequence, None where it was emptied, without the unreadable."""
    for change in ordered:
        if change.field != field:
            continue
        try:
            value = read(change.value) if change.value else None
        except ValueError:
            continue
        yield change.at, value


def _turns(values: Iterable[tuple[datetime, T | None]]) -> Iterator[tuple[datetime, T]]:
    """Only where the value became another one: the same change told twice is one change."""
    before: T | None = None
    for at, value in values:
        if value is not None and value != before:
            yield at, value
        before = value


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(text) from error
    if not number.is_finite():
        raise ValueError(text)
    return number


def _local_day(at: datetime, zone: ZoneInfo) -> date:
    return at.astimezone(zone).date()
