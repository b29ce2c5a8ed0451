"""From all that is known about a contact to all that should be true about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from plugin.referral.decision import decide
from plugin.referral.model import (
    Ask,
    AskCandidate,
    Case,
    Complaint,
    Deal,
    Decision,
    Facts,
    GivenReferral,
    MatchOutcome,
    Origin,
    Pause,
    Priority,
    Rating,
    RatingValue,
    Readiness,
    Ready,
    Referral,
    Referrer,
    Stage,
    TaskKind,
    Tier,
    Value,
    WantedTask,
)
from plugin.referral.policy import Policy, TaskPolicy
from plugin.referral.spiral import assess
from tests.referral.scenario import day, deal, evidence, later, rating

TODAY = day("2026-06-01")
POLICY = Policy()

BOUGHT = deal("2025-01-07", won="2025-02-03", crm_id="501", name="Website")
BOUGHT_AGAIN = deal("2025-04-07", won="2025-05-05", crm_id="502")
NEGOTIATING = deal("2026-05-18", crm_id="503")

HAPPY = rating("2025-02-17", "satisfied")
DELIGHTED = rating("2025-03-10", "delighted")
DELIGHTED_AGAIN = rating("2025-06-02", "delighted")
UNHAPPY = rating("2026-05-25", "dissatisfied")
ANGRY = rating("2026-05-26", "angry")

EXPERIENCE = (BOUGHT,)
SYMPATHY = (BOUGHT, BOUGHT_AGAIN, HAPPY)
ENTHUSIASM = (BOUGHT, BOUGHT_AGAIN, DELIGHTED, DELIGHTED_AGAIN)
"""Enthusiasm since 2025-06-02, and so loyalty since 2025-11-29."""
LOYALTY = ENTHUSIASM

ANNA = Referrer(crm_id="12", name="Anna Meyer", owner_id="72")
BEN = Referrer(crm_id="13", name="Ben Vogel", owner_id="73")


def clara(*happened: Deal | Rating | date, **changes: Any) -> Case:
    """Clara Winter (11, owner 71) with all that happened."""
    return Case(
        **{
            "crm_id": "11",
            "name": "Clara Winter",
            "owner_id": "71",
            "origin": Origin.PRESS,
            "evidence": evidence(*happened),
            **changes,
        }
    )


def told(referrer: Referrer | None, position: int = 0) -> Referral:
    text = referrer.name if referrer else "Frau Kaya"
    return Referral(
        text=text,
        text_key=text.lower(),
        position=position,
        outcome=MatchOutcome.LINKED if referrer else MatchOutcome.NONE,
        recorded_on=day("2025-01-07"),
        referrer=referrer,
    )


def gave(referred_id: str, *deals: Deal, on: str = "2025-04-01") -> GivenReferral:
    return GivenReferral(
        referred_id=referred_id, referred_name="", recorded_on=day(on), deals=deals
    )


def asked(*days: str | None) -> tuple[Ask, ...]:
    return tuple(
        Ask(kind=TaskKind.ASK_REFERRAL, cause="", made_on=day(made) if made else None)
        for made in days
    )


def euros(amount: int) -> Value:
    return Value(total=Decimal(amount), currency="EUR")


def kinds(decision: Decision) -> list[TaskKind]:
    return [task.kind for task in decision.tasks]


SENT_AND_WON = gave("21", deal("2025-03-03", won="2025-04-28", crm_id="601", amount=Decimal(1500)))


def test_a_decision_says_all_that_should_be_true() -> None:
    """A loyal customer of old, sent by Anna, who sent somebody herself: thanked for and asked."""
    seen_late = [replace(one, first_seen_on=TODAY) for one in (BOUGHT, BOUGHT_AGAIN)]
    case = clara(
        *seen_late, DELIGHTED, DELIGHTED_AGAIN, referrals=(told(ANNA),), given=(SENT_AND_WON,)
    )
    expected = Decision(
        assessment=assess(case.evidence, POLICY.spiral, TODAY),
        stage=Stage.LOYALTY,
        ready=Ready(value=Readiness.ASK_NOW),
        referrals_given=1,
        referrals_won=1,
        value=euros(1500),
        tier=Tier.ONE_TIME,
        primary_referrer=ANNA,
        tasks=(
            WantedTask(
                kind=TaskKind.THANK_REFERRER,
                causes=("referrer=12",),
                target_id="12",
                owner_id="72",
                also_on=("11",),
                due_working_days=1,
                facts=Facts(
                    name="Clara Winter",
                    on=day("2025-01-07"),
                    referrer_name="Anna Meyer",
                    referred_name="Clara Winter",
                ),
                mentions=("11",),
            ),
        ),
        ask=AskCandidate(
            task=WantedTask(
                kind=TaskKind.ASK_REFERRAL_FIRM,
                causes=("stage=loyalty;since=2025-11-29;asks=0",),
                target_id="11",
                owner_id="71",
                due_working_days=5,
                priority=Priority.HIGH,
                facts=Facts(
                    name="Clara Winter",
                    on=date(2025, 11, 29),
                    stage=Stage.LOYALTY,
                    came_by_referral=True,
                ),
            ),
            order=(0, -5, "2025-11-29", "00000000000000000011"),
        ),
        complaint=None,
        review_on=None,
    )
    assert expected == decide(case, POLICY, TODAY)


def test_an_employee_is_not_scored_but_their_referrals_count() -> None:
    """Neither stage nor task, whatever the evidence; what they sent and won is told."""
    case = clara(
        BOUGHT,
        ANGRY,
        employee=True,
        origin=None,
        referrals=(told(ANNA), told(None, 1)),
        given=(SENT_AND_WON, gave("22"), gave("23")),
        asks=asked("2025-12-01"),
    )
    expected = Decision(
        assessment=None,
        stage=None,
        ready=None,
        referrals_given=3,
        referrals_won=1,
        value=euros(1500),
        tier=Tier.SUPER,
        primary_referrer=ANNA,
        tasks=(),
        ask=None,
        complaint=None,
        review_on=None,
    )
    assert expected == decide(case, POLICY, TODAY)


def test_do_not_ask_hides_the_stage_and_keeps_the_care() -> None:
    """No stage and no ask; thanks, news and the repair of a complaint go on."""
    case = clara(
        BOUGHT,
        ANGRY,
        origin=Origin.RECOMMENDATION,
        do_not_ask=True,
        locked_stage=Stage.LOYALTY,
        referrals=(told(ANNA),),
    )
    decision = decide(case, POLICY, TODAY)

    assert (None, None, Ready(value=Readiness.DO_NOT_ASK), None) == (
        decision.assessment,
        decision.stage,
        decision.ready,
        decision.ask,
    )
    angry = Complaint(grade=RatingValue.ANGRY, ratings=(ANGRY,))
    assert (angry, angry) == (decision.complaint, decision.spiral)
    assert kinds(decision) == [
        TaskKind.THANK_REFERRER,
        TaskKind.TELL_OUTCOME,
        TaskKind.MIND_EXPECTATION,
        TaskKind.REPAIR,
        TaskKind.PROTECT_REFERRER,
    ]


LADDER = [
    ("known, nothing bought", clara(), Stage.EXPECTATION, Readiness.NOT_YET, None),
    (
        "the first deal is in negotiation",
        clara(NEGOTIATING),
        Stage.EXPECTATION,
        Readiness.COOLING_DOWN,
        None,
    ),
    ("bought", clara(*EXPERIENCE), Stage.EXPERIENCE, Readiness.NOT_YET, None),
    (
        "satisfied, and bought again",
        clara(*SYMPATHY),
        Stage.SYMPATHY,
        Readiness.FIRST_MOMENT,
        TaskKind.ASK_REFERRAL_SOFT,
    ),
    (
        "delighted again and again, and loyal by now",
        clara(*LOYALTY),
        Stage.LOYALTY,
        Readiness.ASK_NOW,
        TaskKind.ASK_REFERRAL_FIRM,
    ),
    (
        "loyal, and unhappy for once: forgiven",
        clara(*LOYALTY, UNHAPPY),
        Stage.LOYALTY,
        Readiness.REPAIR_FIRST,
        None,
    ),
    (
        "loyal, and angry",
        clara(*LOYALTY, ANGRY),
        Stage.NEGATIVE,
        Readiness.REPAIR_FIRST,
        None,
    ),
    (
        "angry, but the rep locked a better stage",
        clara(BOUGHT, ANGRY, locked_stage=Stage.ENTHUSIASM),
        Stage.ENTHUSIASM,
        Readiness.REPAIR_FIRST,
        None,
    ),
    (
        "the rep locked a higher stage",
        clara(*EXPERIENCE, locked_stage=Stage.ENTHUSIASM),
        Stage.ENTHUSIASM,
        Readiness.GOOD_MOMENT,
        TaskKind.ASK_REFERRAL,
    ),
    (
        "the rep locked a lower stage",
        clara(*LOYALTY, locked_stage=Stage.SATISFACTION),
        Stage.SATISFACTION,
        Readiness.NOT_YET,
        None,
    ),
    (
        "the rep locked the stage as negative",
        clara(*LOYALTY, locked_stage=Stage.NEGATIVE),
        Stage.NEGATIVE,
        Readiness.REPAIR_FIRST,
        None,
    ),
    (
        "a super-referrer",
        clara(*LOYALTY, given=(SENT_AND_WON, gave("22"), gave("23"))),
        Stage.LOYALTY,
        Readiness.COOLING_DOWN,
        None,
    ),
]


@pytest.mark.parametrize(
    ("case", "stage", "ready", "ask"), [row[1:] for row in LADDER], ids=[row[0] for row in LADDER]
)
def test_stage_readiness_and_ask_go_together(
    case: Case, stage: Stage, ready: Readiness, ask: TaskKind | None
) -> None:
    """Asks follow the stage shown, a complaint goes before them all."""
    decision = decide(case, POLICY, TODAY)

    assert decision.ready is not None
    assert (stage, ready, ask) == (
        decision.stage,
        decision.ready.value,
        decision.ask.task.kind if decision.ask else None,
    )


def test_a_lock_hides_nothing_from_the_explanation() -> None:
    """What the plugin would say, and what there is to repair, follow the evidence."""
    case = clara(BOUGHT, UNHAPPY, ANGRY, locked_stage=Stage.LOYALTY)
    decision = decide(case, POLICY, TODAY)

    assert decision.assessment == assess(case.evidence, POLICY.spiral, TODAY)
    angry = Complaint(grade=RatingValue.ANGRY, ratings=(UNHAPPY, ANGRY))
    assert (angry, angry) == (decision.complaint, decision.spiral)
    assert TaskKind.REPAIR in kinds(decision)


def test_a_forgiven_complaint_is_repaired() -> None:
    """It is no negative spiral, and the repair comes all the same."""
    decision = decide(clara(*LOYALTY, UNHAPPY), POLICY, TODAY)

    forgiven = Complaint(grade=RatingValue.DISSATISFIED, ratings=(UNHAPPY,))
    assert (forgiven, None) == (decision.complaint, decision.spiral)
    assert TaskKind.REPAIR in kinds(decision)


PRIMARY = [
    ("nobody was told", (), None),
    ("the first of two", (told(BEN, 1), told(ANNA, 0)), ANNA),
    ("who may be meant", (replace(told(ANNA), outcome=MatchOutcome.AMBIGUOUS),), None),
    (
        "the first is not found: the second does not take the place",
        (told(None), told(BEN, 1)),
        None,
    ),
]


@pytest.mark.parametrize(
    ("referrals", "expected"), [row[1:] for row in PRIMARY], ids=[row[0] for row in PRIMARY]
)
def test_the_primary_referrer_is_the_first_named(
    referrals: tuple[Referral, ...], expected: Referrer | None
) -> None:
    """The referrer shown at the contact is the first name, once it is matched."""
    assert expected == decide(clara(referrals=referrals), POLICY, TODAY).primary_referrer


# ---------------------------------------------------------------------------- review_on

UNRATED = clara(BOUGHT)
REPAIRED = clara(BOUGHT, ANGRY, rating("2026-05-29", "satisfied"))

REVIEWS = [
    ("nothing is to come", clara(), "2026-06-01", None),
    ("bought: time to ask how it went", UNRATED, "2025-02-03", "2025-02-17"),
    ("the day has come", UNRATED, "2025-02-17", None),
    ("bought and rated", clara(BOUGHT, HAPPY), "2025-02-17", None),
    ("enthusiastic: loyal in half a year", clara(*ENTHUSIASM), "2025-06-02", "2025-11-29"),
    ("repaired: ninety days", REPAIRED, "2026-05-29", "2026-08-27"),
    (
        "asked: unanswered in sixty days",
        clara(*LOYALTY, asks=asked("2026-01-12")),
        "2026-01-12",
        "2026-03-13",
    ),
    (
        "unanswered: the next may follow after half a year",
        clara(*LOYALTY, asks=asked("2026-01-12")),
        "2026-03-13",
        "2026-07-11",
    ),
    (
        "answered: the next may follow after ninety days",
        clara(*LOYALTY, asks=asked("2026-01-12"), given=(gave("21", on="2026-01-20"),)),
        "2026-02-02",
        "2026-04-12",
    ),
    (
        "the second ask: stop in sixty days if unanswered",
        clara(*LOYALTY, asks=asked("2025-06-02", "2026-01-12")),
        "2026-02-02",
        "2026-03-13",
    ),
    (
        "unanswered twice: time mends nothing",
        clara(*LOYALTY, asks=asked("2025-06-02", "2026-01-12")),
        "2026-03-13",
        None,
    ),
    (
        "negotiation goes on for as long as it takes",
        clara(*LOYALTY, NEGOTIATING),
        "2026-06-01",
        None,
    ),
]


@pytest.mark.parametrize(
    ("case", "today", "expected"), [row[1:] for row in REVIEWS], ids=[row[0] for row in REVIEWS]
)
def test_when_a_contact_is_looked_at_again(case: Case, today: str, expected: str | None) -> None:
    """The next day on which time alone may change the decision."""
    review_on = decide(case, POLICY, day(today)).review_on

    assert (day(expected) if expected else None) == review_on


def test_a_check_that_is_switched_off_is_no_reason_to_look_again() -> None:
    """Without the task there is nothing to come."""
    off = Policy(tasks=TaskPolicy(off=frozenset({TaskKind.CHECK_EXPERIENCE})))

    assert decide(UNRATED, off, day("2025-02-03")).review_on is None


EVERYBODY = [
    *((row[0], row[1]) for row in LADDER),
    *((row[0], row[1]) for row in REVIEWS),
    ("do not ask", clara(*LOYALTY, do_not_ask=True)),
    ("an employee", clara(*LOYALTY, employee=True)),
    (
        "much at once",
        clara(
            BOUGHT,
            BOUGHT_AGAIN,
            DELIGHTED,
            rating("2025-03-24", "angry"),
            rating("2025-04-01", "delighted"),
            DELIGHTED_AGAIN,
            referrals=(told(ANNA), told(BEN, 1), told(None, 2)),
            given=(SENT_AND_WON, gave("22", on="2025-10-06")),
            asks=asked("2025-09-01", "2026-03-02", None),
        ),
    ),
]


@pytest.mark.parametrize(
    "case", [row[1] for row in EVERYBODY], ids=[f"{n} {row[0]}" for n, row in enumerate(EVERYBODY)]
)
def test_nothing_changes_before_the_day_of_review(case: Case) -> None:
    """From the day all evidence is in, no decision differs from the day before unless announced."""
    today = latest_evidence(case)
    decision = decide(case, POLICY, today)
    for _ in range(400):
        today += timedelta(days=1)
        announced = decision.review_on == today
        before, decision = decision, decide(case, POLICY, today)
        assert announced or before == decision


def latest_evidence(case: Case) -> date:
    """The last day on which anything happened."""
    happened = [made.made_on for made in case.asks if made.made_on]
    happened += [one.day for one in case.evidence.ratings]
    happened += [one.recorded_on for one in case.given]
    for one in case.evidence.deals:
        happened += [one.opened_on, *filter(None, (one.won_on, one.lost_on))]
    return max(happened, default=TODAY)


@pytest.mark.parametrize(
    "case", [row[1] for row in EVERYBODY], ids=[f"{n} {row[0]}" for n, row in enumerate(EVERYBODY)]
)
def test_neither_order_nor_duplicates_matter(case: Case) -> None:
    """The same facts told backwards, and deals and ratings twice, make the same decision."""
    backwards = replace(
        case,
        evidence=replace(
            case.evidence,
            deals=case.evidence.deals[::-1] * 2,
            ratings=case.evidence.ratings[::-1] * 2,
        ),
        referrals=case.referrals[::-1],
        given=case.given[::-1],
        asks=case.asks[::-1],
    )
    assert decide(case, POLICY, TODAY) == decide(backwards, POLICY, TODAY)


def test_a_pause_is_told_with_its_end() -> None:
    """The wait after a repair, through the whole model."""
    case = clara(*LOYALTY, ANGRY, rating("2026-05-29", "satisfied"))

    expected = Ready(
        value=Readiness.COOLING_DOWN,
        pause=Pause.AFTER_REPAIR,
        until=later("2026-05-29", 90),
    )
    assert expected == decide(case, POLICY, TODAY).ready
