"""Advocates: what the referrals a contact gave have brought, and the tier they make."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from plugin.referral.model import Deal, GivenReferral, Tier, Value
from plugin.referral.policy import TaskPolicy

_REPEAT_FROM = 2


class Standing(NamedTuple):
    """A contact as referrer. ``given`` counts people sent, ``won`` those who bought."""

    given: int
    won: int
    value: Value
    tier: Tier


def standing(given: tuple[GivenReferral, ...], main_currency: str, policy: TaskPolicy) -> Standing:
    """What the matched referrals of one contact amount to.

    Every person sent counts as given, once, however many names they were told under. Won and
    value follow the primary referrer: who is named second shares neither.
    """
    sent = {referral.referred_id for referral in given}
    primary = [referral for referral in given if referral.primary]
    won = {referral.referred_id for referral in primary if referral.won}
    return Standing(
        given=len(sent),
        won=len(won),
        value=_value((deal for referral in primary for deal in referral.deals), main_currency),
        tier=_tier(len(sent), len(won), policy),
    )


def _value(deals: Iterable[Deal], main_currency: str) -> Value:
    """The sum of the won deals. A deal of several referred contacts counts once."""
    total = Decimal(0)
    rest: defaultdict[str, Decimal] = defaultdict(Decimal)
    for deal in {deal.crm_id: deal for deal in deals if deal.won_on}.values():
        if deal.home_amount is not None:
            total += deal.home_amount
        elif deal.amount is None:
            continue
        elif not deal.currency or deal.currency == main_currency:
            total += deal.amount
        else:
            rest[deal.currency] += deal.amount
    return Value(total=total, currency=main_currency, rest=tuple(sorted(rest.items())))


def _tier(given: int, won: int, policy: TaskPolicy) -> Tier:
    if given >= policy.super_from_referrals and won:
        return Tier.SUPER
    if given >= _REPEAT_FROM:
        return Tier.REPEAT
    return Tier.ONE_TIME if given else Tier.NONE
