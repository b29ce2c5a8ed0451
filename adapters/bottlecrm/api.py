"""BottleCRM's REST API as few verbs.

Facts are read from the package itself (``contacts/views.py``, ``opportunity/views``,
``tasks/views``, ``common/views``): https://pypi.org/project/django-crm/1.35.0/
Every path ends with a slash. There are no batches: one call, one record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from marshmallow import Schema

from adapters.answers import failure, readable, understood
from adapters.bottlecrm.dialect import DIALECT
from adapters.client import Client, RateBudget
from adapters.paging import Places
from plugin.errors import CrmRejected, RecordGone
from plugin.ports import Failure
from schemas.bottlecrm import (
    Activity,
    Contact,
    ContactAnswer,
    ContactAnswerSchema,
    ContactPage,
    ContactPageSchema,
    ContactSchema,
    Deal,
    DealAnswer,
    DealAnswerSchema,
    DealPage,
    DealPageSchema,
    DealSchema,
    Feed,
    FeedSchema,
    IdPage,
    IdPageSchema,
    Task,
    TaskAnswer,
    TaskAnswerSchema,
)

T = TypeVar("T")

CONTACTS = "/api/contacts/"
DEALS = "/api/opportunities/"
TASKS = "/api/tasks/"
ACTIVITIES = "/api/activities/"

LIST_SIZE = 200
LIST_STEP = 190
"""Pages overlap: a contact deleted meanwhile moves the others up, and none may be missed."""
FEED_SIZE = 50
"""More the feed does not give, and it has no second page."""

_CONTACT = ContactAnswerSchema()
_CONTACTS = ContactPageSchema()
_ONE_CONTACT = ContactSchema()
_IDS = IdPageSchema()
_DEAL = DealAnswerSchema()
_DEALS = DealPageSchema()
_ONE_DEAL = DealSchema()
_TASK = TaskAnswerSchema()
_FEED = FeedSchema()


class Api:
    """One account's API. Every method may raise ``CrmError``."""

    def __init__(self, client: Client, budget: RateBudget) -> None:
        self.client = client
        self._budget = budget

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
        schema: Schema | None = None,
        repeat: bool = True,
    ) -> Any:
        """What ``schema`` makes of the answer."""
        answer = self.client.send(
            method, path, budget=self._budget, body=body, params=params, repeat=repeat
        )
        operation = f"{method} {path}"
        return schema and understood(schema, answer, DIALECT, operation, repeat=repeat)

    # -- records

    def contact(self, contact_id: str) -> ContactAnswer | None:
        """A contact with its tasks and its ten newest deals; None where it is gone."""
        found: ContactAnswer | None = self._record(CONTACTS, contact_id, _CONTACT)
        return found and _about(contact_id, found, found["contact"])

    def deal(self, deal_id: str) -> Deal | None:
        found: DealAnswer | None = self._record(DEALS, deal_id, _DEAL)
        return found and _about(deal_id, found["deal"], found["deal"])

    def task(self, task_id: str) -> Task | None:
        found: TaskAnswer | None = self._record(TASKS, task_id, _TASK)
        return found and _about(task_id, found["task"], found["task"])

    def _record(self, path: str, record_id: str, schema: Schema) -> Any:
        if not is_id(record_id):
            return None
        try:
            return self.send("GET", f"{path}{record_id}/", schema=schema)
        except RecordGone:
            return None

    def update(self, path: str, bodies: Mapping[str, object]) -> tuple[Failure, ...]:
        """Change records, one call each; what stood against some."""
        failures = (self._update(path, one, body) for one, body in bodies.items())
        return tuple(one for one in failures if one)

    def _update(self, path: str, record_id: str, body: object) -> Failure | None:
        if not is_id(record_id):
            return Failure(item=record_id, reason="not a record id", gone=True)
        try:
            self.send("PATCH", f"{path}{record_id}/", body=body)
        except (CrmRejected, RecordGone) as error:
            return failure(record_id, error)
        return None

    # -- lists

    def contacts(self, offset: int) -> ContactPage:
        """The newest first; there is no other order, and no filter by change. Odd ones are left
        out."""
        page = self.send("GET", CONTACTS, params=_place(offset), schema=_CONTACTS)
        records = readable(_ONE_CONTACT, page["results"], DIALECT, f"GET {CONTACTS}")
        return {"count": _count(page["count"], page["results"], offset), "results": records}

    def deals(self, offset: int) -> DealPage:
        """In no order that means anything, and with no filter by contact or change. Odd ones are
        left out."""
        page = self.send("GET", DEALS, params=_place(offset), schema=_DEALS)
        records = readable(_ONE_DEAL, page["deals"], DIALECT, f"GET {DEALS}")
        return {"count": _count(page["count"], page["deals"], offset), "deals": records}

    def all_contacts(self) -> Iterator[Contact]:
        """Every contact; one that was made meanwhile may come twice."""
        offset: int | None = 0
        last: str | None = None
        places = Places(DIALECT.crm, f"GET {CONTACTS}")
        while offset is not None:
            page = self.contacts(offset)
            yield from after(last, page["results"])
            offset = places.then(following(offset, page["count"]))
            last = last_id(page["results"])

    def contact_ids(self) -> frozenset[str]:
        """The ids of all contacts; nothing else of them is looked at."""
        ids: set[str] = set()
        offset: int | None = 0
        places = Places(DIALECT.crm, f"GET {CONTACTS}")
        while offset is not None:
            page: IdPage = self.send("GET", CONTACTS, params=_place(offset), schema=_IDS)
            ids |= {one["id"] for one in page["results"]}
            count = _count(page["count"], page["results"], offset)
            offset = places.then(following(offset, count))
        return frozenset(ids)

    def all_deals(self) -> Iterator[Deal]:
        """Every deal, some of them twice."""
        offset: int | None = 0
        places = Places(DIALECT.crm, f"GET {DEALS}")
        while offset is not None:
            page = self.deals(offset)
            yield from page["deals"]
            offset = places.then(following(offset, page["count"]))

    def feed(self, entity_type: str) -> list[Activity]:
        """The last doings on records of a kind (``Task``, ``Opportunity``), the newest first."""
        params = {"entity_type": entity_type, "limit": str(FEED_SIZE)}
        found: Feed = self.send("GET", ACTIVITIES, params=params, schema=_FEED)
        return found["activities"]


def _about(record_id: str, answer: T, told: Contact | Deal | Task) -> T:
    """The answer. Raises ``CrmRejected`` where it is about another record than was asked for."""
    if told["id"] != record_id:
        why = f"{DIALECT.title} answered with another record than the one asked for"
        raise CrmRejected(why, crm=DIALECT.crm, operation="read a record")
    return answer


def _count(told: int, records: Sequence[object], offset: int) -> int:
    """How many there are; behind an empty page there is nothing, whatever is told."""
    return told if records else offset


def following(offset: int, count: int) -> int | None:
    """Where the next page begins; None after the last."""
    return offset + LIST_STEP if offset + LIST_SIZE < count else None


def after(last: str | None, contacts: Sequence[Contact]) -> Sequence[Contact]:
    """What of a page comes after the last contact of the page before, which overlaps."""
    ids = [contact["id"] for contact in contacts]
    return contacts[ids.index(last) + 1 :] if last in ids else contacts


def last_id(contacts: Sequence[Contact]) -> str | None:
    return contacts[-1]["id"] if contacts else None


def is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _place(offset: int) -> dict[str, str]:
    return {"limit": str(LIST_SIZE), "offset": str(offset)}
