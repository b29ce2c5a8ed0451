"""Where a contact stands on the Empfehlungsspirale, why, and what is missing.

``assess`` walks through the evidence day by day and lets a small state machine climb. On one
day the order is: what time brings, purchases, other deals opened, the rating, a referral given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta

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


def assess(evidence: Evidence, policy: SpiralPolicy, today: date) -> Assessment:
    """The stage as the evidence up to ``today`` says, with every step that led there.

    A function of the set of evidence: neither order nor duplicates matter. Evidence dated later
    than ``today`` is not counted yet, but shows in ``changes_on``.
    """
    diary = _Diary(evidence)
    past = [day for day in diary.days if day <= today]
    climber = _Climber(policy, known_on=min([evidence.known_since, *past[:1]]))
    for day in past:
        climber.time_passes(day)
        for deal in diary.won[day]:
            climber.purchase(deal, day)
        for deal in diary.opened[day]:
            climber.deal_opened(deal, day)
        if day in diary.ratings:
            climber.rated(diary.ratings[day])
        if day in diary.referrals:
            climber.referral_given(day)
    climber.time_passes(today)
    return climber.assessment(coming=[day for day in diary.days if day > today][:1])


class _Diary:
    """The evidence by day. ``days`` are all days on which something happened, in order."""

    def __init__(self, evidence: Evidence) -> None:
        self.won: defaultdict[date, list[Deal]] = defaultdict(list)
        self.opened: defaultdict[date, list[Deal]] = defaultdict(list)
        for deal in _each_once(evidence.deals):
            self.opened[deal.opened_on].append(deal)
            if deal.won_on is not None:
                self.won[deal.won_on].append(deal)
        # Of several ratings about one day the one recorded last counts.
        self.ratings = {
            rating.day: rating
            for rating in sorted(evidence.ratings, key=lambda r: (r.recorded_at, r.value))
        }
        self.referrals = frozenset(evidence.referrals_given_on)
        self.days = sorted({*self.won, *self.opened, *self.ratings, *self.referrals})


def _each_once(deals: Iterable[Deal]) -> list[Deal]:
    """Every deal once: first those that lead to tasks for this contact, then by id. Of differing
    readings of one deal, always the same."""
    by_id = {deal.crm_id: deal for deal in sorted(deals, key=repr)}
    return sorted(by_id.values(), key=lambda deal: (not deal.lead, len(deal.crm_id), deal.crm_id))


@dataclass(slots=True)
class _Count:
    """What has been gathered since the first purchase, or since the last repair.

    ``wish`` is the step to sympathy that a wish for further work makes, taken on the day
    satisfaction is there as well.
    """

    first_positive: Rating | None = None
    wish: Step | None = None
    delights: int = 0
    last_delight: Rating | None = None


class _Climber:
    """A contact on the spiral. One method per kind of event, to be told in order of days."""

    def __init__(self, policy: SpiralPolicy, known_on: date) -> None:
        self._policy = policy
        self._steps = [Step(stage=Stage.EXPECTATION, on=known_on, because=Because.KNOWN)]
        self._count = _Count()
        self._first_purchase: Deal | None = None
        self._bought_on: date | None = None
        self._complaints: tuple[Rating, ...] = ()
        self._forgiven: tuple[Rating, ...] = ()
        self._repaired_on: date | None = None
        self._rated_since_purchase = False
        self._referral_given = False

    @property
    def _stage(self) -> Stage:
        return self._steps[-1].stage

    # ------------------------------------------------------------------- the events

    def time_passes(self, day: date) -> None:
        loyal_on = self._loyal_by_time_on
        if loyal_on is not None and loyal_on <= day:
            self._enter(Stage.LOYALTY, loyal_on, Because.HELD_LONG)

    def purchase(self, deal: Deal, day: date) -> None:
        if self._bought_on is None:
            self._first_purchase, self._bought_on = deal, day
            if self._stage is Stage.EXPECTATION:
                self._enter(Stage.EXPERIENCE, day, Because.FIRST_PURCHASE, deal=deal)
        elif self._further(day):
            # Any rating since the first purchase would have led away from experience.
            if self._stage is Stage.EXPERIENCE:
                self._enter(Stage.SATISFACTION, day, Because.REPEAT_PURCHASE_IMPLIES, deal=deal)
            self._wish(day, Because.FURTHER_PURCHASE, deal=deal)

    def deal_opened(self, deal: Deal, day: date) -> None:
        if self._further(day) and self._count.wish is None:
            self._wish(day, Because.FURTHER_DEAL_OPENED, deal=deal)

    def rated(self, rating: Rating) -> None:
        self._rated_since_purchase |= self._bought_on is not None
        if rating.value.positive:
            self._rated_well(rating)
        else:
            self._rated_badly(rating)

    def referral_given(self, day: date) -> None:
        self._referral_given = True
        self._climb(day)

    # ------------------------------------------------------------- what they lead to

    def _further(self, day: date) -> bool:
        """Would a deal of that day be a wish for further work?"""
        bought = self._bought_on is not None and self._bought_on < day
        return bought and self._stage is not Stage.NEGATIVE

    def _wish(
        self, day: date, because: Because, *, deal: Deal | None = None, rating: Rating | None = None
    ) -> None:
        self._count.wish = Step(
            stage=Stage.SYMPATHY, on=day, because=because, deal=deal, rating=rating
        )
        self._climb(day)

    def _rated_well(self, rating: Rating) -> None:
        self._forgiven = ()
        if self._stage is Stage.NEGATIVE:
            stage = Stage.EXPECTATION if self._bought_on is None else Stage.SATISFACTION
            self._enter(stage, rating.day, Because.REPAIRED, rating=rating)
            self._complaints, self._repaired_on = (), rating.day
            self._count = _Count()
        if self._bought_on is not None:
            self._count_positive(rating)

    def _count_positive(self, rating: Rating) -> None:
        count = self._count
        if rating.value is RatingValue.DELIGHTED:
            count.delights += 1
            count.last_delight = rating
        if count.first_positive is None:
            count.first_positive = rating
        elif rating.day >= self._second_counts_from(count.first_positive):
            self._wish(rating.day, Because.SECOND_POSITIVE_RATING, rating=rating)
        self._climb(rating.day)

    def _rated_badly(self, rating: Rating) -> None:
        if self._stage is Stage.NEGATIVE:
            self._complaints += (rating,)
        elif self._stage is not Stage.LOYALTY or rating.value is RatingValue.ANGRY:
            self._fall(rating, Because.NEGATIVE_RATING)
        elif self._forgiven:
            self._fall(rating, Because.SECOND_DISSATISFIED)
        else:
            self._forgiven = (rating,)

    def _fall(self, rating: Rating, because: Because) -> None:
        self._enter(Stage.NEGATIVE, rating.day, because, rating=rating)
        self._complaints, self._forgiven = (rating,), ()

    def _climb(self, day: date) -> None:
        """Take every step that the evidence so far allows, one after the other."""
        count = self._count
        if self._stage is Stage.EXPERIENCE and count.first_positive is not None:
            because = Because.POSITIVE_RATING
            self._enter(Stage.SATISFACTION, day, because, rating=count.first_positive)
        if self._stage is Stage.SATISFACTION and count.wish is not None:
            self._steps.append(replace(count.wish, on=day))
        if self._stage is Stage.SYMPATHY and count.delights >= self._policy.enthusiasm_delights:
            because = Because.DELIGHTED_AGAIN
            self._enter(Stage.ENTHUSIASM, day, because, rating=count.last_delight)
        if self._stage is Stage.ENTHUSIASM and self._referral_given:
            self._enter(Stage.LOYALTY, day, Because.REFERRAL_GIVEN)

    def _enter(
        self,
        stage: Stage,
        on: date,
        because: Because,
        *,
        deal: Deal | None = None,
        rating: Rating | None = None,
    ) -> None:
        self._steps.append(Step(stage=stage, on=on, because=because, deal=deal, rating=rating))

    def _second_counts_from(self, first: Rating) -> date:
        return first.day + timedelta(days=self._policy.sympathy_after_days)

    @property
    def _loyal_by_time_on(self) -> date | None:
        """The day on which time alone makes loyal, while at enthusiasm."""
        if self._stage is not Stage.ENTHUSIASM:
            return None
        return self._steps[-1].on + timedelta(days=self._policy.loyalty_after_days)

    # ------------------------------------------------------------------- the result

    def assessment(self, coming: Iterable[date]) -> Assessment:
        """The result; ``coming`` are days of evidence that is not counted yet."""
        changes = [*coming, self._loyal_by_time_on]
        return Assessment(
            stage=self._stage,
            since=self._steps[-1].on,
            steps=tuple(self._steps),
            missing=self._missing(),
            spiral=_complaint(self._complaints),
            forgiven=_complaint(self._forgiven),
            repaired_on=self._repaired_on,
            first_purchase=self._first_purchase,
            rated_since_purchase=self._rated_since_purchase,
            changes_on=min((day for day in changes if day is not None), default=None),
        )

    def _missing(self) -> Missing:
        count = self._count
        match self._stage:
            case Stage.SATISFACTION:
                first = count.first_positive
                earliest = self._second_counts_from(first) if first else None
                return Missing(need=Need.FURTHER_DEAL_OR_RATING, earliest=earliest)
            case Stage.SYMPATHY:
                missing = self._policy.enthusiasm_delights - count.delights
                return Missing(need=Need.DELIGHT, count=missing)
            case Stage.ENTHUSIASM:
                return Missing(need=Need.TIME_OR_REFERRAL, earliest=self._loyal_by_time_on)
            case stage:
                return Missing(need=_PLAIN_NEEDS[stage])


_PLAIN_NEEDS = {
    Stage.EXPECTATION: Need.FIRST_PURCHASE,
    Stage.EXPERIENCE: Need.POSITIVE_RATING,
    Stage.LOYALTY: Need.NOTHING,
    Stage.NEGATIVE: Need.REPAIR,
}


def _complaint(ratings: tuple[Rating, ...]) -> Complaint | None:
    if not ratings:
        return None
    angry = any(rating.value is RatingValue.ANGRY for rating in ratings)
    grade = RatingValue.ANGRY if angry else RatingValue.DISSATISFIED
    return Complaint(grade=grade, ratings=ratings)
