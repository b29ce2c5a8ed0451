"""Working days and weeks, as a calendar shows them. 3 June 2024 is a Monday."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from plugin.referral.workdays import add_working_days, week_of

DUE = [
    ("the same working day", date(2024, 6, 3), 0, date(2024, 6, 3)),
    ("the next working day", date(2024, 6, 3), 1, date(2024, 6, 4)),
    ("the last of the week", date(2024, 6, 3), 4, date(2024, 6, 7)),
    ("over the weekend", date(2024, 6, 3), 5, date(2024, 6, 10)),
    ("from Friday to Monday", date(2024, 6, 7), 1, date(2024, 6, 10)),
    ("over two weekends", date(2024, 6, 7), 6, date(2024, 6, 17)),
    ("Saturday is Monday's work", date(2024, 6, 8), 0, date(2024, 6, 10)),
    ("Sunday is Monday's work", date(2024, 6, 9), 0, date(2024, 6, 10)),
    ("one day from Saturday is one day from Monday", date(2024, 6, 8), 1, date(2024, 6, 11)),
    ("five days from Sunday end on a Monday", date(2024, 6, 9), 5, date(2024, 6, 17)),
    ("over the turn of the year", date(2024, 12, 31), 3, date(2025, 1, 3)),
    ("over a leap day", date(2024, 2, 28), 2, date(2024, 3, 1)),
]


@pytest.mark.parametrize(
    ("start", "count", "expected"), [row[1:] for row in DUE], ids=[row[0] for row in DUE]
)
def test_a_task_is_due_in_working_days(start: date, count: int, expected: date) -> None:
    """Weekends are skipped; a weekend counts as the Monday after it."""
    assert expected == add_working_days(start, count)


@pytest.mark.parametrize("weekday", range(7))
def test_a_week_begins_on_monday(weekday: int) -> None:
    """All seven days of a week name the same Monday."""
    monday = date(2024, 12, 30)

    assert monday == week_of(monday + timedelta(days=weekday))
