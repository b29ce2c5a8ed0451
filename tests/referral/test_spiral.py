"""The spiral as tables: what happened to a contact, and where it stands then, since when, why.

Every contact is known since 2025-01-01 and looked at on 2025-06-30, unless the row says otherwise.
"""

from __future__ import annotations

from datetime import date

import pytest

from plugin.referral.model import (
    Assessment,
    Because,
    Complaint,
    Deal,
    Evidence,
    Missing,
    Need,
    Rating,
    RatingValue,
    Stage,
    Step,
)
from plugin.referral.policy import SpiralPolicy
from plugin.referral.spiral import assess
from tests.referral.scenario import (
    ANGRY,
    DELIGHTED,
    DISSATISFIED,
    POLICY,
    SATISFIED,
    day,
    deal,
    evidence,
    later,
    rating,
    referral,
)

TODAY = "2025-06-30"

Happened = list[Deal | Rating | date]

# The story most rows begin with. Each line is one stage higher than the one before.
BOUGHT = deal("2025-01-05", "2025-02-01", crm_id="1")
HAPPY = rating("2025-02-10", DELIGHTED)
WANTS_MORE = deal("2025-02-15", crm_id="2")
HAPPY_AGAIN = rating("2025-03-01", DELIGHTED)
RECOMMENDED_US = referral("2025-03-10")

NOBODY: Happened = []
BUYER: Happened = [BOUGHT]
CONTENT: Happened = [*BUYER, HAPPY]
SYMPATHETIC: Happened = [*CONTENT, WANTS_MORE]
ENTHUSIASTIC: Happened = [*SYMPATHETIC, HAPPY_AGAIN]
LOYAL: Happened = [*ENTHUSIASTIC, RECOMMENDED_US]


def look(happened: Happened, today: str = TODAY, policy: SpiralPolicy = POLICY) -> Assessment:
    return assess(evidence(*happened), policy, day(today))


def told(assessment: Assessment) -> list[str]:
    """The record of a contact, one line a step."""
    return [f"{step.on} {step.stage}: {step.because}" for step in assessment.steps]


# Columns: what happened | stage | since | why
CLIMBING = [
    pytest.param(
        NOBODY, "expectation", "2025-01-01", "known", id="Known and nothing bought: expectation."
    ),
    pytest.param(
        [deal("2025-01-05")],
        *("expectation", "2025-01-01", "known"),
        id="A deal that is only open: still expectation.",
    ),
    pytest.param(
        [deal("2025-01-05", lost="2025-02-01")],
        *("expectation", "2025-01-01", "known"),
        id="A lost deal moves nothing.",
    ),
    pytest.param(
        [deal("2024-11-05")],
        *("expectation", "2024-11-05", "known"),
        id="Evidence older than the contact record: known since then.",
    ),
    pytest.param(
        [rating("2024-12-05", SATISFIED)],
        *("expectation", "2024-12-05", "known"),
        id="A positive rating before the first purchase moves nothing.",
    ),
    pytest.param(
        [referral("2025-01-10")],
        *("expectation", "2025-01-01", "known"),
        id="A referral given by somebody who never bought moves nothing yet.",
    ),
    pytest.param(
        BUYER,
        *("experience", "2025-02-01", "first_purchase"),
        id="The first deal won: experience, since the day it was won.",
    ),
    pytest.param(
        [deal("2025-01-02", "2025-04-01"), deal("2025-03-01", "2025-03-10")],
        *("sympathy", "2025-04-01", "further_purchase"),
        id="The first purchase is the deal won earliest, not the one opened first.",
    ),
    pytest.param(
        [BOUGHT, deal("2025-01-20", "2025-02-01")],
        *("experience", "2025-02-01", "first_purchase"),
        id="Deals won on one day are one purchase.",
    ),
    pytest.param(
        [deal("2025-01-05")],
        *("expectation", "2025-01-01", "known"),
        id="A deal won and un-won takes its evidence with it: only an open deal is left.",
    ),
    pytest.param(
        [rating("2025-01-20", SATISFIED), BOUGHT],
        *("experience", "2025-02-01", "first_purchase"),
        id="A positive rating before the purchase does not satisfy after it.",
    ),
    pytest.param(
        [BOUGHT, rating("2025-02-10", SATISFIED)],
        *("satisfaction", "2025-02-10", "positive_rating"),
        id="Rated satisfied after a purchase: satisfaction.",
    ),
    pytest.param(
        CONTENT,
        *("satisfaction", "2025-02-10", "positive_rating"),
        id="Rated delighted after a purchase: satisfaction too, no stage is skipped.",
    ),
    pytest.param(
        [BOUGHT, rating("2025-02-01", SATISFIED)],
        *("satisfaction", "2025-02-01", "positive_rating"),
        id="A rating on the day of the first purchase counts as after it.",
    ),
    pytest.param(
        [*CONTENT, rating("2025-02-23", SATISFIED)],
        *("satisfaction", "2025-02-10", "positive_rating"),
        id="A second positive rating 13 days after the first is no wish for more.",
    ),
    pytest.param(
        [*CONTENT, rating("2025-02-24", SATISFIED)],
        *("sympathy", "2025-02-24", "second_positive_rating"),
        id="A second positive rating 14 days after the first: sympathy.",
    ),
    pytest.param(
        [*CONTENT, rating("2025-02-20", SATISFIED), rating("2025-02-25", SATISFIED)],
        *("sympathy", "2025-02-25", "second_positive_rating"),
        id="The 14 days run from the first positive rating, whatever was said between.",
    ),
    pytest.param(
        [rating("2025-01-10", SATISFIED), BOUGHT, rating("2025-02-03", SATISFIED)],
        *("satisfaction", "2025-02-03", "positive_rating"),
        id="The 14 days do not run from a rating before the first purchase.",
    ),
    pytest.param(
        SYMPATHETIC,
        *("sympathy", "2025-02-15", "further_deal_opened"),
        id="Satisfied and a further deal opened: sympathy.",
    ),
    pytest.param(
        [*CONTENT, deal("2025-02-15", lost="2025-03-01")],
        *("sympathy", "2025-02-15", "further_deal_opened"),
        id="A further deal opened and then lost was a wish all the same: sympathy stays.",
    ),
    pytest.param(
        [*CONTENT, deal("2025-02-01")],
        *("satisfaction", "2025-02-10", "positive_rating"),
        id="A deal opened on the day of the first purchase is not a further one.",
    ),
    pytest.param(
        [*CONTENT, deal("2025-01-10", lost="2025-03-01")],
        *("satisfaction", "2025-02-10", "positive_rating"),
        id="A deal opened before the first purchase and lost after it is no further wish.",
    ),
    pytest.param(
        [*CONTENT, deal("2025-01-10", "2025-03-01")],
        *("sympathy", "2025-03-01", "further_purchase"),
        id="A deal opened before the first purchase counts from the day it is won.",
    ),
    pytest.param(
        [BOUGHT, deal("2025-02-05"), rating("2025-02-10", SATISFIED)],
        *("sympathy", "2025-02-10", "further_deal_opened"),
        id="The wish may come before the satisfaction: sympathy on the day both are true.",
    ),
    pytest.param(
        [BOUGHT, deal("2025-02-05")],
        *("experience", "2025-02-01", "first_purchase"),
        id="A further deal opened without any satisfaction: still experience.",
    ),
    pytest.param(
        [BOUGHT, deal("2025-02-20", "2025-03-01")],
        *("sympathy", "2025-03-01", "further_purchase"),
        id="A further purchase with no rating on file implies satisfaction, and sympathy.",
    ),
    pytest.param(
        [BOUGHT, deal("2025-02-20", "2025-03-01"), rating("2025-03-05", SATISFIED)],
        *("sympathy", "2025-03-01", "further_purchase"),
        id="A first rating that comes later does not undo the implied satisfaction.",
    ),
    pytest.param(
        [rating("2025-01-20", SATISFIED), BOUGHT, deal("2025-02-20", "2025-03-01")],
        *("sympathy", "2025-03-01", "further_purchase"),
        id="A rating before the first purchase is not on file for what is implied.",
    ),
    pytest.param(
        [BOUGHT, rating("2025-02-20", ANGRY), deal("2025-02-20", "2025-03-01")],
        *("negative", "2025-02-20", "negative_rating"),
        id="A further purchase implies nothing where a rating says otherwise.",
    ),
    pytest.param(
        [BOUGHT, deal("2025-02-20", "2025-03-01"), rating("2025-03-01", DISSATISFIED)],
        *("negative", "2025-03-01", "negative_rating"),
        id="On one day the purchase is looked at before the rating.",
    ),
    pytest.param(
        ENTHUSIASTIC,
        *("enthusiasm", "2025-03-01", "delighted_again"),
        id="Sympathy and two delighted ratings on different days: enthusiasm.",
    ),
    pytest.param(
        [*SYMPATHETIC, rating("2025-03-01", SATISFIED)],
        *("sympathy", "2025-02-15", "further_deal_opened"),
        id="Satisfied again is not delighted again.",
    ),
    pytest.param(
        [*SYMPATHETIC, rating("2025-02-10", DELIGHTED, recorded="2025-02-12")],
        *("sympathy", "2025-02-15", "further_deal_opened"),
        id="Two delighted ratings about one day are one.",
    ),
    pytest.param(
        [*SYMPATHETIC, HAPPY_AGAIN, rating("2025-03-01", SATISFIED, recorded="2025-03-02")],
        *("sympathy", "2025-02-15", "further_deal_opened"),
        id="Of two ratings about one day the one recorded last counts.",
    ),
    pytest.param(
        [*CONTENT, rating("2025-02-12", DELIGHTED)],
        *("satisfaction", "2025-02-10", "positive_rating"),
        id="Two delighted ratings without a wish for more: no enthusiasm before sympathy.",
    ),
    pytest.param(
        [*CONTENT, rating("2025-02-12", DELIGHTED), deal("2025-02-15")],
        *("enthusiasm", "2025-02-15", "delighted_again"),
        id="Delighted twice before the wish: enthusiasm on the day of sympathy.",
    ),
    pytest.param(
        [rating("2025-01-20", DELIGHTED), *SYMPATHETIC],
        *("sympathy", "2025-02-15", "further_deal_opened"),
        id="Delight before the first purchase does not count for enthusiasm.",
    ),
    pytest.param(
        LOYAL,
        *("loyalty", "2025-03-10", "referral_given"),
        id="Enthusiasm and then a referral given: loyalty on the day of the referral.",
    ),
    pytest.param(
        [*ENTHUSIASTIC, referral("2025-01-20")],
        *("loyalty", "2025-03-01", "referral_given"),
        id="A referral given earlier: loyalty on the day of enthusiasm.",
    ),
    pytest.param(
        [*SYMPATHETIC, RECOMMENDED_US],
        *("sympathy", "2025-02-15", "further_deal_opened"),
        id="A referral given does not replace enthusiasm.",
    ),
]

# Columns: what happened | stage | since | why
FALLING = [
    pytest.param(
        [rating("2025-01-20", DISSATISFIED)],
        *("negative", "2025-01-20", "negative_rating"),
        id="A negative rating before any purchase starts the negative spiral.",
    ),
    pytest.param(
        [*BUYER, rating("2025-02-10", ANGRY)],
        *("negative", "2025-02-10", "negative_rating"),
        id="Angry at experience: negative spiral.",
    ),
    pytest.param(
        [*BUYER, rating("2025-02-01", DISSATISFIED)],
        *("negative", "2025-02-01", "negative_rating"),
        id="Dissatisfied on the day of the first purchase: after it, so negative spiral.",
    ),
    pytest.param(
        [*CONTENT, rating("2025-03-20", DISSATISFIED)],
        *("negative", "2025-03-20", "negative_rating"),
        id="Dissatisfied at satisfaction: negative spiral.",
    ),
    pytest.param(
        [*SYMPATHETIC, rating("2025-03-20", DISSATISFIED)],
        *("negative", "2025-03-20", "negative_rating"),
        id="Dissatisfied at sympathy: negative spiral.",
    ),
    pytest.param(
        [*ENTHUSIASTIC, rating("2025-03-20", DISSATISFIED)],
        *("negative", "2025-03-20", "negative_rating"),
        id="Dissatisfied at enthusiasm: negative spiral, only loyalty forgives.",
    ),
    pytest.param(
        [*BUYER, rating("2025-02-10", DISSATISFIED), rating("2025-02-20", ANGRY)],
        *("negative", "2025-02-10", "negative_rating"),
        id="A second complaint in the spiral: still the same spiral, since its first day.",
    ),
    pytest.param(
        [*BUYER, rating("2025-02-10", ANGRY), deal("2025-02-20", "2025-03-01")],
        *("negative", "2025-02-10", "negative_rating"),
        id="Buying again does not end the negative spiral.",
    ),
    pytest.param(
        [rating("2025-01-20", ANGRY), BOUGHT],
        *("negative", "2025-01-20", "negative_rating"),
        id="A first purchase does not end the negative spiral either.",
    ),
    pytest.param(
        [*BUYER, rating("2025-02-10", ANGRY), RECOMMENDED_US],
        *("negative", "2025-02-10", "negative_rating"),
        id="A referral given does not end the negative spiral.",
    ),
    pytest.param(
        [*LOYAL, rating("2025-03-20", DISSATISFIED)],
        *("loyalty", "2025-03-10", "referral_given"),
        id="A first dissatisfied at loyalty is forgiven: the stage stays.",
    ),
    pytest.param(
        [*LOYAL, rating("2025-03-20", ANGRY)],
        *("negative", "2025-03-20", "negative_rating"),
        id="Angry at loyalty is never forgiven.",
    ),
    pytest.param(
        [*LOYAL, rating("2025-03-20", DISSATISFIED), rating("2025-04-01", DISSATISFIED)],
        *("negative", "2025-04-01", "second_dissatisfied"),
        id="A second dissatisfied without a positive one between: negative spiral.",
    ),
    pytest.param(
        [*LOYAL, rating("2025-03-20", DISSATISFIED), rating("2025-04-01", ANGRY)],
        *("negative", "2025-04-01", "negative_rating"),
        id="Angry after a forgiven dissatisfied: negative spiral.",
    ),
    pytest.param(
        [
            *LOYAL,
            rating("2025-03-20", DISSATISFIED),
            rating("2025-03-25", SATISFIED),
            rating("2025-04-01", DISSATISFIED),
        ],
        *("loyalty", "2025-03-10", "referral_given"),
        id="A positive rating between makes the next dissatisfied a first one again.",
    ),
    pytest.param(
        [*ENTHUSIASTIC, rating("2025-03-10", DISSATISFIED), RECOMMENDED_US],
        *("negative", "2025-03-10", "negative_rating"),
        id="On one day the rating is looked at before the referral given.",
    ),
]

ANGERED: Happened = [*ENTHUSIASTIC, rating("2025-03-20", ANGRY)]
REPAIRED: Happened = [*ANGERED, rating("2025-04-01", DELIGHTED)]

# Columns: what happened | stage | since | why
REPAIRING = [
    pytest.param(
        [rating("2025-01-10", ANGRY), rating("2025-01-20", SATISFIED)],
        *("expectation", "2025-01-20", "repaired"),
        id="Repaired before anything was bought: back to expectation.",
    ),
    pytest.param(
        [*BUYER, rating("2025-02-10", ANGRY), rating("2025-02-20", SATISFIED)],
        *("satisfaction", "2025-02-20", "repaired"),
        id="Repaired after a purchase: satisfaction.",
    ),
    pytest.param(
        [rating("2025-01-10", ANGRY), BOUGHT, rating("2025-02-20", SATISFIED)],
        *("satisfaction", "2025-02-20", "repaired"),
        id="First bought while negative, then repaired: satisfaction.",
    ),
    pytest.param(
        [rating("2025-01-10", ANGRY), BOUGHT, rating("2025-02-01", SATISFIED)],
        *("satisfaction", "2025-02-01", "repaired"),
        id="Bought and repaired on one day: satisfaction.",
    ),
    pytest.param(
        REPAIRED,
        *("satisfaction", "2025-04-01", "repaired"),
        id="A good repair lifts nobody higher: enthusiasm is to be earned again.",
    ),
    pytest.param(
        [*LOYAL, rating("2025-03-20", ANGRY), rating("2025-04-01", DELIGHTED)],
        *("satisfaction", "2025-04-01", "repaired"),
        id="Repaired after loyalty: satisfaction as for everybody.",
    ),
    pytest.param(
        [*ANGERED, deal("2025-03-25", "2025-03-28"), rating("2025-04-01", SATISFIED)],
        *("satisfaction", "2025-04-01", "repaired"),
        id="A deal opened and won during the spiral is no wish after the repair.",
    ),
    pytest.param(
        [*REPAIRED, deal("2025-04-01")],
        *("satisfaction", "2025-04-01", "repaired"),
        id="A deal opened on the day of the repair is not after it.",
    ),
    pytest.param(
        [*REPAIRED, deal("2025-03-01", "2025-04-01")],
        *("satisfaction", "2025-04-01", "repaired"),
        id="A deal won on the day of the repair is not after it.",
    ),
    pytest.param(
        [*REPAIRED, deal("2025-04-02")],
        *("sympathy", "2025-04-02", "further_deal_opened"),
        id="A further deal opened after the repair: sympathy.",
    ),
    pytest.param(
        [*REPAIRED, deal("2025-03-25", "2025-04-02")],
        *("sympathy", "2025-04-02", "further_purchase"),
        id="A deal opened during the spiral and won after the repair: sympathy.",
    ),
    pytest.param(
        [*REPAIRED, rating("2025-04-14", SATISFIED)],
        *("satisfaction", "2025-04-01", "repaired"),
        id="A positive rating 13 days after the repair is no wish for more.",
    ),
    pytest.param(
        [*REPAIRED, rating("2025-04-15", SATISFIED)],
        *("sympathy", "2025-04-15", "second_positive_rating"),
        id="The rating that ended the spiral is the first: a second 14 days on is sympathy.",
    ),
    pytest.param(
        [*REPAIRED, deal("2025-04-05"), rating("2025-04-10", DELIGHTED)],
        *("enthusiasm", "2025-04-10", "delighted_again"),
        id="A repair that delighted is the first delight of the new count.",
    ),
    pytest.param(
        [
            *ANGERED,
            rating("2025-04-01", SATISFIED),
            deal("2025-04-05"),
            rating("2025-04-10", DELIGHTED),
        ],
        *("sympathy", "2025-04-05", "further_deal_opened"),
        id="Delight counts from zero again after a repair.",
    ),
    pytest.param(
        [rating("2025-01-10", ANGRY), rating("2025-01-20", DELIGHTED), BOUGHT, WANTS_MORE, HAPPY],
        *("sympathy", "2025-02-15", "further_deal_opened"),
        id="Repaired before the first purchase: the count begins at the purchase.",
    ),
    pytest.param(
        [rating("2025-01-10", ANGRY), BOUGHT, rating("2025-02-05", SATISFIED), WANTS_MORE],
        *("sympathy", "2025-02-15", "further_deal_opened"),
        id="First bought while negative: a deal opened after the repair is a further one.",
    ),
    pytest.param(
        [*REPAIRED, rating("2025-04-10", DISSATISFIED)],
        *("negative", "2025-04-10", "negative_rating"),
        id="A new complaint after a repair is a new negative spiral.",
    ),
]


@pytest.mark.parametrize(("happened", "stage", "since", "why"), CLIMBING + FALLING + REPAIRING)
def test_where_a_contact_stands(happened: Happened, stage: str, since: str, why: str) -> None:
    """What happened decides the stage, the day it was reached and the reason."""
    found = look(happened)
    last = found.steps[-1]
    assert (found.stage, found.since) == (Stage(stage), day(since))
    assert (last.stage, last.on, last.because) == (Stage(stage), day(since), Because(why))


# Columns: looked at on | stage | since | why
BY_TIME = [
    pytest.param(
        later("2025-03-01", 179),
        *("enthusiasm", later("2025-03-01", 0), "delighted_again"),
        id="Enthusiasm held for 179 days: not yet.",
    ),
    pytest.param(
        later("2025-03-01", 180),
        *("loyalty", later("2025-03-01", 180), "held_long"),
        id="Enthusiasm held for 180 days: loyalty on that day.",
    ),
    pytest.param(
        later("2025-03-01", 400),
        *("loyalty", later("2025-03-01", 180), "held_long"),
        id="Looked at much later: loyalty since the day it was due, not since today.",
    ),
]


@pytest.mark.parametrize(("today", "stage", "since", "why"), BY_TIME)
def test_loyalty_by_time(today: date, stage: str, since: date, why: str) -> None:
    """Nothing has to happen for loyalty but 180 days without a negative rating."""
    last = look(ENTHUSIASTIC, today.isoformat()).steps[-1]
    assert (last.stage, last.on, last.because) == (Stage(stage), since, Because(why))


# Columns: what happened | the whole record, one line a step
RECORDS = [
    pytest.param(
        LOYAL,
        [
            "2025-01-01 expectation: known",
            "2025-02-01 experience: first_purchase",
            "2025-02-10 satisfaction: positive_rating",
            "2025-02-15 sympathy: further_deal_opened",
            "2025-03-01 enthusiasm: delighted_again",
            "2025-03-10 loyalty: referral_given",
        ],
        id="Stages are climbed in order of evidence, one at a time.",
    ),
    pytest.param(
        [
            deal("2025-01-05", "2025-02-01"),
            deal("2025-02-02", "2025-03-01"),
            rating("2025-03-01", DELIGHTED),
            rating("2025-03-02", DELIGHTED),
            referral("2025-02-20"),
        ],
        [
            "2025-01-01 expectation: known",
            "2025-02-01 experience: first_purchase",
            "2025-03-01 satisfaction: repeat_purchase_implies",
            "2025-03-01 sympathy: further_purchase",
            "2025-03-02 enthusiasm: delighted_again",
            "2025-03-02 loyalty: referral_given",
        ],
        id="Several stages may be climbed on one day, and none is skipped.",
    ),
    pytest.param(
        [BOUGHT, deal("2025-02-05"), rating("2025-02-10", SATISFIED)],
        [
            "2025-01-01 expectation: known",
            "2025-02-01 experience: first_purchase",
            "2025-02-10 satisfaction: positive_rating",
            "2025-02-10 sympathy: further_deal_opened",
        ],
        id="A wish that came first is recorded once satisfaction is there.",
    ),
    pytest.param(
        [BOUGHT, deal("2025-02-05", "2025-02-20"), rating("2025-03-01", SATISFIED)],
        [
            "2025-01-01 expectation: known",
            "2025-02-01 experience: first_purchase",
            "2025-02-20 satisfaction: repeat_purchase_implies",
            "2025-02-20 sympathy: further_purchase",
        ],
        id="A deal opened and then won with no rating: the purchase tells both stages.",
    ),
    pytest.param(
        REPAIRED,
        [
            "2025-01-01 expectation: known",
            "2025-02-01 experience: first_purchase",
            "2025-02-10 satisfaction: positive_rating",
            "2025-02-15 sympathy: further_deal_opened",
            "2025-03-01 enthusiasm: delighted_again",
            "2025-03-20 negative: negative_rating",
            "2025-04-01 satisfaction: repaired",
        ],
        id="The way into the negative spiral and out of it is on record.",
    ),
    pytest.param(
        [*LOYAL, rating("2025-03-20", DISSATISFIED), rating("2025-04-01", DISSATISFIED)],
        [
            "2025-01-01 expectation: known",
            "2025-02-01 experience: first_purchase",
            "2025-02-10 satisfaction: positive_rating",
            "2025-02-15 sympathy: further_deal_opened",
            "2025-03-01 enthusiasm: delighted_again",
            "2025-03-10 loyalty: referral_given",
            "2025-04-01 negative: second_dissatisfied",
        ],
        id="What was forgiven is no step; the second one is.",
    ),
    pytest.param(
        [*REPAIRED, deal("2025-04-02"), rating("2025-04-20", DELIGHTED), RECOMMENDED_US],
        [
            "2025-01-01 expectation: known",
            "2025-02-01 experience: first_purchase",
            "2025-02-10 satisfaction: positive_rating",
            "2025-02-15 sympathy: further_deal_opened",
            "2025-03-01 enthusiasm: delighted_again",
            "2025-03-10 loyalty: referral_given",
            "2025-03-20 negative: negative_rating",
            "2025-04-01 satisfaction: repaired",
            "2025-04-02 sympathy: further_deal_opened",
            "2025-04-20 enthusiasm: delighted_again",
            "2025-04-20 loyalty: referral_given",
        ],
        id="A referral once given binds after a repair too, as soon as enthusiasm is back.",
    ),
    pytest.param(
        [rating("2025-01-10", ANGRY), rating("2025-01-20", SATISFIED), BOUGHT],
        [
            "2025-01-01 expectation: known",
            "2025-01-10 negative: negative_rating",
            "2025-01-20 expectation: repaired",
            "2025-02-01 experience: first_purchase",
        ],
        id="Repaired before the first purchase: the ladder begins at its foot.",
    ),
]


@pytest.mark.parametrize(("happened", "record"), RECORDS)
def test_the_record_of_stages(happened: Happened, record: list[str]) -> None:
    """Every entry of a stage is on record, with its day and reason."""
    assert told(look(happened)) == record


# Columns: what happened | what is missing for the next stage
MISSING = [
    pytest.param(
        NOBODY, Missing(need=Need.FIRST_PURCHASE), id="At expectation: the first purchase."
    ),
    pytest.param(BUYER, Missing(need=Need.POSITIVE_RATING), id="At experience: a positive rating."),
    pytest.param(
        CONTENT,
        Missing(need=Need.FURTHER_DEAL_OR_RATING, earliest=day("2025-02-24")),
        id="At satisfaction: a further deal, or a rating 14 days after the first.",
    ),
    pytest.param(
        REPAIRED,
        Missing(need=Need.FURTHER_DEAL_OR_RATING, earliest=day("2025-04-15")),
        id="After a repair: the 14 days run from the rating that ended the spiral.",
    ),
    pytest.param(
        SYMPATHETIC,
        Missing(need=Need.DELIGHT, count=1),
        id="At sympathy, delighted once: one delight more.",
    ),
    pytest.param(
        [BOUGHT, deal("2025-02-20", "2025-03-01")],
        Missing(need=Need.DELIGHT, count=2),
        id="At sympathy, never delighted: two delights.",
    ),
    pytest.param(
        ENTHUSIASTIC,
        Missing(need=Need.TIME_OR_REFERRAL, earliest=later("2025-03-01", 180)),
        id="At enthusiasm: a referral, or time until the 180 days are over.",
    ),
    pytest.param(LOYAL, Missing(need=Need.NOTHING), id="At loyalty: nothing."),
    pytest.param(ANGERED, Missing(need=Need.REPAIR), id="In the negative spiral: repair."),
]


@pytest.mark.parametrize(("happened", "expected"), MISSING)
def test_what_is_missing(happened: Happened, expected: Missing) -> None:
    """Each stage says what the next one needs."""
    assert look(happened).missing == expected


def complaint(grade: RatingValue, *ratings: Rating) -> Complaint:
    return Complaint(grade=grade, ratings=ratings)


FIRST_COMPLAINT = rating("2025-03-20", DISSATISFIED)
SECOND_COMPLAINT = rating("2025-04-01", DISSATISFIED)
OUTBURST = rating("2025-04-05", ANGRY)
GOOD_AGAIN = rating("2025-04-10", SATISFIED)

# Columns: what happened | open negative spiral | forgiven complaint | last repair
COMPLAINTS = [
    pytest.param(ENTHUSIASTIC, None, None, None, id="No complaint: nothing open."),
    pytest.param(
        [*BUYER, FIRST_COMPLAINT],
        complaint(DISSATISFIED, FIRST_COMPLAINT),
        *(None, None),
        id="The milder grade of the spiral: dissatisfied.",
    ),
    pytest.param(
        [*BUYER, OUTBURST],
        complaint(ANGRY, OUTBURST),
        *(None, None),
        id="The worse grade of the spiral: angry.",
    ),
    pytest.param(
        [*BUYER, FIRST_COMPLAINT, SECOND_COMPLAINT, OUTBURST],
        complaint(ANGRY, FIRST_COMPLAINT, SECOND_COMPLAINT, OUTBURST),
        *(None, None),
        id="All complaints of one spiral are one, with the worst grade.",
    ),
    pytest.param(
        [*BUYER, rating("2025-03-01", ANGRY), FIRST_COMPLAINT],
        complaint(ANGRY, rating("2025-03-01", ANGRY), FIRST_COMPLAINT),
        *(None, None),
        id="A milder word later does not soften the grade.",
    ),
    pytest.param(
        [*BUYER, FIRST_COMPLAINT, OUTBURST, GOOD_AGAIN],
        *(None, None),
        day("2025-04-10"),
        id="A positive rating ends the spiral; the day is kept for the waiting time.",
    ),
    pytest.param(
        [*BUYER, FIRST_COMPLAINT, GOOD_AGAIN, rating("2025-05-01", DISSATISFIED)],
        complaint(DISSATISFIED, rating("2025-05-01", DISSATISFIED)),
        None,
        day("2025-04-10"),
        id="A new spiral has its own complaints only.",
    ),
    pytest.param(
        [*LOYAL, FIRST_COMPLAINT],
        None,
        complaint(DISSATISFIED, FIRST_COMPLAINT),
        None,
        id="A forgiven dissatisfied is open until made good, without a spiral.",
    ),
    pytest.param(
        [*LOYAL, FIRST_COMPLAINT, GOOD_AGAIN],
        *(None, None, None),
        id="Made good by a positive rating: nothing open, and there was no spiral to repair.",
    ),
    pytest.param(
        [*LOYAL, FIRST_COMPLAINT, SECOND_COMPLAINT],
        complaint(DISSATISFIED, SECOND_COMPLAINT),
        *(None, None),
        id="The spiral of a second dissatisfied begins with the second one.",
    ),
    pytest.param(
        [*LOYAL, FIRST_COMPLAINT, GOOD_AGAIN, rating("2025-05-01", DISSATISFIED)],
        None,
        complaint(DISSATISFIED, rating("2025-05-01", DISSATISFIED)),
        None,
        id="After having been made good the next dissatisfied is forgiven anew.",
    ),
    pytest.param(
        [*LOYAL, OUTBURST],
        complaint(ANGRY, OUTBURST),
        *(None, None),
        id="Angry at loyalty is a spiral, nothing is forgiven.",
    ),
]


@pytest.mark.parametrize(("happened", "spiral", "forgiven", "repaired_on"), COMPLAINTS)
def test_open_complaints(
    happened: Happened,
    spiral: Complaint | None,
    forgiven: Complaint | None,
    repaired_on: date | None,
) -> None:
    """What is to be repaired, what was forgiven, and when the last spiral ended."""
    found = look(happened)
    assert (found.spiral, found.forgiven, found.repaired_on) == (spiral, forgiven, repaired_on)


def test_a_complaint_on_the_day_loyalty_begins_is_forgiven() -> None:
    """What time brings comes first on a day."""
    complained = rating("2025-08-28", DISSATISFIED)
    found = look([*ENTHUSIASTIC, complained], "2025-08-28")
    assert (found.stage, found.forgiven) == (
        Stage.LOYALTY,
        Complaint(grade=DISSATISFIED, ratings=(complained,)),
    )


def test_a_complaint_on_the_day_before_loyalty_is_not_forgiven() -> None:
    """Enthusiasm must be held for the whole time."""
    found = look([*ENTHUSIASTIC, rating("2025-08-27", DISSATISFIED)], "2025-12-31")
    assert (found.stage, found.since) == (Stage.NEGATIVE, day("2025-08-27"))


# Columns: what happened | looked at on | the next day on which time alone changes something
TO_COME = [
    pytest.param(CONTENT, TODAY, None, id="Nothing to come: time alone changes nothing."),
    pytest.param(ENTHUSIASTIC, TODAY, "2025-08-28", id="At enthusiasm: the day of loyalty."),
    pytest.param(ENTHUSIASTIC, "2025-08-27", "2025-08-28", id="The eve of loyalty."),
    pytest.param(ENTHUSIASTIC, "2025-08-28", None, id="Once loyal, nothing more comes by time."),
    pytest.param(LOYAL, TODAY, None, id="Loyal by a referral: nothing more comes by time."),
    pytest.param(
        [*BUYER, rating("2025-07-20", SATISFIED)],
        TODAY,
        "2025-07-20",
        id="A rating dated in the future counts from its day.",
    ),
    pytest.param(
        [*ENTHUSIASTIC, rating("2025-07-20", ANGRY), referral("2025-07-10")],
        TODAY,
        "2025-07-10",
        id="Of several days to come the first one.",
    ),
    pytest.param(
        [deal("2025-01-05", "2025-07-05")],
        TODAY,
        "2025-07-05",
        id="A deal won in the future is bought on that day.",
    ),
    pytest.param(
        [*CONTENT, deal("2025-07-05")],
        TODAY,
        "2025-07-05",
        id="A deal opened in the future is a wish on that day.",
    ),
]


@pytest.mark.parametrize(("happened", "today", "expected"), TO_COME)
def test_when_time_changes_something(happened: Happened, today: str, expected: str | None) -> None:
    """The day on which the contact has to be looked at again, though nothing was told."""
    assert look(happened, today).changes_on == (day(expected) if expected else None)


@pytest.mark.parametrize(
    ("happened", "stage"),
    [
        pytest.param([deal("2025-01-05", "2025-07-05")], "expectation", id="A purchase."),
        pytest.param([*BUYER, rating("2025-07-05", ANGRY)], "experience", id="A complaint."),
        pytest.param([*CONTENT, deal("2025-07-05")], "satisfaction", id="A deal opened."),
        pytest.param([*ENTHUSIASTIC, referral("2025-07-05")], "enthusiasm", id="A referral."),
    ],
)
def test_what_is_dated_later_is_not_counted_yet(happened: Happened, stage: str) -> None:
    """Evidence counts from its day on, not before."""
    assert look(happened).stage is Stage(stage)


# Columns: what happened | rated since the first purchase?
RATED = [
    pytest.param(BUYER, False, id="Bought and never rated."),
    pytest.param([rating("2025-01-20", SATISFIED)], False, id="Rated, but nothing bought."),
    pytest.param([rating("2025-01-31", SATISFIED), BOUGHT], False, id="Rated the day before."),
    pytest.param([BOUGHT, rating("2025-02-01", SATISFIED)], True, id="Rated on the very day."),
    pytest.param([BOUGHT, rating("2025-02-10", ANGRY)], True, id="A complaint is a rating too."),
    pytest.param(
        [rating("2025-01-20", ANGRY), BOUGHT, rating("2025-02-10", ANGRY)],
        True,
        id="Rated in the middle of a negative spiral.",
    ),
    pytest.param([BOUGHT, rating("2025-07-10", SATISFIED)], False, id="Dated in the future."),
]


@pytest.mark.parametrize(("happened", "expected"), RATED)
def test_rated_since_purchase(happened: Happened, expected: bool) -> None:
    """Whether anybody asked how the purchase went."""
    assert look(happened).rated_since_purchase is expected


@pytest.mark.parametrize(
    ("ids", "first"),
    [
        pytest.param(("20", "3"), "3", id="Ids are compared as numbers are: 3 before 20."),
        pytest.param(("b", "a"), "a", id="Ids that are words by the alphabet."),
    ],
)
def test_of_deals_won_first_on_one_day_the_lowest_id_is_the_first(
    ids: tuple[str, ...], first: str
) -> None:
    """The tie between deals of one purchase is broken the same way every time."""
    deals = [deal("2025-01-05", "2025-02-01", crm_id=crm_id) for crm_id in ids]
    found = look([*deals]).first_purchase
    assert found == deal("2025-01-05", "2025-02-01", crm_id=first)


def test_of_two_readings_of_one_deal_the_same_is_taken_every_time() -> None:
    """One id is one deal, even where two readings of it were handed in."""
    read_open, read_won = (
        deal("2025-01-05", crm_id="7"),
        deal("2025-01-05", "2025-02-01", crm_id="7"),
    )
    assert look([read_open, read_won]) == look([read_won, read_open])


def test_another_policy_sets_other_thresholds() -> None:
    """The admin's numbers are used, not the defaults."""
    policy = SpiralPolicy(sympathy_after_days=5, enthusiasm_delights=3, loyalty_after_days=10)
    happened: Happened = [
        BOUGHT,
        rating("2025-02-10", DELIGHTED),
        rating("2025-02-15", DELIGHTED),
        rating("2025-03-01", DELIGHTED),
    ]
    assert told(look(happened, policy=policy)) == [
        "2025-01-01 expectation: known",
        "2025-02-01 experience: first_purchase",
        "2025-02-10 satisfaction: positive_rating",
        "2025-02-15 sympathy: second_positive_rating",
        "2025-03-01 enthusiasm: delighted_again",
        "2025-03-11 loyalty: held_long",
    ]


def test_the_whole_assessment() -> None:
    """Every step carries the deal or rating that made it; nothing else is said."""
    assert assess(evidence(*ENTHUSIASTIC), POLICY, day(TODAY)) == Assessment(
        stage=Stage.ENTHUSIASM,
        since=day("2025-03-01"),
        steps=(
            Step(stage=Stage.EXPECTATION, on=day("2025-01-01"), because=Because.KNOWN),
            Step(
                stage=Stage.EXPERIENCE,
                on=day("2025-02-01"),
                because=Because.FIRST_PURCHASE,
                deal=BOUGHT,
            ),
            Step(
                stage=Stage.SATISFACTION,
                on=day("2025-02-10"),
                because=Because.POSITIVE_RATING,
                rating=HAPPY,
            ),
            Step(
                stage=Stage.SYMPATHY,
                on=day("2025-02-15"),
                because=Because.FURTHER_DEAL_OPENED,
                deal=WANTS_MORE,
            ),
            Step(
                stage=Stage.ENTHUSIASM,
                on=day("2025-03-01"),
                because=Because.DELIGHTED_AGAIN,
                rating=HAPPY_AGAIN,
            ),
        ),
        missing=Missing(need=Need.TIME_OR_REFERRAL, earliest=day("2025-08-28")),
        first_purchase=BOUGHT,
        rated_since_purchase=True,
        changes_on=day("2025-08-28"),
    )


def test_the_steps_of_complaint_and_repair_carry_their_ratings() -> None:
    """The rating that began a spiral and the one that ended it are named."""
    assert look(REPAIRED).steps[-2:] == (
        Step(
            stage=Stage.NEGATIVE,
            on=day("2025-03-20"),
            because=Because.NEGATIVE_RATING,
            rating=rating("2025-03-20", ANGRY),
        ),
        Step(
            stage=Stage.SATISFACTION,
            on=day("2025-04-01"),
            because=Because.REPAIRED,
            rating=rating("2025-04-01", DELIGHTED),
        ),
    )


def test_a_contact_without_any_evidence() -> None:
    """Being known is enough to stand on the spiral."""
    known = Evidence(known_since=day("2025-01-01"))
    assert assess(known, POLICY, day(TODAY)) == Assessment(
        stage=Stage.EXPECTATION,
        since=day("2025-01-01"),
        steps=(Step(stage=Stage.EXPECTATION, on=day("2025-01-01"), because=Because.KNOWN),),
        missing=Missing(need=Need.FIRST_PURCHASE),
    )
