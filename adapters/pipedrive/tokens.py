"""The day's tokens: what Pipedrive sells instead of calls.

https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting
Every call costs a number of tokens, and a company has so many a day, shared by all that talk to
its API. What is used up is only given back when the next day begins.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from plugin.errors import LONGEST_WAIT, CrmRateLimited
from plugin.ports import AccountLink, Allowance

UNIT = "tokens"
SMALLEST = 30_000
"""Tokens a day of the smallest company: one seat of the cheapest plan."""
LIMIT_HEADER = "x-daily-ratelimit-token-limit"
LEFT_HEADER = "x-daily-ratelimit-token-remaining"
"""Both undocumented and sometimes missing."""
BELIEVED = 60.0
"""Seconds: a longer ``Retry-After`` of a spent day says when the next one begins."""


class TokenDay:
    """Counts what the plugin spends, and stops it at its share. Safe to share between threads.

    Pipedrive says that a day ends at its server's midnight, and not in which zone: UTC here.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._share = 1.0
        self._limit = SMALLEST
        self._told = False
        self._used = 0
        self._left: int | None = None
        self._ends_at = _midnight(clock())
        self._spent = False

    def follow(self, link: AccountLink) -> None:
        """Take the account's settings, and what it remembers of this very day."""
        with self._lock:
            self._share = link.rate_share
            if not self._told:
                self._limit = link.daily_budget or SMALLEST
        self.remember(link.allowance)

    def remember(self, known: Allowance | None) -> None:
        """What was stored, maybe by another process: of this very day, the most counts."""
        with self._lock:
            self._roll()
            if known and known.unit == UNIT and _is_of_same_day(known.ends_at, self._clock()):
                self._used = max(self._used, known.used)
                self._left = known.left if self._left is None else self._left
                if known.left == 0:
                    self._spent, self._ends_at = True, known.ends_at

    def allowance(self) -> Allowance:
        with self._lock:
            self._roll()
            return Allowance(
                unit=UNIT,
                limit=self._limit,
                used=self._used,
                left=self._left,
                ends_at=self._ends_at,
            )

    def check(self, cost: int, operation: str) -> None:
        """Raises ``CrmRateLimited`` where this would be more than our share of the day."""
        with self._lock:
            self._roll()
            if self._spent or self._used + cost > self._limit * self._share:
                raise CrmRateLimited(
                    f"the plugin's share of Pipedrive's tokens of this day is used up: {operation}",
                    retry_after=self._seconds_left(),
                    crm="pipedrive",
                    operation=operation,
                    status=None,
                )

    def spend(self, cost: int) -> None:
        with self._lock:
            self._roll()
            self._used += cost

    def told(self, headers: Mapping[str, str]) -> None:
        """Follow what an answer says of the day."""
        limit, left = _count(headers.get(LIMIT_HEADER)), _count(headers.get(LEFT_HEADER))
        with self._lock:
            if limit:
                self._limit, self._told = limit, True
            if left is not None:
                self._left = left

    def is_spent(self, headers: Mapping[str, str]) -> bool:
        """Whether a 429 means the day, and not the last two seconds."""
        return _count(headers.get(LEFT_HEADER)) == 0

    def end(self, retry_after: float | None) -> float:
        """The company's tokens are all used: seconds until the next day, when calls may go out
        again."""
        with self._lock:
            self._roll()
            self._spent = True
            if retry_after and retry_after > BELIEVED:
                wait = min(retry_after, LONGEST_WAIT)
                self._ends_at = self._clock() + timedelta(seconds=wait)
            return self._seconds_left()

    def _roll(self) -> None:
        now = self._clock()
        if now >= self._ends_at:
            self._ends_at = _midnight(now)
            self._used, self._left, self._spent = 0, None, False

    def _seconds_left(self) -> float:
        return max(1.0, (self._ends_at - self._clock()).total_seconds())


def _midnight(now: datetime) -> datetime:
    """The next one, in UTC."""
    day = now.astimezone(UTC).date() + timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _is_of_same_day(ends_at: datetime, now: datetime) -> bool:
    return now < ends_at <= now + timedelta(days=1)


def _count(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,12}", text.strip()) else None
