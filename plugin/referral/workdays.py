"""Working days and weeks. Weekends are skipped; holidays are not known."""

from __future__ import annotations

from datetime import date, timedelta

_WORKING_DAYS = 5


def add_working_days(day: date, count: int) -> date:
    """The working day ``count`` working days after ``day``; 0 is the same working day.

    A weekend counts as the Monday after it, so work that comes up on Saturday has as much time
    as work that comes up on Monday.
    """
    monday = week_of(day)
    weeks, weekday = divmod(min(day.weekday(), _WORKING_DAYS) + count, _WORKING_DAYS)
    return monday + timedelta(weeks=weeks, days=weekday)


def week_of(day: date) -> date:
    """The Monday of the week of ``day``."""
    return day - timedelta(days=day.weekday())
