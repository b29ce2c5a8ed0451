"""Pipedrive's API as few verbs: read by ids, page through, write; and what each call costs.

https://developers.pipedrive.com/docs/api/v1 (v2 beside it)
API v2, and v1 only for what v2 lacks: users, webhooks, activity types.
Reading 100 records by a list costs 10 tokens and reading one by its own address costs 1, so few
are read one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from marshmallow import Schema, ValidationError

from adapters.answers import understood
from adapters.client import Client
from adapters.paging import Places
from adapters.pipedrive.dialect import CRM, TITLE, Limits
from plugin.errors import CrmRejected, CrmUnavailable, RecordGone
from schemas.fields import MAX_ID, RECORD_NUMBER
from schemas.pipedrive import (
    Activity,
    ActivitySchema,
    Deal,
    DealSchema,
    Marked,
    MarkedSchema,
    OneRecordSchema,
    Organization,
    OrganizationSchema,
    Person,
    PersonSchema,
    RecordPageSchema,
)

log = logging.getLogger(__name__)

RecordT = TypeVar("RecordT", Person, Deal, Organization, Activity, Marked)

IDS_SIZE = 100
"""Ids in one call."""
PAGE_SIZE = 500
JUST_NOW = timedelta(minutes=10)
"""How long a record that could be read shows that a single odd one is to blame itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One call and its price in tokens (``x-token-cost`` in Pipedrive's OpenAPI files)."""

    method: str
    path: str
    cost: int


GET_PERSON = Operation(method="GET", path="/api/v2/persons/{id}", cost=1)
LIST_PERSONS = Operation(method="GET", path="/api/v2/persons", cost=10)
UPDATE_PERSON = Operation(method="PATCH", path="/api/v2/persons/{id}", cost=5)
GET_DEAL = Operation(method="GET", path="/api/v2/deals/{id}", cost=1)
LIST_DEALS = Operation(method="GET", path="/api/v2/deals", cost=10)
LIST_ARCHIVED_DEALS = Operation(method="GET", path="/api/v2/deals/archived", cost=20)
GET_ORGANIZATION = Operation(method="GET", path="/api/v2/organizations/{id}", cost=1)
LIST_ORGANIZATIONS = Operation(method="GET", path="/api/v2/organizations", cost=10)
GET_ACTIVITY = Operation(method="GET", path="/api/v2/activities/{id}", cost=1)
LIST_ACTIVITIES = Operation(method="GET", path="/api/v2/activities", cost=10)
CREATE_ACTIVITY = Operation(method="POST", path="/api/v2/activities", cost=5)
UPDATE_ACTIVITY = Operation(method="PATCH", path="/api/v2/activities/{id}", cost=5)
DELETE_ACTIVITY = Operation(method="DELETE", path="/api/v2/activities/{id}", cost=3)
LIST_ACTIVITY_FIELDS = Operation(method="GET", path="/api/v2/activityFields", cost=10)
LIST_FIELDS = Operation(method="GET", path="/api/v2/personFields", cost=10)
CREATE_FIELD = Operation(method="POST", path="/api/v2/personFields", cost=5)
DELETE_FIELD = Operation(method="DELETE", path="/api/v2/personFields/{id}", cost=3)
ADD_OPTIONS = Operation(method="POST", path="/api/v2/personFields/{id}/options", cost=5)
GET_ME = Operation(method="GET", path="/api/v1/users/me", cost=2)
LIST_USERS = Operation(method="GET", path="/api/v1/users", cost=20)
LIST_ACTIVITY_TYPES = Operation(method="GET", path="/api/v1/activityTypes", cost=20)
LIST_WEBHOOKS = Operation(method="GET", path="/api/v1/webhooks", cost=10)
CREATE_WEBHOOK = Operation(method="POST", path="/api/v1/webhooks", cost=10)
DELETE_WEBHOOK = Operation(method="DELETE", path="/api/v1/webhooks/{id}", cost=6)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind(Generic[RecordT]):
    """How records of one kind are read. ``extra``: fields that come only where asked for."""

    get: Operation
    list: Operation
    record: Schema
    extra: tuple[str, ...] = ()


PERSONS: Kind[Person] = Kind(
    get=GET_PERSON,
    list=LIST_PERSONS,
    record=PersonSchema(),
    extra=(
        "open_deals_count",
        "closed_deals_count",
        "participant_open_deals_count",
        "participant_closed_deals_count",
    ),
)
DEALS: Kind[Deal] = Kind(
    get=GET_DEAL,
    list=LIST_DEALS,
    record=DealSchema(),
    extra=("participants_count",),
)
ARCHIVED_DEALS: Kind[Deal] = Kind(
    get=GET_DEAL,
    list=LIST_ARCHIVED_DEALS,
    record=DealSchema(),
    extra=("participants_count",),
)
ORGANIZATIONS: Kind[Organization] = Kind(
    get=GET_ORGANIZATION,
    list=LIST_ORGANIZATIONS,
    record=OrganizationSchema(),
)
ACTIVITIES: Kind[Activity] = Kind(
    get=GET_ACTIVITY,
    list=LIST_ACTIVITIES,
    record=ActivitySchema(),
)
PERSON_MARKS: Kind[Marked] = Kind(get=GET_PERSON, list=LIST_PERSONS, record=MarkedSchema())
DEAL_MARKS: Kind[Marked] = Kind(get=GET_DEAL, list=LIST_DEALS, record=MarkedSchema())
ARCHIVED_DEAL_MARKS: Kind[Marked] = Kind(
    get=GET_DEAL, list=LIST_ARCHIVED_DEALS, record=MarkedSchema()
)
"""The same, where it only matters which there are."""

_ONE = OneRecordSchema()
_PAGE = RecordPageSchema()


class Api:
    """One account's API. Every method may raise ``CrmError``."""

    def __init__(self, client: Client, limits: Limits) -> None:
        self.client = client
        self.day = limits.day
        self.clock = limits.clock
        self._burst = limits.burst
        self._dialect = limits.dialect
        self._understood: dict[Schema, datetime] = {}

    def send(
        self,
        operation: Operation,
        *,
        id_: str = "",
        body: object = None,
        params: Mapping[str, str] | None = None,
        schema: Schema | None = None,
        repeat: bool = True,
    ) -> Any:
        """One call; what ``schema`` makes of the answer. Raises ``CrmRateLimited`` before it is
        sent where our share of the day is used up."""
        path = operation.path.replace("{id}", id_)
        name = f"{operation.method} {operation.path}"
        self.day.check(operation.cost, name)
        before = self.client.calls
        try:
            answer = self.client.send(
                operation.method,
                path,
                budget=self._burst,
                body=body,
                params=params,
                repeat=repeat,
            )
        finally:
            self.day.spend(operation.cost * (self.client.calls - before))
        return schema and understood(schema, answer, self._dialect, name, repeat=repeat)

    def by_ids(self, kind: Kind[RecordT], ids: Iterable[str]) -> dict[str, RecordT]:
        """Records by id; absent those that are deleted or not there.

        Raises ``CrmRejected`` where one of them is odd although others of its kind can be read: a
        smaller batch will do, but for that one.
        """
        found: dict[str, RecordT] = {}
        asked = askable(ids)
        for start in range(0, len(asked), IDS_SIZE):
            chunk = asked[start : start + IDS_SIZE]
            if len(chunk) * kind.get.cost < kind.list.cost:
                found |= self._one_by_one(kind, chunk)
            else:
                found |= self._listed(kind, chunk)
        return found

    def _one_by_one(self, kind: Kind[RecordT], ids: Sequence[str]) -> dict[str, RecordT]:
        answered: list[object] = []
        unsure: list[str] = []
        for one in ids:
            try:
                answer = self.send(kind.get, id_=one, params=_extra(kind), schema=_ONE)
            except RecordGone:
                unsure.append(one)
            else:
                answered.append(answer["data"])
        found = _asked_for(self._all_of(kind, kind.get, answered), ids)
        # A 404 may also mean that the address is wrong: only a list says who is not there.
        return found | (self._listed(kind, unsure) if unsure else {})

    def _listed(self, kind: Kind[RecordT], ids: Sequence[str]) -> dict[str, RecordT]:
        params = {"ids": ",".join(ids), "limit": str(IDS_SIZE), **_extra(kind)}
        page = self.send(kind.list, params=params, schema=_PAGE)
        return _asked_for(self._all_of(kind, kind.list, page["data"]), ids)

    def page(
        self, kind: Kind[RecordT], params: Mapping[str, str], cursor: str | None
    ) -> tuple[list[RecordT], str | None]:
        """One page of a list, deleted records too where it has them, and where to go on. One that
        is odd is left out: it must not keep us from all that come after it."""
        raw, following = self._page(kind, params, cursor)
        records, odd = self._records(kind, kind.list, raw)
        if odd:
            log.warning("%s records of %s are odd: %s", len(odd), kind.list.path, _named(odd))
        return records, following

    def all(self, kind: Kind[RecordT], params: Mapping[str, str]) -> Iterator[RecordT]:
        """Every record of a list that is not deleted. Raises ``CrmRejected`` as ``by_ids`` does."""
        cursor: str | None = ""
        places = Places(CRM, f"{kind.list.method} {kind.list.path}")
        while cursor is not None:
            raw, following = self._page(kind, {**params, **_extra(kind)}, cursor)
            cursor = places.then(following)
            records = self._all_of(kind, kind.list, raw)
            yield from (one for one in records if not one["is_deleted"])

    def _page(
        self, kind: Kind[RecordT], params: Mapping[str, str], cursor: str | None
    ) -> tuple[list[object], str | None]:
        asked = {**params, "limit": str(PAGE_SIZE)}
        if cursor:
            asked["cursor"] = cursor
        page = self.send(kind.list, params=asked, schema=_PAGE)
        return page["data"], next_cursor(page)

    def _all_of(
        self, kind: Kind[RecordT], operation: Operation, raw: Sequence[object]
    ) -> list[RecordT]:
        records, odd = self._records(kind, operation, raw)
        if odd:
            name = f"{operation.method} {operation.path}"
            raise CrmRejected(
                f"records in the answer of {TITLE} to {name} have an unknown form: {_named(odd)}",
                crm=CRM,
                operation=name,
            )
        return records

    def _records(
        self, kind: Kind[RecordT], operation: Operation, raw: Sequence[object]
    ) -> tuple[list[RecordT], list[str]]:
        """Those that can be read, and what is odd about the others. Raises ``CrmUnavailable``
        where none of several could be read, or the only one and none just before: then it is not
        the records' fault."""
        now = self.clock()
        records: list[RecordT] = []
        odd: list[str] = []
        for one in raw:
            try:
                records.append(kind.record.load(one))  # type: ignore[arg-type]
            except ValidationError as error:
                odd += map(str, error.messages_dict)
        if records:
            self._understood[kind.record] = now
        just_now = self._understood.get(kind.record)
        if odd and not records and (len(raw) > 1 or not just_now or now - just_now > JUST_NOW):
            name = f"{operation.method} {operation.path}"
            raise CrmUnavailable(
                f"the answer of {TITLE} to {name} has an unknown form: {_named(odd)}",
                crm=CRM,
                operation=name,
            )
        return records, odd


def askable(ids: Iterable[str]) -> list[str]:
    """Each id once; one that no record can have is left out."""
    fit = {one for one in ids if RECORD_NUMBER.fullmatch(one) and int(one) <= MAX_ID}
    return sorted(fit, key=int)


def _asked_for(records: Iterable[RecordT], ids: Sequence[str]) -> dict[str, RecordT]:
    return {one["id"]: one for one in records if one["id"] in ids and not one["is_deleted"]}


def _named(odd: Iterable[str]) -> str:
    return ", ".join(sorted(set(odd)))


def next_cursor(page: Mapping[str, Any]) -> str | None:
    more = page["additional_data"]
    return (more["next_cursor"] or None) if more else None


def _extra(kind: Kind[RecordT]) -> dict[str, str]:
    return {"include_fields": ",".join(kind.extra)} if kind.extra else {}
