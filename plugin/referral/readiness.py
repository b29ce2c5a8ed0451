"""Readiness: may this contact be asked for a referral today, and if not, why not."""

from __future__ import annotations

from datetime import date, timedelta

from plugin.referral.asks import ask_history, ask_pause
from plugin.referral.model import Assessment, Case, Pause, Readiness, Ready, Stage, Tier
from plugin.referral.policy import AskPolicy

_BY_STAGE = {
    Stage.SYMPATHY: Readiness.FIRST_MOMENT,
    Stage.ENTHUSIASM: Readiness.GOOD_MOMENT,
    Stage.LOYALTY: Readiness.ASK_NOW,
}


def readiness(
    case: Case,
    assessment: Assessment | None,
    stage: Stage | None,
    tier: Tier,
    policy: AskPolicy,
    today: date,
) -> Ready:
    """The first rule that applies: do not ask, repair first, cooling down, then the stage.

    ``assessment`` is what the evidence says, ``stage`` the stage shown (the locked one where a
    rep locked it): a complaint is never hidden by a lock.
    """
    if case.do_not_ask:
        return Ready(value=Readiness.DO_NOT_ASK)
    if stage is Stage.NEGATIVE or (assessment and (assessment.spiral or assessment.forgiven)):
        return Ready(value=Readiness.REPAIR_FIRST)
    pause = _pause(case, assessment, tier, policy, today)
    if pause is not None:
        reason, until = pause
        return Ready(value=Readiness.COOLING_DOWN, pause=reason, until=until)
    return Ready(value=_BY_STAGE.get(stage, Readiness.NOT_YET) if stage else Readiness.NOT_YET)


def _pause(
    case: Case, assessment: Assessment | None, tier: Tier, policy: AskPolicy, today: date
) -> tuple[Pause, date | None] | None:
    if any(deal.is_open for deal in case.evidence.deals):
        return Pause.NEGOTIATION, None
    if assessment and assessment.repaired_on:
        until = assessment.repaired_on + timedelta(days=policy.wait_after_repair_days)
        if today < until:
            return Pause.AFTER_REPAIR, until
    after_asks = ask_pause(ask_history(case.asks, case.given, policy, today), policy, today)
    if after_asks is not None:
        return after_asks
    return (Pause.SUPER_REFERRER, None) if tier is Tier.SUPER else None
