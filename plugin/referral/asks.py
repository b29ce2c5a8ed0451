"""Asks for a referral: what became of those made, and which are made this week."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol, TypeVar

from plugin.referral.model import Ask, GivenReferral, Pause
from plugin.referral.policy import AskPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class AskHistory:
    """The asks a contact has heard so far."""

    last_made: date | None = None
    answered: bool = False
    """The last ask led to a referral."""
    unanswered: int = 0
    """Asks without an answer since the last one that had one."""
    next_unanswered_on: date | None = None
    """The next day on which an ask still waiting for its answer counts as unanswered."""


def ask_history(
    asks: Iterable[Ask], given: Iterable[GivenReferral], policy: AskPolicy, today: date
) -> AskHistory:
    """What became of the asks made; open ones have not been heard yet.

    A referral recorded on the day of an ask or later answers it and all asks before it, however
    late: only the asks after the last referral can be unanswered.
    """
    made = sorted(ask.made_on for ask in asks if ask.made_on)
    if not made:
        return AskHistory()
    last_given = max((referral.recorded_on for referral in given), default=date.min)
    patience = timedelta(days=policy.unanswered_after_days)
    deadlines = [day + patience for day in made if day > last_given]
    return AskHistory(
        last_made=made[-1],
        answered=made[-1] <= last_given,
        unanswered=sum(day <= today for day in deadlines),
        next_unanswered_on=next((day for day in deadlines if day > today), None),
    )


def ask_pause(
    history: AskHistory, policy: AskPolicy, today: date
) -> tuple[Pause, date | None] | None:
    """Why the asks made forbid another one today, and the first day they do not; None if they
    do not. Only a referral ends the pause of ``TWO_UNANSWERED``."""
    if history.last_made is None:
        return None
    if history.unanswered >= policy.stop_after_unanswered:
        return Pause.TWO_UNANSWERED, None
    wait = (
        policy.wait_after_answered_days if history.answered else policy.wait_after_unanswered_days
    )
    until = history.last_made + timedelta(days=wait)
    return (Pause.AFTER_ASK, until) if today < until else None


class Ordered(Protocol):
    """Whoever may be asked, sorted by ``AskCandidate.order``."""

    @property
    def order(self) -> tuple[int, int, str, str]: ...


C = TypeVar("C", bound=Ordered)


def plan_week(candidates: Sequence[C], already: int, policy: AskPolicy) -> tuple[C, ...]:
    """Whom one owner asks this week, best first; the others wait for the next week.

    ``candidates`` are all of one owner, ``already`` the asks this owner was given this week.
    """
    free = max(0, policy.per_owner_and_week - already)
    return tuple(sorted(candidates, key=lambda candidate: candidate.order)[:free])
