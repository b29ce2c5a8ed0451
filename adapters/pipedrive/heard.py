"""What webhooks and earlier answers told of deals, and what we wrote: kept in memory so that it
need not be bought again, and our own writes are known when their webhooks come.

Nothing here is relied on to be there: it is bounded and ends with the process. It names persons
by their ids only. What a webhook told *of* a person is not kept, and never stands in for reading
that person: another process may have heard of a later save, and no memory of ours would know; a
rating that was corrected meanwhile would be stored as the present one. Reading a person costs one
token, and ten for a hundred.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from schemas.pipedrive import Deal

T = TypeVar("T")

MOST_PERSONS = 2_000
MOST_CONTACTS = 20_000
MOST_DEALS = 20_000
BELIEVED = timedelta(hours=30)
"""How long the persons on a deal that looks the same are taken to be the same. More than a day, so
that work which the tokens of a day did not suffice for goes on where it had to stop."""
Counts = tuple[int, ...]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Persons:
    """Who was on a deal, and how the deal looked then."""

    ids: tuple[str, ...]
    look: tuple[object, ...]
    read_at: datetime


class Heard:
    """Of one account. Safe to share between threads."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._written: OrderedDict[str, dict[str, object]] = OrderedDict()
        self._deals: OrderedDict[str, Deals] = OrderedDict()
        self._persons: OrderedDict[str, Persons] = OrderedDict()

    # -- our own writes

    def writing(self, person_id: str, custom: Mapping[str, object]) -> None:
        """We are about to write; ``custom`` is what goes into fields that people fill, which
        happens when a name has to be forgotten: code → value. Told before, since the webhook may be
        quicker than the answer."""
        with self._lock:
            if custom or person_id in self._written:
                self._written.setdefault(person_id, {}).update(custom)
                self._written.move_to_end(person_id)
                _keep_newest(self._written, MOST_PERSONS)

    def is_written(self, person_id: str, code: str, value: object) -> bool:
        """Whether this value is what we wrote last into this field."""
        with self._lock:
            written = self._written.get(person_id, {})
            return code in written and written[code] == value

    # -- deals of a person

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

    # -- persons of a deal

    def persons(self, deal: Deal) -> tuple[str, ...] | None:
        """Who was on this deal when it last looked as it does now; None where nobody knows."""
        with self._lock:
            known = self._persons.get(deal["id"])
            if known is None or known.look != _look(deal):
                return None
            return known.ids if self._clock() - known.read_at < BELIEVED else None

    def has_persons(self, deal: Deal, person_ids: tuple[str, ...]) -> None:
        """They were read just now."""
        told = Persons(ids=person_ids, look=_look(deal), read_at=self._clock())
        with self._lock:
            self._persons[deal["id"]] = told
            self._persons.move_to_end(deal["id"])
            _keep_newest(self._persons, MOST_DEALS)

    def left(self, person_ids: Iterable[str]) -> None:
        """These persons were merged or deleted: the deals they were on may be others' now."""
        gone = set(person_ids)
        with self._lock:
            for one in [d for d, told in self._persons.items() if gone.intersection(told.ids)]:
                del self._persons[one]


def _look(deal: Deal) -> tuple[object, ...]:
    """What changes with the persons on a deal, as far as a deal tells."""
    return deal["update_time"], deal["person_id"], deal["participants_count"]


def _keep_newest(kept: OrderedDict[str, T], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
