"""The one entry to the model: a contact's case in, what should be true about it out."""

from __future__ import annotations

from datetime import date

from plugin.referral.advocates import Standing, standing
from plugin.referral.asks import ask_history
from plugin.referral.model import (
    Assessment,
    Case,
    Decision,
    MatchOutcome,
    Ready,
    Referrer,
    TaskKind,
)
from plugin.referral.playbook import ask_candidate, check_experience_on, complaint_of, wanted
from plugin.referral.policy import Policy
from plugin.referral.readiness import readiness
from plugin.referral.spiral import assess


def decide(case: Case, policy: Policy, today: date) -> Decision:
    """What should be true about this contact on ``today``, a day in the account's time zone.

    Employees are not scored as customers: only the referrals they gave count. Where
    ``do_not_ask`` is set no stage is shown, but a complaint is repaired all the same.
    """
    advocate = standing(case.given, case.main_currency, policy.tasks)
    if case.employee:
        return _employee(case, advocate)
    assessment = assess(case.evidence, policy.spiral, today)
    stage = None if case.do_not_ask else case.locked_stage or assessment.stage
    ready = readiness(case, assessment, stage, advocate.tier, policy.asks, today)
    return Decision(
        assessment=None if case.do_not_ask else assessment,
        stage=stage,
        ready=ready,
        referrals_given=advocate.given,
        referrals_won=advocate.won,
        value=advocate.value,
        tier=advocate.tier,
        primary_referrer=_primary_referrer(case),
        tasks=wanted(case, assessment, advocate, policy.tasks, today),
        ask=ask_candidate(case, assessment, stage, ready, policy.tasks),
        complaint=complaint_of(assessment),
        spiral=assessment.spiral,
        review_on=_review_on(case, assessment, ready, policy, today),
    )


def _employee(case: Case, advocate: Standing) -> Decision:
    return Decision(
        assessment=None,
        stage=None,
        ready=None,
        referrals_given=advocate.given,
        referrals_won=advocate.won,
        value=advocate.value,
        tier=advocate.tier,
        primary_referrer=_primary_referrer(case),
        tasks=(),
        ask=None,
        complaint=None,
        review_on=None,
    )


def _primary_referrer(case: Case) -> Referrer | None:
    """The first one named, once matched; a second name never takes that place."""
    return next(
        (
            referral.referrer
            for referral in case.referrals
            if referral.position == 0 and referral.outcome is MatchOutcome.LINKED
        ),
        None,
    )


def _review_on(
    case: Case, assessment: Assessment, ready: Ready, policy: Policy, today: date
) -> date | None:
    """The next day on which the same case may be decided otherwise."""
    history = ask_history(case.asks, case.given, policy.asks, today)
    days = [assessment.changes_on, ready.until, history.next_unanswered_on]
    if TaskKind.CHECK_EXPERIENCE not in policy.tasks.off:
        days.append(check_experience_on(case, assessment, policy.tasks))
    return min((day for day in days if day and day > today), default=None)
