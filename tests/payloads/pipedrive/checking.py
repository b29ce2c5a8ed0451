"""What the API takes as values of custom fields and of activities, and what it refuses.

https://pipedrive.readme.io/docs/pipedrive-api-v2-migration-guide; option ids as numbers:
https://github.com/pipedrive/client-php/issues/227.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from tests.payloads.pipedrive import wire
from tests.payloads.pipedrive.company import Company, Field, Record

VARCHAR_LENGTH, TEXT_LENGTH = 255, 65_535
"""https://pipedrive.readme.io/docs/core-api-concepts-custom-fields"""
ACTIVITY_KEYS = frozenset(
    {"subject", "type", "owner_id", "deal_id", "lead_id", "org_id", "project_id", "due_date"}
    | {"due_time", "duration", "busy", "done", "location", "participants", "attendees"}
    | {"public_description", "priority", "note"}
)
"""Without ``person_id``: it is read-only, told by the primary participant."""
EXPECTED = {
    "enum": "Expected 'number' as value for single option custom field",
    "set": "Expected a non-empty list of 'number' as value for multiple option custom field",
    "people": "Expected the id of a person as value for custom field",
    "double": "Expected 'number' as value for custom field",
    "monetary": "Expected 'value' and 'currency' for custom field",
    "date": "Expected 'YYYY-MM-DD' as value for custom field",
    "text": "Expected a 'string' that is not empty as value for custom field",
    "varchar": "Expected a 'string' of 1 to 255 characters as value for custom field",
}


def custom_value(company: Company, code: str, value: Any) -> None:
    """Raises ``Refused`` unless the field takes the value. ``null`` empties any field."""
    found = company.fields.get(code)
    if found is None:
        raise wire.invalid(f"custom_fields: Parameter '{code}' is not allowed for this request")
    if value is not None and not _fits(company, found, value):
        raise wire.invalid(f"custom_fields: {EXPECTED.get(found.type, 'Wrong value')} '{code}'")


def _fits(company: Company, found: Field, value: Any) -> bool:
    kind = found.type
    if kind == "enum":
        return wire.is_int(value) and value in found.options
    if kind == "set":
        return (
            isinstance(value, list) and bool(value)
            and all(wire.is_int(one) and one in found.options for one in value)
        )  # fmt: skip
    if kind == "people":
        person = company.records["persons"].get(value) if wire.is_int(value) else None
        return person is not None and not person["is_deleted"]
    if kind in ("org", "user"):
        return wire.is_int(value)
    if kind == "double":
        return wire.is_number(value)
    if kind == "monetary":
        return (
            isinstance(value, dict) and set(value) == {"value", "currency"}
            and wire.is_number(value["value"]) and re.fullmatch("[A-Z]{3}", value["currency"])
            is not None
        )  # fmt: skip
    if kind == "date":
        return wire.is_day(value)
    if kind in ("text", "varchar", "varchar_auto", "phone"):
        longest = TEXT_LENGTH if kind == "text" else VARCHAR_LENGTH
        return isinstance(value, str) and 0 < len(value) <= longest
    return isinstance(value, dict)


def activity_values(
    company: Company, body: Record, types: Collection[str], priorities: Collection[int]
) -> Record:
    """The values to save. ``note`` is HTML, and comes back as the editor writes it."""
    if "person_id" in body:
        raise wire.invalid("person_id: is read-only, add a primary participant")
    wire.known(body, ACTIVITY_KEYS)
    values = dict(body)
    for name in ("subject", "type", "note", "public_description"):
        if values.get(name) is not None:
            wire.text(values, name)
    if "type" in values and values["type"] not in types:
        raise wire.invalid("type: no such activity type")
    priority = values.get("priority")
    if priority is not None and not (wire.is_int(priority) and priority in priorities):
        raise wire.invalid("priority: no such option")
    if "done" in values and not isinstance(values["done"], bool):
        raise wire.invalid("done: Expected 'boolean'")
    if "due_date" in values and not wire.is_day(values["due_date"]):
        raise wire.invalid("due_date: Expected 'YYYY-MM-DD'")
    time = values.get("due_time")
    if time is not None and not re.fullmatch(r"\d\d:\d\d(:\d\d)?", str(time)):
        raise wire.invalid("due_time: Expected 'HH:MM' or 'HH:MM:SS'")
    if values.get("owner_id") is not None:
        active = {one["id"] for one in company.users if one["active_flag"]}
        if not wire.is_int(values["owner_id"]) or values["owner_id"] not in active:
            raise wire.invalid("owner_id: no such active user")
    if values.get("deal_id") is not None and (
        not wire.is_int(values["deal_id"])
        or values["deal_id"] not in {one["id"] for one in company.live("deals")}
    ):
        raise wire.invalid("deal_id: no such deal")
    if "participants" in values:
        values["person_id"] = _primary(company, values["participants"])
    if values.get("note"):
        values["note"] = re.sub(r"<br\s*/?>", "<br />", values["note"])
    return values


def _primary(company: Company, participants: Any) -> int | None:
    people = {one["id"] for one in company.live("persons")}
    if not isinstance(participants, list) or any(
        not isinstance(one, dict)
        or not set(one) <= {"person_id", "primary"}
        or not wire.is_int(one.get("person_id"))
        or not isinstance(one.get("primary", False), bool)
        for one in participants
    ):
        raise wire.invalid("participants: Expected a list of person_id and primary")
    if any(one["person_id"] not in people for one in participants):
        raise wire.invalid("participants: no such person")
    primary = [one["person_id"] for one in participants if one.get("primary")]
    if len(primary) > 1 or len({one["person_id"] for one in participants}) < len(participants):
        raise wire.invalid("participants: one of them is primary, and each is named once")
    return primary[0] if primary else None
