"""The REST API of the stand-in company, as strict as the documentation says the real one is.

Version 2 where it exists, version 1 for webhooks, users, activity types, currencies,
participants and merges: https://developers.pipedrive.com/docs/api/v1 and
https://pipedrive.readme.io/docs/pipedrive-api-v2-migration-guide. What a call costs of the daily
budget is ``x-token-cost`` in Pipedrive's OpenAPI files. Every other path is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.payloads.pipedrive import checking, lists, showing, wire
from tests.payloads.pipedrive.company import (
    API,
    COMPANY_ID,
    DOMAIN,
    WEBHOOK_LIMIT,
    Company,
    Field,
    Record,
)

PERSON_KEYS = frozenset(
    {"name", "owner_id", "org_id", "emails", "phones", "visible_to", "label_ids"}
    | {"marketing_status", "custom_fields"}
)
CONTACT_SYNC_KEYS = frozenset({"im", "postal_address", "notes", "birthday", "job_title"})
FIELD_KEYS = frozenset(
    {"field_name", "field_type", "options", "ui_visibility", "important_fields", "required_fields"}
)
FIELD_TYPES = frozenset(
    {"varchar", "text", "double", "phone", "date", "daterange", "time", "timerange", "set", "enum"}
    | {"varchar_auto", "address", "monetary", "org", "people", "user"}
)
WEBHOOK_KEYS = frozenset(
    {"subscription_url", "event_action", "event_object", "name", "user_id", "http_auth_user"}
    | {"http_auth_password", "version"}
)
ACTIONS = frozenset({"create", "change", "delete", "*"})
OBJECTS = frozenset(
    {"activity", "deal", "lead", "note", "organization", "person", "pipeline", "product"}
    | {"stage", "user", "*"}
)
ACTIVITY_TYPES = ("call", "meeting", "task", "deadline", "email", "lunch")
PRIORITIES = {263: "High", 264: "Medium", 265: "Low"}
STANDARD_FIELDS = (
    ("Name", "name", "varchar"), ("Label", "label_ids", "set"), ("Phone", "phones", "phone"),
    ("Email", "emails", "varchar"), ("Organization", "org_id", "org"),
    ("Owner", "owner_id", "user"), ("Update time", "update_time", "date"),
)  # fmt: skip

Answered = tuple[int, Any]
Handler = Callable[["Api", wire.Asked], Answered]


@dataclass(frozen=True, kw_only=True)
class Route:
    """``template`` as in the OpenAPI files, after their server."""

    method: str
    version: int
    template: str
    cost: int
    handler: Handler

    def match(self, method: str, path: str) -> Sequence[str] | None:
        pattern = self.template.replace("{id}", r"(\d+)").replace("{field_code}", "([^/]+)")
        found = re.fullmatch(rf"/api/v{self.version}{pattern}", path)
        return found.groups() if found and self.method == method else None


class Api:
    """Carries calls out on a company."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self.habits = lists.Habits()
        self.activity_types = set(ACTIVITY_TYPES)
        """Those that are switched on."""

    def answer(
        self, method: str, path: str, query: Mapping[str, str], body: Any
    ) -> tuple[int, Any]:
        """Status and JSON of a call with a good token."""
        route = find(method, path)
        if route is None:
            return 404, wire.missing("Endpoint").body
        chosen, arguments = route
        try:
            return chosen.handler(self, wire.Asked(arguments=arguments, query=query, body=body))
        except wire.Refused as refusal:
            return refusal.status, refusal.body

    # --------------------------------------------------------------------------- version 2

    def list_records(self, plural: str, asked: wire.Asked, *, archived: bool = False) -> Answered:
        query = asked.query
        wire.allowed(query, lists.QUERIES[plural])
        records = lists.chosen(self.company, plural, query, archived=archived, habits=self.habits)
        sort_by = wire.one_of(query, "sort_by", ("id", "update_time", "add_time"), "id")
        page, cursor = wire.page(records, sort_by, query)
        shown = [showing.record(self.company, plural, one, query) for one in page]
        return 200, {"success": True, "data": shown, "additional_data": {"next_cursor": cursor}}

    def list_archived_deals(self, asked: wire.Asked) -> Answered:
        return self.list_records("deals", asked, archived=True)

    def get_record(self, plural: str, asked: wire.Asked) -> Answered:
        """A deleted person answers with ``is_deleted`` for the 30 days it is kept."""
        wire.allowed(asked.query, lists.LABELS | {"include_fields", "custom_fields"})
        record = self.company.records[plural].get(asked.record_id)
        if record is None or (plural == "activities" and record["is_deleted"]):
            raise wire.missing(plural[:-1].capitalize())
        return 200, {
            "success": True,
            "data": showing.record(self.company, plural, record, asked.query),
        }

    def change_person(self, asked: wire.Asked) -> Answered:
        person = self._live("person", asked.record_id)
        body = wire.as_object(asked.body)
        if CONTACT_SYNC_KEYS & set(body):
            raise wire.refused(403, "Contact sync fields are not enabled", "ERR_FORBIDDEN")
        wire.known(body, PERSON_KEYS)
        changes = dict(body)
        if "custom_fields" in body:
            custom = wire.as_object(body["custom_fields"], "custom_fields")
            for code, value in custom.items():
                checking.custom_value(self.company, code, value)
        if "name" in body:
            first, _, last = wire.text(body, "name").partition(" ")
            changes |= {"first_name": first, "last_name": last}
        self.company.save("person", person, changes, API)
        return 200, {"success": True, "data": showing.record(self.company, "persons", person, {})}

    def add_activity(self, asked: wire.Asked) -> Answered:
        values = self._activity(asked)
        made = self.company.add_activity(API, **values)
        return 200, {"success": True, "data": showing.record(self.company, "activities", made, {})}

    def change_activity(self, asked: wire.Asked) -> Answered:
        activity = self._live("activity", asked.record_id)
        values = self._activity(asked)
        if "done" in values and values["done"] != activity["done"]:
            values["marked_as_done_time"] = self.company.now() if values["done"] else None
        self.company.save("activity", activity, values, API)
        return 200, {
            "success": True,
            "data": showing.record(self.company, "activities", activity, {}),
        }

    def _activity(self, asked: wire.Asked) -> Record:
        body = wire.as_object(asked.body)
        return checking.activity_values(self.company, body, self.activity_types, set(PRIORITIES))

    def delete_record(self, entity: str, asked: wire.Asked) -> Answered:
        self.company.delete(entity, self._live(entity, asked.record_id), API)
        return 200, {"success": True, "data": {"id": asked.record_id}}

    def list_fields(self, asked: wire.Asked) -> Answered:
        wire.allowed(asked.query, lists.PAGED | {"include_fields"})
        shown = [*map(showing.standard_field, STANDARD_FIELDS)]
        shown += [showing.custom_field(one, asked.query) for one in self.company.fields.values()]
        numbered = [{"id": at, "field": one} for at, one in enumerate(shown)]
        page, cursor = wire.page(numbered, "id", asked.query)
        fields = [one["field"] for one in page]
        return 200, {"success": True, "data": fields, "additional_data": {"next_cursor": cursor}}

    def list_activity_fields(self, asked: wire.Asked) -> Answered:
        """Of which only ``priority`` has options of the company's own."""
        wire.allowed(asked.query, lists.PAGED | {"include_fields"})
        options = [{"id": number, "label": label} for number, label in PRIORITIES.items()]
        shown = [
            showing.standard_field(("Subject", "subject", "varchar")),
            showing.standard_field(("Priority", "priority", "enum")) | {"options": options},
        ]
        return 200, {"success": True, "data": shown, "additional_data": {"next_cursor": None}}

    def get_field(self, asked: wire.Asked) -> Answered:
        found = showing.custom_field(self._field(asked.arguments[0]), asked.query)
        return 200, {"success": True, "data": found}

    def add_field(self, asked: wire.Asked) -> Answered:
        body = wire.as_object(asked.body)
        wire.known(body, FIELD_KEYS)
        kind, labels = body.get("field_type"), list[str]()
        name = wire.text(body, "field_name")
        if not 1 <= len(name) <= wire.OPTION_LENGTH:
            raise wire.invalid("field_name: expected 1 to 255 characters")
        if kind not in FIELD_TYPES:
            raise wire.invalid("field_type: unknown type")
        if kind in ("enum", "set"):
            labels = wire.labels(body.get("options"))
        elif "options" in body:
            raise wire.invalid("options: only allowed for enum and set")
        visibility = wire.as_object(body.get("ui_visibility", {}), "ui_visibility")
        made = self.company.add_field(name, kind, labels, ui_visibility=visibility)
        return 200, {"success": True, "data": showing.custom_field(made, {})}

    def change_field(self, asked: wire.Asked) -> Answered:
        body = wire.as_object(asked.body)
        wire.known(body, FIELD_KEYS - {"field_type", "options"})
        found = self._field(asked.arguments[0])
        if "field_name" in body:
            found.name = wire.text(body, "field_name")
        found.ui_visibility |= wire.as_object(body.get("ui_visibility", {}), "ui_visibility")
        return 200, {"success": True, "data": showing.custom_field(found, {})}

    def delete_field(self, asked: wire.Asked) -> Answered:
        found = self._field(asked.arguments[0])
        self.company.remove_field(found.code)
        return 200, {"success": True, "data": showing.custom_field(found, {})}

    def add_options(self, asked: wire.Asked) -> Answered:
        """Only the new ones are answered."""
        found = self._field(asked.arguments[0])
        if found.type not in ("enum", "set"):
            raise wire.invalid("options: the field has none")
        labels = wire.labels(asked.body)
        if set(labels) & set(found.options.values()):
            raise wire.invalid("options: label is taken")
        made = {self.company.number(): label for label in labels}
        found.options |= made
        data = [{"id": number, "label": label} for number, label in made.items()]
        return 200, {"success": True, "data": data, "additional_data": None}

    def change_options(self, asked: wire.Asked) -> Answered:
        found = self._field(asked.arguments[0])
        numbers, labels = self._option_ids(found, asked.body), wire.labels(asked.body)
        found.options |= dict(zip(numbers, labels, strict=True))
        data = [{"id": number, "label": found.options[number]} for number in numbers]
        return 200, {"success": True, "data": data, "additional_data": None}

    def delete_options(self, asked: wire.Asked) -> Answered:
        found = self._field(asked.arguments[0])
        numbers = self._option_ids(found, asked.body)
        data = [{"id": number, "label": found.options.pop(number)} for number in numbers]
        return 200, {"success": True, "data": data, "additional_data": None}

    # --------------------------------------------------------------------------- version 1

    def list_webhooks(self, _asked: wire.Asked) -> Answered:
        data = list(self.company.webhooks.values())
        return 200, {"status": "ok", "success": True, "data": data}

    def add_webhook(self, asked: wire.Asked) -> Answered:
        body = wire.as_object(asked.body)
        errors = {key: ["unknown"] for key in set(body) - WEBHOOK_KEYS}
        for key in ("subscription_url", "event_action", "event_object", "name"):
            if not body.get(key):
                errors[key] = ["required"]
        if not wire.is_address(body.get("subscription_url")):
            errors["subscription_url"] = ["invalid or non-reachable URL"]
        if body.get("event_action") not in ACTIONS:
            errors["event_action"] = ["unknown action"]
        if body.get("event_object") not in OBJECTS:
            errors["event_object"] = ["unknown object"]
        if body.get("version", "2.0") != "2.0":
            errors["version"] = ["version 1 is not spoken here"]
        if errors:
            raise wire.Refused(400, {"status": "error", "success": False, "errors": errors})
        if len(self.company.webhooks) >= WEBHOOK_LIMIT:
            raise wire.Refused(422, {"success": False, "error": "Webhooks limit reached"})
        made = self.company.add_webhook(body)
        return 201, {"status": "ok", "success": True, "data": made}

    def delete_webhook(self, asked: wire.Asked) -> Answered:
        if self.company.webhooks.pop(asked.record_id, None) is None:
            errors = {"id": ["not found"]}
            raise wire.Refused(404, {"status": "error", "success": False, "errors": errors})
        return 200, {"status": "ok", "success": True}

    def list_users(self, _asked: wire.Asked) -> Answered:
        return 200, {"success": True, "data": self.company.users}

    def get_user(self, asked: wire.Asked) -> Answered:
        for user in self.company.users:
            if user["id"] == asked.record_id:
                return 200, {"success": True, "data": user}
        raise wire.Refused(404, {"success": False, "error": "User not found or not accessible."})

    def me(self, _asked: wire.Asked) -> Answered:
        more = {
            "company_id": COMPANY_ID, "company_name": "Acme Sandbox", "company_domain": DOMAIN,
            "company_country": "DE", "company_industry": "Construction",
            "language": {"language_code": "de", "country_code": "DE"},
        }  # fmt: skip
        return 200, {"success": True, "data": self.company.users[0] | more}

    def list_activity_types(self, _asked: wire.Asked) -> Answered:
        data = [
            {
                "id": at, "order_nr": at, "name": key.capitalize(), "key_string": key,
                "icon_key": key, "active_flag": key in self.activity_types, "color": "FFFFFF",
                "is_custom_flag": False, "add_time": "2024-01-15 09:16:26",
                "update_time": "2024-01-15 09:16:26",
            }
            for at, key in enumerate(ACTIVITY_TYPES, 1)
        ]  # fmt: skip
        return 200, {"success": True, "data": data}

    def list_currencies(self, _asked: wire.Asked) -> Answered:
        data = [
            {"id": 1, "code": "EUR", "name": "Euro", "decimal_points": 2, "symbol": "€",
             "active_flag": True, "is_custom_flag": False},
        ]  # fmt: skip
        return 200, {"success": True, "data": data}

    def list_participants(self, asked: wire.Asked) -> Answered:
        """Paged by ``start``, as version 1 does."""
        deal = self._live("deal", asked.record_id)
        people = self.company.persons_of(deal)
        start, limit = (int(asked.query.get(*one)) for one in (("start", "0"), ("limit", "100")))
        page = people[start : start + limit]
        pagination = {
            "start": start, "limit": limit,
            "more_items_in_collection": start + limit < len(people),
        }  # fmt: skip
        data = [showing.participant(self.company, deal, one) for one in page]
        return 200, {
            "success": True, "data": data, "additional_data": {"pagination": pagination},
            "related_objects": {},
        }  # fmt: skip

    def merge_persons(self, asked: wire.Asked) -> Answered:
        """``merge_with_id`` survives."""
        drop = self._live("person", asked.record_id)
        keep = self._live("person", int(wire.as_object(asked.body).get("merge_with_id", 0)))
        self.company.merge_persons(keep, drop, API)
        data = {"id": keep["id"], "name": keep["name"], "merge_what_id": drop["id"]}
        return 200, {"success": True, "data": data}

    # -------------------------------------------------------------------------------- finding

    def _live(self, entity: str, record_id: int) -> Record:
        record = self.company.get(entity, record_id)
        if record is None or record["is_deleted"]:
            raise wire.missing(entity.capitalize())
        return record

    def _field(self, code: str) -> Field:
        if code not in self.company.fields:
            raise wire.missing("Field")
        return self.company.fields[code]

    def _option_ids(self, found: Field, body: Any) -> list[int]:
        numbers = [one.get("id") for one in body] if isinstance(body, list) else []
        if not numbers or any(one not in found.options for one in numbers):
            raise wire.invalid("options: unknown id")
        return numbers


def _lists(plural: str) -> Handler:
    return lambda api, asked: api.list_records(plural, asked)


def _gets(plural: str) -> Handler:
    return lambda api, asked: api.get_record(plural, asked)


def _deletes(entity: str) -> Handler:
    return lambda api, asked: api.delete_record(entity, asked)


OPTIONS = "/personFields/{field_code}/options"
ROUTES = tuple(
    Route(method=method, version=version, template=template, cost=cost, handler=handler)
    for method, version, template, cost, handler in (
        ("GET", 2, "/persons", 10, _lists("persons")),
        ("GET", 2, "/persons/{id}", 1, _gets("persons")),
        ("PATCH", 2, "/persons/{id}", 5, Api.change_person),
        ("DELETE", 2, "/persons/{id}", 3, _deletes("person")),
        ("GET", 2, "/deals", 10, _lists("deals")),
        ("GET", 2, "/deals/archived", 20, Api.list_archived_deals),
        ("GET", 2, "/deals/{id}", 1, _gets("deals")),
        ("GET", 2, "/pipelines", 5, _lists("pipelines")),
        ("GET", 2, "/stages", 5, _lists("stages")),
        ("GET", 2, "/organizations", 10, _lists("organizations")),
        ("GET", 2, "/organizations/{id}", 1, _gets("organizations")),
        ("GET", 2, "/activities", 10, _lists("activities")),
        ("POST", 2, "/activities", 5, Api.add_activity),
        ("GET", 2, "/activities/{id}", 1, _gets("activities")),
        ("PATCH", 2, "/activities/{id}", 5, Api.change_activity),
        ("DELETE", 2, "/activities/{id}", 3, _deletes("activity")),
        ("GET", 2, "/activityFields", 10, Api.list_activity_fields),
        ("GET", 2, "/personFields", 10, Api.list_fields),
        ("POST", 2, "/personFields", 5, Api.add_field),
        ("GET", 2, "/personFields/{field_code}", 1, Api.get_field),
        ("PATCH", 2, "/personFields/{field_code}", 5, Api.change_field),
        ("DELETE", 2, "/personFields/{field_code}", 3, Api.delete_field),
        ("POST", 2, OPTIONS, 5, Api.add_options),
        ("PATCH", 2, OPTIONS, 5, Api.change_options),
        ("DELETE", 2, OPTIONS, 3, Api.delete_options),
        ("GET", 1, "/webhooks", 10, Api.list_webhooks),
        ("POST", 1, "/webhooks", 10, Api.add_webhook),
        ("DELETE", 1, "/webhooks/{id}", 6, Api.delete_webhook),
        ("GET", 1, "/users", 20, Api.list_users),
        ("GET", 1, "/users/me", 2, Api.me),
        ("GET", 1, "/users/{id}", 2, Api.get_user),
        ("GET", 1, "/activityTypes", 20, Api.list_activity_types),
        ("GET", 1, "/currencies", 20, Api.list_currencies),
        ("GET", 1, "/deals/{id}/participants", 10, Api.list_participants),
        ("PUT", 1, "/persons/{id}/merge", 40, Api.merge_persons),
    )
)


def find(method: str, path: str) -> tuple[Route, Sequence[str]] | None:
    """The route of a call, and what stands for the braces of its template."""
    for route in ROUTES:
        arguments = route.match(method, path)
        if arguments is not None:
            return route, arguments
    return None
