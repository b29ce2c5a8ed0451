"""Asks for a referral: what became of them, when the next may follow, who is asked this week."""

from __future__ import annotations

from datetime import date

import pytest

from plugin.referral.asks import AskHistory, ask_history, ask_pause, plan_week
from plugin.referral.model import Ask, AskCandidate, Facts, GivenReferral, Pause, TaskKind
from plugin.referral.model import WantedTask as Task
from plugin.referral.policy import AskPolicy

JAN_15 = date(2024, 1, 15)
AUG_1 = date(2024, 8, 1)


def asked(*days: date | None) -> tuple[Ask, ...]:
    return tuple(
        Ask(kind=TaskKind.ASK_REFERRAL, cause=f"asks={count}", made_on=day)
        for count, day in enumerate(days)
    )


def gave(*days: date) -> tuple[GivenReferral, ...]:
    return tuple(
        GivenReferral(referred_id=str(count), referred_name="", recorded_on=day)
        for count, day in enumerate(days)
    )


HISTORIES = [
    ("never asked", asked(), gave(), date(2024, 8, 1), AskHistory()),
    ("the ask is still to be made", asked(None), gave(), date(2024, 8, 1), AskHistory()),
    (
        "just asked: the answer is waited for until the sixtieth day",
        asked(JAN_15),
        gave(),
        date(2024, 3, 14),
        AskHistory(last_made=JAN_15, next_unanswered_on=date(2024, 3, 15)),
    ),
    (
        "on the sixtieth day the ask is unanswered",
        asked(JAN_15),
        gave(),
        date(2024, 3, 15),
        AskHistory(last_made=JAN_15, unanswered=1),
    ),
    (
        "a referral on the day of the ask is an answer",
        asked(JAN_15),
        gave(JAN_15),
        date(2024, 8, 1),
        AskHistory(last_made=JAN_15, answered=True),
    ),
    (
        "a referral long after the ask is an answer",
        asked(JAN_15),
        gave(date(2024, 7, 1)),
        date(2024, 8, 1),
        AskHistory(last_made=JAN_15, answered=True),
    ),
    (
        "a referral from before the ask is none",
        asked(JAN_15),
        gave(date(2024, 1, 14)),
        date(2024, 8, 1),
        AskHistory(last_made=JAN_15, unanswered=1),
    ),
    (
        "two asks unanswered, told in any order",
        asked(AUG_1, JAN_15),
        gave(),
        date(2024, 12, 1),
        AskHistory(last_made=AUG_1, unanswered=2),
    ),
    (
        "the count begins again after an answer",
        asked(JAN_15, AUG_1),
        gave(date(2024, 2, 1)),
        date(2024, 12, 1),
        AskHistory(last_made=AUG_1, unanswered=1),
    ),
    (
        "an answer to the second ask settles the first",
        asked(JAN_15, AUG_1),
        gave(date(2024, 8, 20)),
        date(2024, 12, 1),
        AskHistory(last_made=AUG_1, answered=True),
    ),
    (
        "one unanswered, the next not yet",
        asked(JAN_15, AUG_1, None),
        gave(),
        date(2024, 8, 2),
        AskHistory(last_made=AUG_1, unanswered=1, next_unanswered_on=date(2024, 9, 30)),
    ),
]


@pytest.mark.parametrize(
    ("asks", "given", "today", "expected"),
    [row[1:] for row in HISTORIES],
    ids=[row[0] for row in HISTORIES],
)
def test_what_became_of_the_asks(
    asks: tuple[Ask, ...], given: tuple[GivenReferral, ...], today: date, expected: AskHistory
) -> None:
    """Asks are made, answered by a referral, or unanswered after sixty days."""
    assert expected == ask_history(asks, given, AskPolicy(), today)


PAUSES = [
    ("never asked: no pause", AskHistory(), JAN_15, None),
    (
        "asked today: half a year",
        AskHistory(last_made=JAN_15),
        JAN_15,
        (Pause.AFTER_ASK, date(2024, 7, 13)),
    ),
    (
        "the last day of the half year",
        AskHistory(last_made=JAN_15, unanswered=1),
        date(2024, 7, 12),
        (Pause.AFTER_ASK, date(2024, 7, 13)),
    ),
    (
        "the half year is over",
        AskHistory(last_made=JAN_15, unanswered=1),
        date(2024, 7, 13),
        None,
    ),
    (
        "an ask that led to a referral: ninety days",
        AskHistory(last_made=JAN_15, answered=True),
        date(2024, 4, 13),
        (Pause.AFTER_ASK, date(2024, 4, 14)),
    ),
    (
        "the ninety days are over",
        AskHistory(last_made=JAN_15, answered=True),
        date(2024, 4, 14),
        None,
    ),
    (
        "two unanswered: no more asks, however long ago",
        AskHistory(last_made=JAN_15, unanswered=2),
        date(2034, 1, 15),
        (Pause.TWO_UNANSWERED, None),
    ),
    (
        "two unanswered say more than the half year",
        AskHistory(last_made=JAN_15, unanswered=2),
        date(2024, 3, 15),
        (Pause.TWO_UNANSWERED, None),
    ),
]


@pytest.mark.parametrize(
    ("history", "today", "expected"), [row[1:] for row in PAUSES], ids=[row[0] for row in PAUSES]
)
def test_when_the_next_ask_may_follow(
    history: AskHistory, today: date, expected: tuple[Pause, date | None] | None
) -> None:
    """After an ask there is a wait; after two without an answer there is none to come."""
    assert expected == ask_pause(history, AskPolicy(), today)


def test_an_admin_decides_how_long_the_waits_are() -> None:
    """Every number of the pauses is the policy's."""
    policy = AskPolicy(
        wait_after_answered_days=10,
        wait_after_unanswered_days=20,
        unanswered_after_days=5,
        stop_after_unanswered=1,
    )
    history = ask_history(asked(JAN_15), gave(), policy, date(2024, 1, 20))

    assert AskHistory(last_made=JAN_15, unanswered=1) == history
    assert ask_pause(history, policy, date(2024, 1, 20)) == (Pause.TWO_UNANSWERED, None)


# ----------------------------------------------------------------------------- the week


def candidate(crm_id: str, *order: int | str) -> AskCandidate:
    by_referral, rung, waiting_since = order
    task = Task(
        kind=TaskKind.ASK_REFERRAL,
        causes=("stage=enthusiasm;since=2024-01-01;asks=0",),
        target_id=crm_id,
        owner_id="71",
        due_working_days=5,
        facts=Facts(name=""),
    )
    return AskCandidate(
        task=task, order=(int(by_referral), int(rung), str(waiting_since), crm_id.zfill(20))
    )


IN_ORDER = (
    candidate("40", 0, -5, "2024-03-01"),  # came by referral, loyal
    candidate("39", 0, -3, "2024-01-01"),  # came by referral, a lower stage though waiting longer
    candidate("38", 1, -5, "2024-02-01"),  # came otherwise, loyal
    candidate("9", 1, -4, "2024-01-01"),  # a lower stage, waiting longest
    candidate("10", 1, -4, "2024-01-01"),  # waiting as long: the lower id goes first
    candidate("8", 1, -4, "2024-01-02"),
)

WEEKS = [
    ("five a week, the sixth waits", 0, 5, IN_ORDER[:5]),
    ("two were asked for already", 2, 5, IN_ORDER[:3]),
    ("the week is full", 5, 5, ()),
    ("the limit was lowered within the week", 5, 3, ()),
    ("room for all", 0, 20, IN_ORDER),
]


@pytest.mark.parametrize(
    ("already", "limit", "expected"), [row[1:] for row in WEEKS], ids=[row[0] for row in WEEKS]
)
def test_who_is_asked_this_week(
    already: int, limit: int, expected: tuple[AskCandidate, ...]
) -> None:
    """The best candidates of a rep are asked first, no more than the week holds."""
    policy = AskPolicy(per_owner_and_week=limit)

    assert expected == plan_week(IN_ORDER[::-1], already, policy)
