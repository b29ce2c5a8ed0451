"""What the changes of the rating fields and of a mapped score say: which rating, about which day.

Instants are UTC. The account is in Berlin: one hour ahead in winter, two in summer.
"""

from __future__ import annotations

import itertools
from datetime import datetime
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin.referral.model import FieldChange, Rating, RatingValue
from plugin.referral.ratings import ScoreScale, ratings_from_changes, said_since
from tests.referral.scenario import (
    ANGRY,
    BERLIN,
    DELIGHTED,
    DISSATISFIED,
    SATISFIED,
    at,
    change,
    rating,
)

NPS = ScoreScale(kind="nps")
FIVE_STARS = ScoreScale(kind="csat", maximum=5)


def rated(value: str, told_at: str) -> FieldChange:
    return change("spiral_rating", value, told_at)


def rated_on(value: str, told_at: str) -> FieldChange:
    return change("spiral_rated_on", value, told_at)


def score(value: str, told_at: str) -> FieldChange:
    return change("score", value, told_at)


def told(*changes: FieldChange, scale: ScoreScale | None = None) -> tuple[Rating, ...]:
    return ratings_from_changes(changes, zone=BERLIN, score=scale)


BY_HAND = [
    pytest.param([], [], id="nothing was filled in: no rating"),
    pytest.param(
        [rated("satisfied", "2025-03-03 10:00")],
        [rating("2025-03-03", SATISFIED, "2025-03-03 10:00")],
        id="a rating without a date is about the day it was filled in",
    ),
    pytest.param(
        [rated("satisfied", "2025-03-03 23:30")],
        [rating("2025-03-04", SATISFIED, "2025-03-03 23:30")],
        id="the day is the account's: half past eleven in UTC is the next day in Berlin",
    ),
    pytest.param(
        [rated("satisfied", "2025-07-03 22:30")],
        [rating("2025-07-04", SATISFIED, "2025-07-03 22:30")],
        id="in summer the day in Berlin begins two hours before UTC's",
    ),
    pytest.param(
        [rated("satisfied", "2025-03-03"), rated("delighted", "2025-04-03")],
        [rating("2025-03-03", SATISFIED), rating("2025-04-03", DELIGHTED)],
        id="another value later is another rating",
    ),
    pytest.param(
        [rated("angry", "2025-03-03"), rated("dissatisfied", "2025-04-03")],
        [rating("2025-03-03", ANGRY), rating("2025-04-03", DISSATISFIED)],
        id="all four values are ratings",
    ),
    pytest.param(
        [rated("satisfied", "2025-03-03"), rated("satisfied", "2025-04-03")],
        [rating("2025-03-03", SATISFIED)],
        id="the same value again is no change and no rating",
    ),
    pytest.param(
        [
            rated("satisfied", "2025-03-03 10:00:00.120"),
            rated("satisfied", "2025-03-03 10:00:00.124"),
        ],
        [rating("2025-03-03", SATISFIED, "2025-03-03 10:00:00.120")],
        id="one change told by event and by history some ms apart is one rating",
    ),
    pytest.param(
        [
            rated("satisfied", "2025-03-03"),
            rated("", "2025-04-01"),
            rated("satisfied", "2025-04-03"),
        ],
        [rating("2025-03-03", SATISFIED), rating("2025-04-03", SATISFIED)],
        id="the same value after having been emptied is a new rating",
    ),
    pytest.param(
        [rated("", "2025-03-03")],
        [],
        id="emptying the field is no rating",
    ),
    pytest.param(
        [
            rated("satisfied", "2025-03-03"),
            rated("no idea", "2025-03-10"),
            rated("satisfied", "2025-03-20"),
        ],
        [rating("2025-03-03", SATISFIED)],
        id="a value that is none of the four is as if it had never been there",
    ),
    pytest.param(
        [rated("delighted", "2025-03-03 09:00"), rated("dissatisfied", "2025-03-03 16:00")],
        [rating("2025-03-03", DISSATISFIED, "2025-03-03 16:00")],
        id="of two ratings on one day the last one counts",
    ),
    pytest.param(
        [change("spiral_referrer_name", "delighted", "2025-03-03")],
        [],
        id="changes of other fields are no ratings",
    ),
]

DATED_BY_HAND = [
    pytest.param(
        [rated("delighted", "2025-03-03 10:00"), rated_on("2025-02-20", "2025-03-03 10:01")],
        [rating("2025-02-20", DELIGHTED, "2025-03-03 10:00")],
        id="rating and date changed together are one rating about that date",
    ),
    pytest.param(
        [rated_on("2025-02-20", "2025-03-03 10:00"), rated("delighted", "2025-03-03 10:00")],
        [rating("2025-02-20", DELIGHTED, "2025-03-03 10:00")],
        id="changed at the very same instant they are one rating",
    ),
    pytest.param(
        [rated_on("2025-02-20", "2025-03-03 10:00"), rated("delighted", "2025-03-03 11:00")],
        [rating("2025-02-20", DELIGHTED, "2025-03-03 11:00")],
        id="the date may come first, up to an hour",
    ),
    pytest.param(
        [rated("delighted", "2025-03-03 10:00"), rated_on("2025-02-20", "2025-03-03 11:00")],
        [rating("2025-02-20", DELIGHTED, "2025-03-03 10:00")],
        id="the date may come after, up to an hour",
    ),
    pytest.param(
        [rated_on("2025-02-20", "2025-03-03 10:00"), rated("delighted", "2025-03-03 11:00:01")],
        [rating("2025-03-03", DELIGHTED, "2025-03-03 11:00:01")],
        id="a date set more than an hour before does not date the rating",
    ),
    pytest.param(
        [rated("delighted", "2025-03-03 10:00"), rated_on("2025-02-20", "2025-03-03 11:00:01")],
        [
            rating("2025-02-20", DELIGHTED, "2025-03-03 11:00:01"),
            rating("2025-03-03", DELIGHTED, "2025-03-03 10:00"),
        ],
        id="a date set more than an hour after is a second rating",
    ),
    pytest.param(
        [
            rated("delighted", "2025-03-03 10:00"),
            rated_on("2025-02-20", "2025-03-03 10:01"),
            rated_on("2025-02-21", "2025-03-03 10:05"),
        ],
        [rating("2025-02-21", DELIGHTED, "2025-03-03 10:00")],
        id="a date corrected within the hour: the last one dates the one rating",
    ),
    pytest.param(
        [
            rated("satisfied", "2025-01-03"),
            rated_on("2025-02-20", "2025-03-03 10:00"),
            rated("delighted", "2025-03-03 11:00"),
            rated_on("2025-02-21", "2025-03-03 12:00"),
        ],
        [rating("2025-01-03", SATISFIED), rating("2025-02-21", DELIGHTED, "2025-03-03 11:00")],
        id="all dates within the hour belong to that rating and make none with the value before",
    ),
    pytest.param(
        [
            rated("satisfied", "2025-03-03 10:00"),
            rated_on("2025-02-20", "2025-03-03 10:01"),
            rated("angry", "2025-03-03 10:05"),
        ],
        [rating("2025-02-20", ANGRY, "2025-03-03 10:05")],
        id="a value corrected within the hour is still about that date",
    ),
    pytest.param(
        [rated("delighted", "2025-03-03 10:00"), rated_on("yesterday", "2025-03-03 10:01")],
        [rating("2025-03-03", DELIGHTED, "2025-03-03 10:00")],
        id="a date that cannot be read is passed over",
    ),
    pytest.param(
        [
            rated("delighted", "2025-03-03 10:00"),
            rated_on("2025-02-20", "2025-03-03 10:01"),
            rated_on("", "2025-03-03 10:05"),
        ],
        [rating("2025-02-20", DELIGHTED, "2025-03-03 10:00")],
        id="emptying the date takes nothing back",
    ),
    pytest.param(
        [rated("satisfied", "2025-03-03"), rated_on("2025-05-20", "2025-05-21")],
        [rating("2025-03-03", SATISFIED), rating("2025-05-20", SATISFIED, "2025-05-21")],
        id="a new date with the value left as it is makes a new rating",
    ),
    pytest.param(
        [
            rated("satisfied", "2025-03-03"),
            rated("satisfied", "2025-05-21 10:00"),
            rated_on("2025-05-20", "2025-05-21 10:00"),
        ],
        [rating("2025-03-03", SATISFIED), rating("2025-05-20", SATISFIED, "2025-05-21 10:00")],
        id="a new date with the same value chosen again makes a new rating",
    ),
    pytest.param(
        [rated("satisfied", "2025-03-03"), rated_on("2025-03-03", "2025-05-21")],
        [rating("2025-03-03", SATISFIED)],
        id="a date that already has its rating makes none",
    ),
    pytest.param(
        [
            rated("satisfied", "2025-03-03"),
            rated_on("2025-05-20", "2025-05-21"),
            rated_on("2025-05-20", "2025-05-23"),
        ],
        [rating("2025-03-03", SATISFIED), rating("2025-05-20", SATISFIED, "2025-05-21")],
        id="the same date set again makes no second rating",
    ),
    pytest.param(
        [
            rated("satisfied", "2025-03-03"),
            rated_on("2025-06-02", "2025-05-21"),
            rated("angry", "2025-06-02"),
        ],
        [rating("2025-03-03", SATISFIED), rating("2025-06-02", ANGRY)],
        id="a rating recorded later about the same day replaces one made by a date",
    ),
    pytest.param(
        [rated_on("2025-02-20", "2025-02-21")],
        [],
        id="a date without a rating says nothing",
    ),
    pytest.param(
        [rated_on("2025-02-20", "2025-02-21"), rated("angry", "2025-03-03")],
        [rating("2025-03-03", ANGRY)],
        id="a date set before there was a rating says nothing later either",
    ),
    pytest.param(
        [
            rated("satisfied", "2025-03-03"),
            rated("", "2025-04-01"),
            rated_on("2025-05-20", "2025-05-21"),
        ],
        [rating("2025-03-03", SATISFIED)],
        id="a date after the rating was emptied says nothing",
    ),
    pytest.param(
        [
            rated("satisfied", "2025-03-03"),
            rated("", "2025-05-21"),
            rated_on("2025-05-20", "2025-05-21"),
        ],
        [rating("2025-03-03", SATISFIED)],
        id="a date set in the instant the rating is emptied says nothing",
    ),
]

SCORED = [
    pytest.param(
        [score("9", "2025-03-03 23:30")],
        [rating("2025-03-04", DELIGHTED, "2025-03-03 23:30")],
        id="a score is a rating about the account's day of the change",
    ),
    pytest.param(
        [score("9", "2025-03-03"), score("9.0", "2025-04-03")],
        [rating("2025-03-03", DELIGHTED)],
        id="the same number again is no new rating, however it is written",
    ),
    pytest.param(
        [score("9", "2025-03-03"), score("10", "2025-04-03")],
        [rating("2025-03-03", DELIGHTED), rating("2025-04-03", DELIGHTED)],
        id="another number is a new rating, even where it means the same",
    ),
    pytest.param(
        [score("9", "2025-03-03"), score("", "2025-03-20"), score("9", "2025-04-03")],
        [rating("2025-03-03", DELIGHTED), rating("2025-04-03", DELIGHTED)],
        id="the same number after having been emptied is a new rating",
    ),
    pytest.param(
        [score("9", "2025-03-03"), score("n/a", "2025-03-20"), score("9", "2025-04-03")],
        [rating("2025-03-03", DELIGHTED)],
        id="what is not a number is as if it had never been there",
    ),
    pytest.param(
        [score("NaN", "2025-03-03"), score("Infinity", "2025-03-04")],
        [],
        id="NaN and infinity are not numbers",
    ),
    pytest.param(
        [score("9", "2025-03-03"), rated_on("2025-05-20", "2025-05-21")],
        [rating("2025-03-03", DELIGHTED)],
        id="a date belongs to the own rating field only, not to a score",
    ),
    pytest.param(
        [score("10", "2025-03-03 09:00"), rated("angry", "2025-03-03 10:00")],
        [rating("2025-03-03", ANGRY, "2025-03-03 10:00")],
        id="own rating after a score on one day: the last recorded counts",
    ),
    pytest.param(
        [rated("angry", "2025-03-03 09:00"), score("10", "2025-03-03 10:00")],
        [rating("2025-03-03", DELIGHTED, "2025-03-03 10:00")],
        id="score after an own rating on one day: the last recorded counts",
    ),
    pytest.param(
        [
            rated("satisfied", "2025-03-01"),
            score("10", "2025-03-03"),
            rated_on("2025-03-03", "2025-03-08"),
        ],
        [rating("2025-03-01", SATISFIED), rating("2025-03-03", DELIGHTED)],
        id="a date that already has a rating by score makes none",
    ),
]


@pytest.mark.parametrize(("changes", "expected"), BY_HAND + DATED_BY_HAND)
def test_ratings_by_hand(changes: list[FieldChange], expected: list[Rating]) -> None:
    """The two own fields make these ratings, in whatever order their changes arrive."""
    for arrived in itertools.permutations(changes):
        assert told(*arrived) == tuple(expected)


@pytest.mark.parametrize(("changes", "expected"), SCORED)
def test_ratings_by_score(changes: list[FieldChange], expected: list[Rating]) -> None:
    """A mapped NPS property makes these ratings, in whatever order its changes arrive."""
    for arrived in itertools.permutations(changes):
        assert told(*arrived, scale=NPS) == tuple(expected)


def test_a_score_counts_only_where_a_property_is_mapped() -> None:
    """Without a scale the score changes of earlier times make no ratings."""
    assert told(score("9", "2025-03-03"), scale=None) == ()


@pytest.mark.parametrize(
    ("kind", "maximum", "number", "expected"),
    [
        ("nps", 10, "-1", None),
        ("nps", 10, "0", DISSATISFIED),
        ("nps", 10, "6", DISSATISFIED),
        ("nps", 10, "7", SATISFIED),
        ("nps", 10, "8", SATISFIED),
        ("nps", 10, "9", DELIGHTED),
        ("nps", 10, "10", DELIGHTED),
        ("nps", 10, "11", None),
        ("nps", 5, "10", DELIGHTED),
        ("csat", 5, "-1", None),
        ("csat", 5, "0", DISSATISFIED),
        ("csat", 5, "1", DISSATISFIED),
        ("csat", 5, "2", DISSATISFIED),
        ("csat", 5, "3", None),
        ("csat", 5, "4", SATISFIED),
        ("csat", 5, "5", DELIGHTED),
        ("csat", 5, "6", None),
        ("csat", 3, "1", DISSATISFIED),
        ("csat", 3, "2", SATISFIED),
        ("csat", 3, "3", DELIGHTED),
        ("csat", 7, "2", DISSATISFIED),
        ("csat", 7, "3", None),
        ("csat", 7, "4", None),
        ("csat", 7, "5", SATISFIED),
        ("csat", 7, "6", DELIGHTED),
        ("csat", 100, "40", DISSATISFIED),
        ("csat", 100, "40.5", None),
        ("csat", 100, "60", None),
        ("csat", 100, "60.5", SATISFIED),
        ("csat", 100, "80", SATISFIED),
        ("csat", 100, "80.5", DELIGHTED),
        ("csat", 100, "100", DELIGHTED),
        ("csat", 100, "100.5", None),
    ],
)
def test_what_a_number_means(
    kind: Literal["nps", "csat"], maximum: int, number: str, expected: RatingValue | None
) -> None:
    """Every bound of both scales; angry never comes from a number."""
    assert ScoreScale(kind=kind, maximum=maximum).rate(Decimal(number)) == expected


def test_a_neutral_score_is_no_rating() -> None:
    """Three stars of five say neither good nor bad."""
    changes = [score("3", "2025-03-03"), score("4", "2025-04-03")]
    assert told(*changes, scale=FIVE_STARS) == (rating("2025-04-03", SATISFIED),)


# ------------------------------------------------------------------------ said since


def names(text: str) -> frozenset[str]:
    return frozenset(part.strip().casefold() for part in text.split(";"))


def named(value: str, told_at: str) -> FieldChange:
    return change("spiral_referrer_name", value, told_at)


SAID = [
    pytest.param([], None, id="nothing was ever said"),
    pytest.param(
        [named("Erika Muster", "2025-03-03")],
        at("2025-03-03"),
        id="since the only change",
    ),
    pytest.param(
        [named("Erika Muster", "2025-03-03"), named("Max Beispiel", "2025-04-03")],
        None,
        id="not any more once replaced",
    ),
    pytest.param(
        [named("Erika Muster", "2025-03-03"), named("", "2025-04-03")],
        None,
        id="not any more once emptied",
    ),
    pytest.param(
        [named("Max Beispiel", "2025-03-03"), named("Max Beispiel; erika muster", "2025-04-03")],
        at("2025-04-03"),
        id="since it was added beside another name",
    ),
    pytest.param(
        [
            named("Erika Muster", "2025-03-03"),
            named("Erika Muster; Max Beispiel", "2025-04-03"),
            named("ERIKA MUSTER", "2025-05-03"),
        ],
        at("2025-03-03"),
        id="since the first of the texts that all hold it",
    ),
    pytest.param(
        [
            named("Erika Muster", "2025-03-03"),
            named("", "2025-04-03"),
            named("Erika Muster", "2025-05-03"),
        ],
        at("2025-05-03"),
        id="since it came back, where it had been gone",
    ),
    pytest.param(
        [rated("erika muster", "2025-03-03")],
        None,
        id="other fields name nobody",
    ),
]


@pytest.mark.parametrize(("changes", "expected"), SAID)
def test_since_when_a_name_is_said(changes: list[FieldChange], expected: datetime | None) -> None:
    """The unbroken run up to the last change counts, in whatever order the changes arrive."""
    for arrived in itertools.permutations(changes):
        assert said_since(arrived, names, "erika muster") == expected


# ------------------------------------------------------------------------ properties

VALUES = {
    "spiral_rating": st.sampled_from(["", "angry", "dissatisfied", "satisfied", "delighted", "?"]),
    "spiral_rated_on": st.sampled_from(["", "2025-03-01", "2025-03-02", "2025-02-27", "?"]),
    "score": st.sampled_from(["", "3", "7", "9", "10", "11", "?"]),
    "spiral_referrer_name": st.sampled_from(["", "Erika Muster", "Max Beispiel"]),
}


@st.composite
def some_changes(draw: st.DrawFn) -> list[FieldChange]:
    """Changes of all fields at instants that often lie within one hour."""
    fields = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=12))
    return [
        FieldChange(
            field=field,
            value=draw(VALUES[field]),
            at=at(f"2025-03-0{draw(st.integers(1, 4))} 10:{draw(st.integers(0, 59)):02}"),
        )
        for field in fields
    ]


@settings(max_examples=150, derandomize=True, deadline=None)
@given(changes=some_changes(), data=st.data())
def test_order_and_duplicates_of_changes_do_not_matter(
    changes: list[FieldChange], data: st.DataObject
) -> None:
    """Ratings are a function of the set of changes."""
    again = data.draw(st.lists(st.sampled_from(changes), max_size=6)) if changes else []
    shuffled = data.draw(st.permutations(changes + again))
    assert told(*shuffled, scale=NPS) == told(*changes, scale=NPS)
    assert said_since(shuffled, names, "erika muster") == said_since(changes, names, "erika muster")


@settings(max_examples=150, derandomize=True, deadline=None)
@given(changes=some_changes())
def test_there_is_one_rating_a_day_in_order_of_days(changes: list[FieldChange]) -> None:
    """Days are strictly ascending, and each rating was made by a change we were told of."""
    ratings = told(*changes, scale=NPS)
    days = [one.day for one in ratings]
    assert days == sorted(set(days))
    assert {one.recorded_at for one in ratings} <= {one.at for one in changes}


def test_two_ratings_entered_one_after_the_other_keep_their_own_days() -> None:
    """A rep who enters two old ratings within the hour, each with its day, loses neither."""
    changes = [
        change("spiral_rating", "satisfied", "2025-05-20 09:00"),
        change("spiral_rated_on", "2025-04-01", "2025-05-20 09:01"),
        change("spiral_rated_on", "2025-05-02", "2025-05-20 09:09"),
        change("spiral_rating", "delighted", "2025-05-20 09:10"),
    ]

    assert [
        (one.day.isoformat(), str(one.value))
        for one in ratings_from_changes(changes, zone=BERLIN, score=None)
    ] == [("2025-04-01", "satisfied"), ("2025-05-02", "delighted")]
