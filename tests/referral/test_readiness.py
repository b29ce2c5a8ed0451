"""Readiness: may we ask this contact for a referral today, and if not, why not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from plugin.referral.model import (
    Ask,
    Assessment,
    Case,
    Complaint,
    Deal,
    Evidence,
    GivenReferral,
    Missing,
    Need,
    Pause,
    Rating,
    RatingValue,
    Readiness,
    Ready,
    Stage,
    TaskKind,
    Tier,
)
from plugin.referral.policy import AskPolicy
from plugin.referral.readiness import readiness

TODAY = date(2024, 6, 3)
WON = Deal(
    crm_id="501",
    opened_on=date(2023, 1, 9),
    won_on=date(2023, 2, 6),
    first_seen_on=date(2023, 2, 6),
)
LOST = Deal(
    crm_id="502",
    opened_on=date(2023, 6, 5),
    lost_on=date(2023, 7, 3),
    first_seen_on=date(2023, 7, 3),
)
OPEN = Deal(crm_id="503", opened_on=date(2024, 5, 6), first_seen_on=date(2024, 5, 6))
COMPLAINT = Complaint(
    grade=RatingValue.DISSATISFIED,
    ratings=(
        Rating(
            day=date(2024, 5, 13),
            value=RatingValue.DISSATISFIED,
            recorded_at=datetime(2024, 5, 13, 9, tzinfo=UTC),
        ),
    ),
)


def contact(*deals: Deal, **changes: Any) -> Case:
    evidence = Evidence(known_since=date(2023, 1, 9), deals=deals or (WON,))
    return Case(crm_id="11", name="Clara Winter", evidence=evidence, **changes)


def at(stage: Stage, **changes: Any) -> Assessment:
    return Assessment(
        stage=stage, since=date(2023, 9, 4), steps=(), missing=Missing(need=Need.NOTHING), **changes
    )


def asked(*days: date | None) -> tuple[Ask, ...]:
    return tuple(Ask(kind=TaskKind.ASK_REFERRAL, cause="", made_on=day) for day in days)


LOYAL = at(Stage.LOYALTY)
NEGATIVE = at(Stage.NEGATIVE, spiral=COMPLAINT)
FORGIVEN = at(Stage.LOYALTY, forgiven=COMPLAINT)
GIVEN = (GivenReferral(referred_id="21", referred_name="", recorded_on=date(2024, 5, 6)),)


def cooling(pause: Pause, until: date | None = None) -> Ready:
    return Ready(value=Readiness.COOLING_DOWN, pause=pause, until=until)


def ready_at(
    case: Case,
    assessment: Assessment | None,
    *,
    locked: Stage | None = None,
    tier: Tier = Tier.NONE,
) -> Ready:
    stage = locked or (assessment.stage if assessment else None)
    case = replace(case, locked_stage=locked)
    return readiness(case, assessment, stage, tier, AskPolicy(), TODAY)


BY_STAGE = [
    (Stage.EXPECTATION, Readiness.NOT_YET),
    (Stage.EXPERIENCE, Readiness.NOT_YET),
    (Stage.SATISFACTION, Readiness.NOT_YET),
    (Stage.SYMPATHY, Readiness.FIRST_MOMENT),
    (Stage.ENTHUSIASM, Readiness.GOOD_MOMENT),
    (Stage.LOYALTY, Readiness.ASK_NOW),
]


@pytest.mark.parametrize(("stage", "expected"), BY_STAGE)
def test_with_nothing_in_the_way_the_stage_decides(stage: Stage, expected: Readiness) -> None:
    """Satisfied is not enough; from sympathy on there is a moment to ask."""
    assert Ready(value=expected) == ready_at(contact(), at(stage))


@pytest.mark.parametrize(("stage", "expected"), BY_STAGE)
def test_asks_follow_a_locked_stage(stage: Stage, expected: Readiness) -> None:
    """Where a rep locked the stage, what the evidence says is not asked about."""
    assert Ready(value=expected) == ready_at(contact(), at(Stage.EXPERIENCE), locked=stage)


BLOCKED: list[tuple[str, Case, Assessment | None, dict[str, Any], Ready]] = [
    (
        "the rep said not to ask",
        contact(do_not_ask=True),
        LOYAL,
        {},
        Ready(value=Readiness.DO_NOT_ASK),
    ),
    (
        "the rep said not to ask: no stage is kept",
        contact(do_not_ask=True),
        None,
        {},
        Ready(value=Readiness.DO_NOT_ASK),
    ),
    (
        "in the negative spiral",
        contact(),
        NEGATIVE,
        {},
        Ready(value=Readiness.REPAIR_FIRST),
    ),
    (
        "a forgiven complaint is not made good yet",
        contact(),
        FORGIVEN,
        {},
        Ready(value=Readiness.REPAIR_FIRST),
    ),
    (
        "a lock does not hide a complaint",
        contact(),
        NEGATIVE,
        {"locked": Stage.LOYALTY},
        Ready(value=Readiness.REPAIR_FIRST),
    ),
    (
        "the rep locked the stage as negative",
        contact(),
        LOYAL,
        {"locked": Stage.NEGATIVE},
        Ready(value=Readiness.REPAIR_FIRST),
    ),
    (
        "a deal of theirs is in negotiation",
        contact(WON, OPEN),
        LOYAL,
        {},
        cooling(Pause.NEGOTIATION),
    ),
    (
        "a prospect's first deal is in negotiation",
        contact(OPEN),
        at(Stage.EXPECTATION),
        {},
        cooling(Pause.NEGOTIATION),
    ),
    (
        "won and lost deals are no negotiation",
        contact(WON, LOST),
        LOYAL,
        {},
        Ready(value=Readiness.ASK_NOW),
    ),
    (
        "the last of ninety days after a repair",
        contact(),
        at(Stage.LOYALTY, repaired_on=date(2024, 3, 6)),
        {},
        cooling(Pause.AFTER_REPAIR, date(2024, 6, 4)),
    ),
    (
        "ninety days after a repair",
        contact(),
        at(Stage.LOYALTY, repaired_on=date(2024, 3, 5)),
        {},
        Ready(value=Readiness.ASK_NOW),
    ),
    (
        "a lock does not shorten the wait after a repair",
        contact(),
        at(Stage.SATISFACTION, repaired_on=date(2024, 5, 6)),
        {"locked": Stage.ENTHUSIASM},
        cooling(Pause.AFTER_REPAIR, date(2024, 8, 4)),
    ),
    (
        "asked a month ago",
        contact(asks=asked(date(2024, 5, 6))),
        LOYAL,
        {},
        cooling(Pause.AFTER_ASK, date(2024, 11, 2)),
    ),
    (
        "asked a month ago, and a referral came of it",
        contact(asks=asked(date(2024, 5, 6)), given=GIVEN),
        LOYAL,
        {},
        cooling(Pause.AFTER_ASK, date(2024, 8, 4)),
    ),
    (
        "asked twice in vain",
        contact(asks=asked(date(2022, 1, 10), date(2023, 1, 9))),
        LOYAL,
        {},
        cooling(Pause.TWO_UNANSWERED),
    ),
    (
        "the task to ask is open: still the moment",
        contact(asks=asked(None)),
        LOYAL,
        {},
        Ready(value=Readiness.ASK_NOW),
    ),
    (
        "a super-referrer is cared for and not asked",
        contact(),
        LOYAL,
        {"tier": Tier.SUPER},
        cooling(Pause.SUPER_REFERRER),
    ),
    (
        "a repeat referrer may be asked",
        contact(),
        LOYAL,
        {"tier": Tier.REPEAT},
        Ready(value=Readiness.ASK_NOW),
    ),
    (
        "no stage, no ask",
        contact(),
        None,
        {},
        Ready(value=Readiness.NOT_YET),
    ),
]


@pytest.mark.parametrize(
    ("case", "assessment", "besides", "expected"),
    [row[1:] for row in BLOCKED],
    ids=[row[0] for row in BLOCKED],
)
def test_what_stands_in_the_way_of_an_ask(
    case: Case, assessment: Assessment | None, besides: dict[str, Any], expected: Ready
) -> None:
    """Each rule by itself, told with its reason and, where time ends it, the day it is over."""
    assert expected == ready_at(case, assessment, **besides)


TWICE = asked(date(2022, 1, 10), date(2023, 1, 9))
LATELY = asked(date(2024, 5, 6))
REPAIRED = date(2024, 5, 6)

# Everything is in the way at once; from row to row what came first is taken away.
PRECEDENCE = [
    (
        contact(WON, OPEN, do_not_ask=True, asks=TWICE),
        at(Stage.NEGATIVE, spiral=COMPLAINT, repaired_on=REPAIRED),
        Ready(value=Readiness.DO_NOT_ASK),
    ),
    (
        contact(WON, OPEN, asks=TWICE),
        at(Stage.NEGATIVE, spiral=COMPLAINT, repaired_on=REPAIRED),
        Ready(value=Readiness.REPAIR_FIRST),
    ),
    (
        contact(WON, OPEN, asks=TWICE),
        at(Stage.LOYALTY, forgiven=COMPLAINT, repaired_on=REPAIRED),
        Ready(value=Readiness.REPAIR_FIRST),
    ),
    (
        contact(WON, OPEN, asks=TWICE),
        at(Stage.LOYALTY, repaired_on=REPAIRED),
        cooling(Pause.NEGOTIATION),
    ),
    (
        contact(asks=TWICE),
        at(Stage.LOYALTY, repaired_on=REPAIRED),
        cooling(Pause.AFTER_REPAIR, date(2024, 8, 4)),
    ),
    (contact(asks=TWICE), LOYAL, cooling(Pause.TWO_UNANSWERED)),
    (contact(asks=LATELY), LOYAL, cooling(Pause.AFTER_ASK, date(2024, 11, 2))),
    (contact(), LOYAL, cooling(Pause.SUPER_REFERRER)),
]


@pytest.mark.parametrize(("case", "assessment", "expected"), PRECEDENCE)
def test_the_first_rule_that_applies_is_told(
    case: Case, assessment: Assessment, expected: Ready
) -> None:
    """do_not_ask, then repair, negotiation, the wait after a repair, the asks, super-referrer."""
    assert expected == ready_at(case, assessment, tier=Tier.SUPER)


def test_an_admin_decides_how_long_to_wait_after_a_repair() -> None:
    """The wait after a repair is the policy's."""
    repaired = at(Stage.LOYALTY, repaired_on=date(2024, 6, 1))
    policy = AskPolicy(wait_after_repair_days=3)

    assert cooling(Pause.AFTER_REPAIR, date(2024, 6, 4)) == readiness(
        contact(), repaired, Stage.LOYALTY, Tier.NONE, policy, TODAY
    )
