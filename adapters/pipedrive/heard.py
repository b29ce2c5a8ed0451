"""What webhooks and earlier answers told, and what we wrote: kept in memory so that it need not
be bought again, and our own writes are known when their webhooks come.

Nothing here is relied on to be there: it is bounded, ends with the process, and a person's data
is used at most once and never after ``FRESH``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from schemas.pipedrive import Person

T = TypeVar("T")

FRESH = timedelta(seconds=60)
"""How long what a webhook told of a person may stand in for reading that person."""
MOST_PERSONS = 2_000
MOST_CONTACTS = 20_000
Counts = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A person as a webhook told it. ``at``: when it was saved, to the second."""

    person: Person
    at: datetime
    received_at: datetime


@dataclass(kw_only=True, slots=True)
class Written:
    """What we wrote last on a person, where people write, too: code → value, and when that was
    saved. It happens when a name has to be forgotten."""

    custom: dict[str, object] = field(default_factory=dict)
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """How many deals Pipedrive counted for a person, and which were found."""

    counts: Counts
    deal_ids: frozenset[str]


@dataclass(kw_only=True, slots=True)
class Deals:
    """What is known of one person's deals: ids that were heard of, and the last full reading."""

    ids: set[str] = field(default_factory=set)
    last: Counted | None = None


class Heard:
    """Of one account. Safe to share between threads."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._persons: OrderedDict[str, Told] = OrderedDict()
        self._written: OrderedDict[str, Written] = OrderedDict()
        self._deals: OrderedDict[str, Deals] = OrderedDict()

    # -- persons

    def person(self, person: Person, *, saved_at: datetime, received_at: datetime) -> None:
        """Keep what a webhook told; of two the later save wins, and nothing saved before our own
        last write comes back."""
        one = person["id"]
        with self._lock:
            known = self._persons.get(one)
            if known and known.at > saved_at:
                return
            written = self._written.get(one)
            if written and written.at and saved_at <= written.at:
                return
            self._persons[one] = Told(person=person, at=saved_at, received_at=received_at)
            self._persons.move_to_end(one)
            self._forget_old()

    def take(self, person_id: str) -> Person | None:
        """What was told of this person just now: once."""
        with self._lock:
            self._forget_old()
            told = self._persons.pop(person_id, None)
            return told.person if told else None

    def forget(self, person_ids: Iterable[str]) -> None:
        with self._lock:
            for one in person_ids:
                self._persons.pop(one, None)

    def writing(self, person_id: str, custom: Mapping[str, object]) -> None:
        """We are about to write; ``custom`` is what goes into fields that people fill. Told before,
        since the webhook may be quicker than the answer."""
        with self._lock:
            self._persons.pop(person_id, None)
            self._written.setdefault(person_id, Written()).custom |= custom
            self._written.move_to_end(person_id)
            _keep_newest(self._written, MOST_PERSONS)

    def wrote(self, person_id: str, at: datetime | None) -> None:
        """They were saved; ``at`` where the answer told."""
        with self._lock:
            self._persons.pop(person_id, None)
            if person_id in self._written:
                self._written[person_id].at = at

    def is_written(self, person_id: str, code: str, value: object) -> bool:
        """Whether this value is what we wrote last into this field."""
        with self._lock:
            written = self._written.get(person_id)
            return written is not None and code in written.custom and written.custom[code] == value

    def _forget_old(self) -> None:
        now = self._clock()
        old = [one for one, t in self._persons.items() if abs(now - t.received_at) > FRESH]
        for one in old:
            del self._persons[one]
        _keep_newest(self._persons, MOST_PERSONS)

    # -- deals

    def deal(self, deal_id: str, person_ids: Iterable[str]) -> None:
        """This deal stands on these persons, as far as was heard."""
        with self._lock:
            for one in person_ids:
                self._entry(one).ids.add(deal_id)

    def deals(self, person_id: str) -> frozenset[str]:
        with self._lock:
            known = self._deals.get(person_id)
            return frozenset(known.ids) if known else frozenset()

    def last(self, person_id: str) -> Counted | None:
        with self._lock:
            known = self._deals.get(person_id)
            return known.last if known else None

    def counted(self, person_id: str, counts: Counts, deal_ids: Iterable[str]) -> None:
        """These are the deals of this person, and no others that were heard of."""
        found = frozenset(deal_ids)
        with self._lock:
            entry = self._entry(person_id)
            entry.ids = set(found)
            entry.last = Counted(counts=counts, deal_ids=found)

    def _entry(self, person_id: str) -> Deals:
        entry = self._deals.setdefault(person_id, Deals())
        self._deals.move_to_end(person_id)
        _keep_newest(self._deals, MOST_CONTACTS)
        return entry


def _keep_newest(kept: OrderedDict[str, T], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
