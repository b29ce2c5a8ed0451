"""EspoCRM's API: who may do what, and which address does it.

https://docs.espocrm.com/development/api/; errors as recorded: an empty body, and the reason in a
header.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.payloads.espocrm.administration import Administration
from tests.payloads.espocrm.entities import CUSTOMIZABLE
from tests.payloads.espocrm.records import CURRENCY, RATES, Records
from tests.payloads.espocrm.searching import Record, Refused, search_of

ROOT = "/api/v1/"
ZONE = "Europe/Berlin"
FAILURES, PERIOD = 10, timedelta(seconds=60)  # authMaxFailedAttemptNumber, …AttemptsPeriod
MAX_WEBHOOKS = 50  # webhookMaxCountPerUser
EVENT_TYPES = ("create", "update", "delete", "fieldUpdate")
COLUMNS = {"contacts": "opportunityRole", "opportunities": "contactRole", "tasks": "emailId"}
"""What a list of linked records tells beyond what they tell themselves."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """``steps``: the path below the API's root."""

    method: str
    steps: list[str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    user: Record

    @property
    def by_admin(self) -> bool:
        return bool(self.user["type"] == "admin")


class Api:
    """Answers requests. ``passwords``: by user name; ``site``: where this CRM is reached."""

    def __init__(
        self,
        records: Records,
        administration: Administration,
        *,
        passwords: Mapping[str, str],
        now: Callable[[], datetime],
        site: Callable[[], str],
    ) -> None:
        self._records, self._administration = records, administration
        self._passwords, self._now, self._site = passwords, now, site
        self._failures: list[datetime] = []

    def answer(
        self, method: str, path: str, query: Mapping[str, str], body: Any,
        headers: Mapping[str, str],
    ) -> tuple[int, Any, Mapping[str, str]]:  # fmt: skip
        try:
            steps = _below_root(path)
            request = Request(
                method="PUT" if method == "PATCH" else method, steps=steps, query=query,
                headers=headers, body=body or {}, user=self._login(headers),
            )  # fmt: skip
            status, content = self._route(request)
        except Refused as refused:
            return refused.status, refused.body, refused.headers
        return status, b"null" if content is None else content, {"X-App-Timestamp": "1795304509"}

    # -- logging in

    def _login(self, headers: Mapping[str, str]) -> Record:
        """The user. More than ten failures within a minute shut everybody out for a minute."""
        now = self._now()
        self._failures = [one for one in self._failures if one > now - PERIOD]
        if len(self._failures) > FAILURES:
            raise Refused(403, "Max failed login attempts exceeded for IP address 127.0.0.1.")
        asks = {"WWW-Authenticate": 'Basic realm=""'}
        plain = {"Content-Type": "text/html; charset=UTF-8"}
        if "x-api-key" in headers:
            found = self._by_key(headers["x-api-key"])
        elif headers.get("authorization", "").startswith("Basic "):
            found = self._by_password(headers["authorization"].removeprefix("Basic "))
        else:
            raise Refused(401, headers={**plain, **asks})
        if found is None:
            self._failures.append(now)
            raise Refused(401, headers=plain)
        return found

    def _by_key(self, key: str) -> Record | None:
        for one in self._records.there("User"):
            if one.get("apiKey") == key and one["isActive"] and one["authMethod"] == "ApiKey":
                return one
        return None

    def _by_password(self, encoded: str) -> Record | None:
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        if not password or self._passwords.get(name) != password:
            return None
        return next((u for u in self._records.there("User") if u["userName"] == name), None)

    # -- addresses

    def _route(self, request: Request) -> tuple[int, Any]:
        match request.method, request.steps:
            case "GET", ["Settings"]:
                return 200, self._settings()
            case "GET", ["App", "user"]:
                user = self._records.whole("User", request.user)
                return 200, {"user": user, "settings": self._settings(), "language": "en_US"}
            case "GET", ["Metadata"]:
                return 200, self._administration.metadata(request.query.get("key"))
            case "GET", ["I18n"]:
                return 200, self._administration.labels
            case "GET", [entity, "layout", layout] if entity in CUSTOMIZABLE:
                return 200, self._administration.layout(f"{entity}/{layout}")
            case "POST", ["Action"]:
                return 200, self._action(request)
            case _, ["Admin" | "EntityManager", *_] | [_, "layout", *_]:
                if not request.by_admin:
                    raise Refused(403)
                return 200, self._administer(request)
            case _, [entity, *_] if entity in self._records.tables:
                self._allow(entity, request)
                return self._records_of(entity, request)
            case _:
                raise Refused(404)

    def _settings(self) -> Record:
        return {
            "applicationName": "EspoCRM", "siteUrl": self._site(), "timeZone": ZONE,
            "defaultCurrency": CURRENCY, "baseCurrency": CURRENCY,
            "currencyList": [CURRENCY, *RATES], "currencyRates": RATES,
            "language": "en_US", "recordsPerPage": 20,
        }  # fmt: skip

    def _administer(self, request: Request) -> Any:
        do, body = self._administration, request.body
        match request.method, request.steps:
            case "POST", ["Admin", "rebuild" | "clearCache"]:
                return True
            case "GET", ["Admin", "fieldManager", entity, name]:
                return do.read_field(entity, name)
            case "POST", ["Admin", "fieldManager", entity]:
                return do.create_field(entity, body)
            case "PUT", ["Admin", "fieldManager", entity, name]:
                return do.update_field(entity, name, body)
            case "DELETE", ["Admin", "fieldManager", entity, name]:
                return do.delete_field(entity, name)
            case "POST", ["EntityManager", "action", "createLink"]:
                return do.create_link(body)
            case "POST", ["EntityManager", "action", "removeLink"]:
                return do.remove_link(body)
            case "PUT", [entity, "layout", name]:
                do.layouts[f"{entity}/{name}"] = body
                return body
            case _:
                raise Refused(404)

    def _records_of(self, entity: str, request: Request) -> tuple[int, Any]:
        match request.method, request.steps[1:]:
            case "GET", []:
                there = self._records.there(entity)
                among = [one for one in there if _shown(entity, one, request)]
                search = search_of(request.query, request.headers)
                return 200, self._records.search(entity, search, among)
            case "POST", []:
                return self._create(entity, request)
            case "GET", [record_id]:
                return 200, self._read(entity, record_id, request)
            case "PUT", [record_id]:
                return 200, self._update(entity, record_id, request)
            case "DELETE", [record_id]:
                record = self._records.get(entity, record_id)
                self._records.delete(entity, record, request.user["id"])
                return 200, True
            case "GET", [record_id, link]:
                return 200, self._linked(entity, record_id, link, request)
            case ("POST" | "DELETE") as method, [record_id, link]:
                record, body = self._records.get(entity, record_id), request.body
                ids = [*filter(None, [body.get("id")]), *body.get("ids", ())]
                for one in ids:
                    self._records.relate(entity, record, link, one, on=method == "POST")
                return 200, bool(ids)
            case _:
                raise Refused(404)

    # -- rights

    def _allow(self, entity: str, request: Request) -> None:
        if request.by_admin:
            return
        if entity == "Role" or (entity == "User" and request.method != "GET"):
            raise Refused(403, f"No access to '{entity}'.")
        if entity == "Webhook" and not self._role(request).get("data", {}).get("Webhook"):
            raise Refused(403, "No access to 'Webhook'.")

    def _role(self, request: Request) -> Record:
        roles = request.user.get("rolesIds", ())
        return self._records.find("Role", next(iter(roles), None)) or {}

    def _check_assignment(self, request: Request) -> None:
        """Assigning to others is a right of its own, which new roles do not give."""
        user = request.user
        if user["type"] != "api" or request.body.get("assignedUserId") in (None, user["id"]):
            return
        if self._role(request).get("assignmentPermission") != "all":
            raise Refused(403, "Assignment failure: assigned user or team not allowed.")

    # -- records

    def _read(self, entity: str, record_id: str, request: Request) -> Record:
        """An administrator sees deleted records, too, and users' keys."""
        found = self._records.tables[entity].get(record_id)
        if found is None or not request.by_admin:
            found = self._records.get(entity, record_id)
        whole = self._records.whole(entity, found)
        if entity == "User" and request.by_admin and "apiKey" in found:
            whole["apiKey"] = found["apiKey"]
        return whole

    def _create(self, entity: str, request: Request) -> tuple[int, Any]:
        self._check_assignment(request)
        user_id, body = request.user["id"], request.body
        if entity == "Webhook":
            return 201, self._records.created(entity, self._new_webhook(request))
        if entity == "User":
            record = self.new_user(body, user_id)
            key = {"apiKey": record["apiKey"]} if "apiKey" in record else {}
            return 200, {**self._records.created("User", record), **key}
        if request.headers.get("x-skip-duplicate-check") != "true":
            self._check_duplicates(entity, body)
        return 200, self._records.created(entity, self._records.create(entity, body, user_id))

    def _update(self, entity: str, record_id: str, request: Request) -> Record:
        """What a webhook is about stays, whatever is asked for."""
        record = self._records.get(entity, record_id)
        self._check_assignment(request)
        body = {k: v for k, v in request.body.items() if (entity, k) != ("Webhook", "event")}
        self._records.update(entity, record, body, request.user["id"])
        whole = self._records.whole(entity, record)
        if entity == "Contact" and not record.get("accountId"):
            record.pop("title", None)  # it is kept with the account; without one it is forgotten
        return whole

    def _check_duplicates(self, entity: str, body: Any) -> None:
        """The same name, or the same e-mail address."""
        names = {"Contact": ("firstName", "lastName"), "Account": ("name",)}.get(entity)
        email = str(body.get("emailAddress") or "").lower()
        found = [
            one
            for one in self._records.there(entity)
            if names
            and (
                all(one.get(name) == body.get(name) for name in names)
                or (email and str(one.get("emailAddress") or "").lower() == email)
            )
        ]
        if found:
            told = self._records.attributes(entity)
            listed = [self._records.told(entity, one, told) for one in found]
            raise Refused(409, "duplicate", listed)

    def _new_webhook(self, request: Request) -> Record:
        user_id, body = request.user["id"], request.body
        entity, kind, field = (*str(body.get("event", "")).split("."), "", "", "")[:3]
        if entity not in CUSTOMIZABLE:
            raise Refused(403, "Entity type is not available for Webhooks.")
        if kind not in EVENT_TYPES:
            raise Refused(403, "Not supported event.")
        if kind == "fieldUpdate" and field not in self._records.fields[entity]:
            raise Refused(403, "Field does not exist.")
        own = [one for one in self._records.there("Webhook") if one["createdById"] == user_id]
        if len(own) >= MAX_WEBHOOKS and not request.by_admin:
            raise Refused(403, "Webhook number per user exceeded the limit.")
        return self._records.create(
            "Webhook", body, user_id, entityType=entity, type=kind, field=field or None,
            secretKey=secrets.token_hex(16),
        )  # fmt: skip

    def new_user(self, values: Mapping[str, Any], user_id: str) -> Record:
        """A user of the API gets a key."""
        more: Record = {}
        if values.get("type") == "api":
            values = {"lastName": values["userName"], **values}
            more = {"apiKey": secrets.token_hex(16)}
        return self._records.create("User", {"type": "regular", **values}, user_id, **more)

    def _linked(self, entity: str, record_id: str, link: str, request: Request) -> Record:
        record = self._records.get(entity, record_id)
        definition = self._records.links[entity].get(link)
        if definition is None or "entity" not in definition:
            raise Refused(404, f"Link '{link}' does not exist.")
        foreign = definition["entity"]
        ids = self._records.linked(entity, record, link)
        among = [self._records.tables[foreign][one] for one in ids]
        search = search_of(request.query, request.headers)
        found: Record = self._records.search(foreign, search, among)
        if not search.select and link in COLUMNS:
            found["list"] = [{**one, COLUMNS[link]: None} for one in found["list"]]
        return found

    # -- merging

    def _action(self, request: Request) -> Record:
        body, data = request.body, request.body.get("data", {})
        if body.get("action") != "merge":
            raise Refused(400, "Unknown action.")
        entity, keep = body["entityType"], body["id"]
        self.merge(
            entity, keep, data.get("sourceIdList", []), data.get("attributes", {}),
            request.user["id"],
        )  # fmt: skip
        return self._records.whole(entity, self._records.get(entity, keep))

    def merge(
        self, entity: str, keep: str, drop: list[str], values: Mapping[str, Any], user_id: str
    ) -> None:
        """What the dropped ones are linked with goes to the kept one, which webhooks are not told;
        then they are deleted, and the kept one is saved with the values that were chosen and the
        addresses of all (``Core/Action/Actions/Merge/Merger.php``)."""
        kept = self._records.get(entity, keep)
        sources = [self._records.get(entity, one) for one in drop]
        for source in sources:
            for link, definition in self._records.links[entity].items():
                if not definition["type"].startswith("belongsTo"):
                    for other in self._records.linked(entity, source, link):
                        self._records.relate(entity, kept, link, other, on=True)
        for source in sources:
            self._records.delete(entity, source, user_id)
        addresses = {
            f"{name}Data": [
                each
                for one in (kept, *sources)
                for each in self._records.value(entity, one, f"{name}Data")
            ]
            for name in ("emailAddress", "phoneNumber")
        }
        self._records.update(entity, kept, values, user_id, told=addresses)


def _below_root(path: str) -> list[str]:
    if not path.startswith(ROOT):
        raise Refused(404)
    return path.removeprefix(ROOT).split("/")


def _shown(entity: str, record: Record, request: Request) -> bool:
    """Only administrators see users that are switched off or belong to the API
    (``Classes/Select/User/AccessControlFilters/Mandatory.php``), only owners their webhooks."""
    if request.by_admin:
        return True
    if entity == "User":
        return bool(record["isActive"]) and record["type"] != "api"
    return entity != "Webhook" or record["createdById"] == request.user["id"]
