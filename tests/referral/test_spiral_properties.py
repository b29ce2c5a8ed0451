"""What holds for the spiral whatever happened, in whatever order it was told."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from plugin.referral.model import LADDER, Because, Deal, Evidence, Rating, RatingValue, Stage
from plugin.referral.spiral import assess
from tests.referral.scenario import POLICY, at, deal, evidence, rating

KNOWN = date(2025, 1, 1)
PLAIN = settings(max_examples=200, derandomize=True, deadline=None)


def on(number: int) -> date:
    return KNOWN + timedelta(days=number)


# Few distinct days, so that things often fall on one day; some far apart, so that time tells.
DAYS = st.one_of(st.integers(-3, 40), st.sampled_from([60, 200, 220, 400, 420])).map(on)

# Stories begin somewhere on the way up: chance alone would hardly ever climb so high.
WAY_UP: tuple[Deal | Rating, ...] = (
    deal("2025-01-02", "2025-01-03", crm_id="a"),
    rating("2025-01-05", RatingValue.DELIGHTED),
    deal("2025-01-06", crm_id="b"),
    rating("2025-01-10", RatingValue.DELIGHTED),
)


@st.composite
def deals(draw: st.DrawFn) -> Deal:
    opened, ended = sorted([draw(DAYS), draw(DAYS)])
    outcome = draw(st.sampled_from(["won", "lost", "open"]))
    return Deal(
        crm_id=str(draw(st.integers(1, 12))),
        opened_on=opened,
        won_on=ended if outcome == "won" else None,
        lost_on=ended if outcome == "lost" else None,
        first_seen_on=opened,
    )


RATINGS = st.builds(
    Rating,
    day=DAYS,
    value=st.sampled_from(RatingValue),
    recorded_at=st.integers(10, 20).map(lambda hour: at(f"2025-01-01 {hour}:00")),
)


@st.composite
def stories(draw: st.DrawFn) -> Evidence:
    """Some way up the ladder, then anything."""
    climbed = WAY_UP[: draw(st.integers(0, len(WAY_UP)))]
    told = evidence(*climbed, *draw(st.lists(st.one_of(deals(), RATINGS, DAYS), max_size=12)))
    return replace(told, known_since=KNOWN)


TODAYS = st.integers(0, 700).map(on)


@PLAIN
@given(story=stories(), today=TODAYS, data=st.data())
def test_order_and_duplicates_do_not_matter(
    story: Evidence, today: date, data: st.DataObject
) -> None:
    """Same evidence in any order, with any duplicates: the same assessment."""
    shuffled = replace(
        story,
        deals=tuple(data.draw(st.permutations(story.deals * 2))),
        ratings=tuple(data.draw(st.permutations(story.ratings * 2))),
        referrals_given_on=tuple(data.draw(st.permutations(story.referrals_given_on * 2))),
    )
    assert assess(shuffled, POLICY, today) == assess(story, POLICY, today)


@PLAIN
@given(story=stories(), today=TODAYS)
def test_the_ladder_is_climbed_one_step_at_a_time(story: Evidence, today: date) -> None:
    """Up by one; down only into the negative spiral; out of it only where a repair leads."""
    for before, after in pairwise(assess(story, POLICY, today).steps):
        if before.stage is Stage.NEGATIVE:
            assert after.because is Because.REPAIRED
            assert after.stage in (Stage.EXPECTATION, Stage.SATISFACTION)
        elif after.stage is not Stage.NEGATIVE:
            assert LADDER.index(after.stage) == LADDER.index(before.stage) + 1


@PLAIN
@given(story=stories(), today=TODAYS)
def test_steps_are_in_order_of_days(story: Evidence, today: date) -> None:
    """No step is dated before the one it follows, and none in the future."""
    days = [step.on for step in assess(story, POLICY, today).steps]
    assert days == sorted(days)
    assert days[-1] <= today


@PLAIN
@given(story=stories(), today=TODAYS, later=st.integers(1, 400))
def test_time_never_rewrites_the_record(story: Evidence, today: date, later: int) -> None:
    """Looked at later, the steps up to today are the same; others may only follow."""
    then = assess(story, POLICY, today + timedelta(days=later))
    kept = tuple(step for step in then.steps if step.on <= today)
    assert assess(story, POLICY, today).steps == kept


@PLAIN
@given(story=stories(), today=TODAYS)
def test_nothing_changes_before_the_day_that_is_announced(story: Evidence, today: date) -> None:
    """Until the eve of ``changes_on`` the assessment is the same; without one it is for good."""
    now = assess(story, POLICY, today)
    if now.changes_on is None:
        assert assess(story, POLICY, today + timedelta(days=1000)) == now
    else:
        assert now.changes_on > today
        assert assess(story, POLICY, now.changes_on - timedelta(days=1)) == now


@PLAIN
@given(story=stories(), today=TODAYS)
def test_complaints_agree_with_the_stage(story: Evidence, today: date) -> None:
    """Negative exactly while a spiral is open; forgiven only at loyalty; since its first day."""
    found = assess(story, POLICY, today)
    assert (found.stage is Stage.NEGATIVE) == (found.spiral is not None)
    assert found.forgiven is None or found.stage is Stage.LOYALTY
    if found.spiral is not None:
        assert found.spiral.started_on == found.since
        assert not any(rating.value.positive for rating in found.spiral.ratings)


@PLAIN
@given(story=stories(), today=TODAYS)
def test_the_last_step_is_where_the_contact_stands(story: Evidence, today: date) -> None:
    """Stage and date are the record's last line; the first line is being known."""
    found = assess(story, POLICY, today)
    assert (found.stage, found.since) == (found.steps[-1].stage, found.steps[-1].on)
    assert (found.steps[0].stage, found.steps[0].because) == (Stage.EXPECTATION, Because.KNOWN)


@PLAIN
@given(story=stories(), today=TODAYS)
def test_only_what_was_told_and_is_due_counts(story: Evidence, today: date) -> None:
    """Every step is explained by a deal or rating that was handed in, dated today or before."""
    for step in assess(story, POLICY, today).steps:
        assert step.deal is None or step.deal in story.deals
        assert step.rating is None or (step.rating in story.ratings and step.rating.day <= today)
