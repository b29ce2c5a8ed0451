"""EspoCRM's API as few verbs, and how it says no.

https://docs.espocrm.com/development/api/
https://docs.espocrm.com/development/api-search-params/

An error's body is mostly empty; what is wrong stands in the header ``X-Status-Reason``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from marshmallow import Schema, ValidationError

from adapters.answers import failure, readable, understood, word
from adapters.client import Answer, Client, Dialect, RateBudget, Refusal
from adapters.espocrm.values import instant, moment, text
from adapters.paging import Places
from adapters.recent import Recent
from plugin.errors import (
    ConfigurationError,
    CrmError,
    CrmRateLimited,
    CrmRejected,
    CrmUnauthorized,
    CrmUnavailable,
    RecordGone,
)
from plugin.ports import Failure
from plugin.reach import Reach
from schemas.espocrm import (
    ErrorBody,
    ErrorSchema,
    Me,
    MeSchema,
    RawListSchema,
    Record,
    RecordList,
    RecordListSchema,
    RecordSchema,
)

CONTACT = "Contact"
OPPORTUNITY = "Opportunity"
TASK = "Task"

ROOT = "/api/v1"
PAGE = 200
"""``recordListMaxSizeLimit``: more answers 403."""
STEP = PAGE - 20
"""How far to go where all records of a page share one instant: so many may go meanwhile, and move
the others up, without one being missed."""
LISTED_TEXT = 10_000
"""Characters of a text in a list (``maxSelectTextAttributeLengthForList``); the rest is cut."""
BATCH_SIZE = 80
"""Ids in one address: with UUIDs it stays below the 8 kB that web servers take."""
CALLS_A_SECOND = 20
"""EspoCRM has no limit; this is what we leave a small server to breathe."""
LOCKED_OUT_SECONDS = 60.0
CONFLICT = 409
RIGHTS_SECONDS = 60.0

REFUSALS = {
    "Assignment failure": "the role of the API user needs the Assignment Permission 'all'",
    "Can't relate with non-existing record": "what it should lead to is not there",
    "No foreign record access": "the API user may not use what it should lead to",
    "No access for link operation": "the API user may not use what it should lead to",
}
"""How the reason of a 403 about one record begins → what it means."""

_ONE_RECORD = re.compile(rf"(PUT|DELETE) {ROOT}/({CONTACT}|{TASK})/[^/]+")
_ERROR = ErrorSchema()
_ME = MeSchema()
_RECORD = RecordSchema()
_LIST = RecordListSchema()
_RAW_LIST = RawListSchema()

Condition = Mapping[str, object]
"""One item of ``where``: type, attribute, value."""


# ------------------------------------------------------------------------- saying no


def refusal(payload: object) -> Refusal:
    """What an error body says, without the values it quotes."""
    try:
        body: ErrorBody = _ERROR.load(payload)  # type: ignore[arg-type]
    except ValidationError:
        return Refusal()
    told = body["translation"]
    if told is None:
        return Refusal()
    data = told["data"] if isinstance(told["data"], dict) else {}
    name, kind = word(data.get("field")), word(data.get("type"))
    return Refusal(code=word(told["label"]), field_errors={name: kind or "refused"} if name else {})


class Forbidden(CrmRejected):
    """A 403 to a change of one record. In the same words EspoCRM says that the role allows no
    change of this record, and that it allows none of the whole type."""


def error(answer: Answer) -> CrmError | None:
    """Those 403 that do not mean missing rights; the header tells. A write to one record may
    be refused for that record alone: ``Forbidden``."""
    if answer.status != 403:
        return None
    reason = answer.headers.get("X-Status-Reason") or ""
    said = f"EspoCRM answered 403 to {answer.operation}"
    if reason.startswith("Max failed login attempts"):
        why = f"{said}: it keeps this address out after too many logins with a wrong key"
        return CrmRateLimited(
            why,
            retry_after=LOCKED_OUT_SECONDS,
            crm="espocrm",
            operation=answer.operation,
            status=403,
        )
    if reason.startswith("Record") and reason.endswith("not found."):
        # It went between two of our questions. Asked anew from the start, it is not asked for.
        why = f"{said}: a record in the filter is not there"
        return CrmUnavailable(
            why, crm="espocrm", operation=answer.operation, status=403, outcome_unknown=False
        )
    for start, meaning in REFUSALS.items():
        if reason.startswith(start):
            why = f"{said}: {meaning}"
            return CrmRejected(why, crm="espocrm", operation=answer.operation, status=403)
    if _ONE_RECORD.fullmatch(answer.operation):
        why = f"{said}: the API user may not do that to this record"
        return Forbidden(why, crm="espocrm", operation=answer.operation, status=403)
    return None


def _api_key(token: str) -> Mapping[str, str]:
    """With the key goes that what we write is no duplicate: an administrator may have EspoCRM look
    for these at every change (``updateDuplicateCheck``), and answer 409.

    https://docs.espocrm.com/development/api/crud/
    """
    return {"X-Api-Key": token, "X-Skip-Duplicate-Check": "true"}


def _basic(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Basic {token}"}


DIALECT = Dialect(crm="espocrm", title="EspoCRM", refusal=refusal, auth=_api_key, error=error)
ADMIN_DIALECT = Dialect(crm="espocrm", title="EspoCRM", refusal=refusal, auth=_basic, error=error)


# ----------------------------------------------------------------------------- calls


def site(base_url: str) -> str:
    """The address of the CRM itself; the API's is understood, too."""
    return base_url.rstrip("/").removesuffix(ROOT)


class Api:
    """One account's API. Every method may raise ``CrmError``.

    ``admin`` is ``user:password`` of an administrator, for the calls with ``as_admin``; an API
    user cannot be one. Raises ``ConfigurationError`` where it is not: EspoCRM would count a failed
    login.
    """

    def __init__(
        self, base_url: str, token: str, budget: RateBudget, *, reach: Reach, admin: str = ""
    ) -> None:
        self._budget = budget
        self._client = Client(base_url=site(base_url), token=token, dialect=DIALECT, reach=reach)
        self._rights = Recent(self._read_rights, RIGHTS_SECONDS)
        self._admin: Client | None = None
        if admin:
            if not all(admin.partition(":")):
                raise ConfigurationError("ESPOCRM_ADMIN is not in the form user:password")
            login = base64.b64encode(admin.encode("utf-8")).decode("ascii")
            self._admin = Client(
                base_url=site(base_url), token=login, dialect=ADMIN_DIALECT, reach=reach
            )

    @property
    def calls(self) -> int:
        return self._client.calls + (self._admin.calls if self._admin else 0)

    @calls.setter
    def calls(self, value: int) -> None:
        self._client.calls = value
        if self._admin:
            self._admin.calls = 0

    @property
    def guard(self) -> Callable[[], None]:
        return self._client.guard

    @guard.setter
    def guard(self, value: Callable[[], None]) -> None:
        self._client.guard = value
        if self._admin:
            self._admin.guard = value

    @property
    def has_admin(self) -> bool:
        return self._admin is not None

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
        schema: Schema | None = None,
        repeat: bool = True,
        as_admin: bool = False,
    ) -> Any:
        """What ``schema`` makes of the answer; None without one."""
        client = self._admin if as_admin else self._client
        if client is None:
            raise ConfigurationError("this needs an administrator of EspoCRM: set ESPOCRM_ADMIN")
        answer = client.send(
            method, ROOT + path, budget=self._budget, body=body, params=params, repeat=repeat
        )
        operation = f"{method} {path}"
        return schema and understood(schema, answer, DIALECT, operation, repeat=repeat)

    def me(self) -> Me:
        """The API user, what it may do, and the account's settings."""
        told: Me = self.send("GET", "/App/user", schema=_ME)
        return told

    # -- records

    def page(
        self,
        kind: str,
        select: Sequence[str],
        where: Sequence[Condition] = (),
        *,
        order: str = "createdAt",
        offset: int = 0,
    ) -> list[Record]:
        """At most ``PAGE`` records, the oldest by ``order`` first."""
        params = _page(select, where, order, offset)
        found: RecordList = self.send("GET", f"/{kind}", params=params, schema=_LIST)
        return found["records"]

    def all(
        self, kind: str, select: Sequence[str], where: Sequence[Condition] = ()
    ) -> list[Record]:
        """All records that fit, page by page."""
        found: dict[str, Record] = {}
        places = Places(DIALECT.crm, f"GET /{kind}")
        offset: int | None = 0
        while offset is not None:
            records = self.page(kind, select, where, offset=offset)
            found |= {record["id"]: record for record in records}
            offset = places.then(offset + PAGE if len(records) >= PAGE else None)
        return list(found.values())

    def by_ids(self, kind: str, ids: Sequence[str], select: Sequence[str]) -> dict[str, Record]:
        """Records by id; absent those that are gone, or that the API user may not see."""
        found: dict[str, Record] = {}
        for chunk in chunks(ids):
            records = self.page(kind, select, [condition("in", "id", chunk)])
            found |= {record["id"]: record for record in records if record["id"] in chunk}
        return found

    def since(
        self, kind: str, select: Sequence[str], attribute: str, start: str, cursor: str | None
    ) -> tuple[list[Record], str | None]:
        """One page of records by an instant, and where to go on.

        The cursor is ``<instant>|<offset>``. The next page begins with the last instant of this
        one anew, so nothing is missed when records come and go meanwhile; only where all of a
        page share one instant does the offset grow, by less than a page. Some records come twice;
        odd ones are left out.
        """
        start, _, place = cursor.partition("|") if cursor else (start, "", "0")
        where = [condition("after", attribute, _second_before(start))] if start else []
        params = _page([*select, attribute], where, attribute, int(place))
        told = self.send("GET", f"/{kind}", params=params, schema=_RAW_LIST)["records"]
        records: list[Record] = readable(_RECORD, told, DIALECT, f"GET /{kind}")
        if len(told) < PAGE:
            return records, None
        last = instant(text(records[-1], attribute))
        if last and moment(last) > start:
            return records, f"{moment(last)}|0"
        return records, f"{start}|{int(place) + STEP}"

    def create(self, kind: str, attributes: Mapping[str, object]) -> Record:
        """The new record. Sent once: where no answer came, it may be there."""
        created: Record = self.send(
            "POST", f"/{kind}", body=dict(attributes), schema=_RECORD, repeat=False
        )
        return created

    def whole(self, kind: str, record_id: str) -> Record | None:
        """A record with all of its texts, which lists cut; None where it is gone."""
        try:
            found: Record = self.send("GET", f"/{kind}/{record_id}", schema=_RECORD)
        except RecordGone:
            return None
        return found

    def update(self, kind: str, record_id: str, attributes: Mapping[str, object]) -> Failure | None:
        """Write some attributes of one record; what stood against it. Raises ``CrmUnauthorized``
        where the role allows to edit none of its kind."""
        try:
            self.send("PUT", f"/{kind}/{record_id}", body=dict(attributes))
        except (CrmRejected, RecordGone) as error:
            self._check_role(kind, "edit", error)
            return failure(record_id, error)
        return None

    def delete(self, kind: str, record_id: str) -> None:
        """One that is gone already is no fault. Raises ``CrmUnauthorized`` where the role allows
        to delete none of its kind, ``CrmRejected`` where it does not allow it for this one."""
        try:
            self.send("DELETE", f"/{kind}/{record_id}")
        except RecordGone:
            return
        except CrmRejected as error:
            self._check_role(kind, "delete", error)
            raise

    # -- rights

    def _check_role(self, kind: str, action: str, error: CrmError) -> None:
        if isinstance(error, Forbidden) and not _allowed(self._rights.get(), kind, action):
            raise CrmUnauthorized(
                f"the role of EspoCRM's API user does not allow to {action} any {kind}",
                crm=error.crm,
                operation=error.operation,
                status=error.status,
            ) from error

    def _read_rights(self) -> Mapping[str, Any] | None:
        told = self.me()["rights"]
        return told["table"] if told else None


def _allowed(rights: Mapping[str, Any] | None, kind: str, action: str) -> bool:
    """Whether it is allowed for some records at least; what is not known counts as allowed."""
    if rights is None:
        return True
    level = rights.get(kind, False)
    if isinstance(level, dict):
        level = level.get(action, False)
    return level not in (False, "no")


def condition(kind: str, attribute: str, value: object) -> Condition:
    return {"type": kind, "attribute": attribute, "value": value}


def chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    """Ids as often as one call takes them, each once."""
    unique = list(dict.fromkeys(ids))
    for start in range(0, len(unique), BATCH_SIZE):
        yield unique[start : start + BATCH_SIZE]


def _page(
    select: Sequence[str], where: Sequence[Condition], order: str, offset: int
) -> dict[str, str]:
    return {
        "select": ",".join(dict.fromkeys(select)),
        "maxSize": str(PAGE),
        "offset": str(offset),
        "orderBy": order,
        "order": "asc",
        **_where(where),
    }


def _where(conditions: Sequence[Condition]) -> dict[str, str]:
    """``where`` as PHP reads it from an address: ``where[0][value][3]=…``."""
    params: dict[str, str] = {}
    for at, one in enumerate(conditions):
        for key, value in one.items():
            name = f"where[{at}][{key}]"
            if isinstance(value, list):
                params |= {f"{name}[{place}]": str(part) for place, part in enumerate(value)}
            else:
                params[name] = str(value)
    return params


def _second_before(start: str) -> str:
    """``after`` leaves out the instant itself, and one second may hold many changes."""
    at = instant(start)
    return moment(at - timedelta(seconds=1)) if at else start
