"""What a referrer has brought us: people sent, customers won, money, tier."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from plugin.referral.advocates import Standing, standing
from plugin.referral.model import Deal, GivenReferral, Tier, Value
from plugin.referral.policy import TaskPolicy


def won(crm_id: str, amount: str | None = "1000", **changes: Any) -> Deal:
    return Deal(
        crm_id=crm_id,
        opened_on=date(2024, 1, 8),
        won_on=date(2024, 2, 5),
        first_seen_on=date(2024, 2, 5),
        amount=Decimal(amount) if amount else None,
        **changes,
    )


def undecided(crm_id: str) -> Deal:
    return Deal(
        crm_id=crm_id,
        opened_on=date(2024, 1, 8),
        amount=Decimal(500),
        first_seen_on=date(2024, 1, 8),
    )


def lost(crm_id: str) -> Deal:
    return Deal(
        crm_id=crm_id,
        opened_on=date(2024, 1, 8),
        lost_on=date(2024, 2, 5),
        amount=Decimal(500),
        first_seen_on=date(2024, 2, 5),
    )


def sent(referred_id: str, *deals: Deal, primary: bool = True) -> GivenReferral:
    return GivenReferral(
        referred_id=referred_id,
        referred_name="",
        recorded_on=date(2024, 1, 8),
        primary=primary,
        deals=deals,
    )


def euros(amount: int, *rest: tuple[str, Decimal]) -> Value:
    return Value(total=Decimal(amount), currency="EUR", rest=rest)


COUNTS = [
    (
        "nobody sent",
        (),
        Standing(given=0, won=0, value=euros(0), tier=Tier.NONE),
    ),
    (
        "one person sent, who has not bought",
        (sent("21"),),
        Standing(given=1, won=0, value=euros(0), tier=Tier.ONE_TIME),
    ),
    (
        "one person sent, who bought twice",
        (sent("21", won("501"), won("502")),),
        Standing(given=1, won=1, value=euros(2000), tier=Tier.ONE_TIME),
    ),
    (
        "open and lost deals bring no money",
        (sent("21", undecided("501"), lost("502")),),
        Standing(given=1, won=0, value=euros(0), tier=Tier.ONE_TIME),
    ),
    (
        "two persons sent",
        (sent("21"), sent("22")),
        Standing(given=2, won=0, value=euros(0), tier=Tier.REPEAT),
    ),
    (
        "three persons sent, none bought: not yet a super-referrer",
        (sent("21"), sent("22"), sent("23")),
        Standing(given=3, won=0, value=euros(0), tier=Tier.REPEAT),
    ),
    (
        "three persons sent, one bought: a super-referrer",
        (sent("21"), sent("22", won("501")), sent("23")),
        Standing(given=3, won=1, value=euros(1000), tier=Tier.SUPER),
    ),
    (
        "named second, the referral counts as given, but neither won nor money do",
        (sent("21", won("501"), primary=False),),
        Standing(given=1, won=0, value=euros(0), tier=Tier.ONE_TIME),
    ),
    (
        "what was won as the second named makes no super-referrer",
        (sent("21"), sent("22", won("501"), primary=False), sent("23")),
        Standing(given=3, won=0, value=euros(0), tier=Tier.REPEAT),
    ),
    (
        "a person told under two names was sent once",
        (sent("21", won("501")), sent("21", won("501"), primary=False)),
        Standing(given=1, won=1, value=euros(1000), tier=Tier.ONE_TIME),
    ),
    (
        "two persons sent share a deal: two customers, its money once",
        (sent("21", won("501")), sent("22", won("501"))),
        Standing(given=2, won=2, value=euros(1000), tier=Tier.REPEAT),
    ),
]


@pytest.mark.parametrize(
    ("given", "expected"), [row[1:] for row in COUNTS], ids=[row[0] for row in COUNTS]
)
def test_what_a_referrer_has_brought(given: tuple[GivenReferral, ...], expected: Standing) -> None:
    """People sent, people won, money and tier follow from the matched referrals."""
    assert expected == standing(given, "EUR", TaskPolicy())
    assert expected == standing(given[::-1], "EUR", TaskPolicy())


MONEY = [
    ("an amount without a currency is in the main one", (won("1"),), euros(1000)),
    ("an amount in the main currency", (won("1", currency="EUR"),), euros(1000)),
    (
        "the amount the CRM converted goes before the deal's own",
        (won("1", currency="USD", home_amount=Decimal(900)),),
        euros(900),
    ),
    (
        "a converted amount of nothing is nothing",
        (won("1", currency="USD", home_amount=Decimal(0)),),
        euros(0),
    ),
    (
        "other currencies are named beside the sum, each by itself",
        (
            won("1", currency="USD"),
            won("2", currency="CHF"),
            won("3", currency="USD"),
            won("4", currency="EUR"),
        ),
        euros(1000, ("CHF", Decimal(1000)), ("USD", Decimal(2000))),
    ),
    ("a deal without an amount", (won("1", None),), euros(0)),
    (
        "cents are kept exactly",
        (won("1", "0.10"), won("2", "0.20")),
        Value(total=Decimal("0.30"), currency="EUR"),
    ),
]


@pytest.mark.parametrize(
    ("deals", "expected"), [row[1:] for row in MONEY], ids=[row[0] for row in MONEY]
)
def test_money_is_never_added_across_currencies(deals: tuple[Deal, ...], expected: Value) -> None:
    """The value is in the main currency; what cannot be converted stands beside it."""
    assert expected == standing((sent("21", *deals),), "EUR", TaskPolicy()).value


def test_the_main_currency_is_the_accounts() -> None:
    """In a Swiss account francs are the sum and euros the rest."""
    deals = (won("1", currency="CHF"), won("2", currency="EUR"))

    expected = Value(total=Decimal(1000), currency="CHF", rest=(("EUR", Decimal(1000)),))
    assert expected == standing((sent("21", *deals),), "CHF", TaskPolicy()).value


def test_an_admin_decides_from_how_many_referrals_one_is_super() -> None:
    """The threshold of the tier is the policy's."""
    policy = TaskPolicy(super_from_referrals=2)

    assert standing((sent("21", won("501")), sent("22")), "EUR", policy).tier is Tier.SUPER
