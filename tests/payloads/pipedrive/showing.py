"""How the API shows records and fields: what always, what only where it is asked for.

https://developers.pipedrive.com/docs/api/v1/Persons#getPersons and its likes, version 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.payloads.pipedrive import wire
from tests.payloads.pipedrive.company import Company, Field, Record

MOST_CUSTOM_FIELDS = 15
PERSON_COUNTS = {
    "open_deals_count": ("open",), "closed_deals_count": ("won", "lost"),
    "won_deals_count": ("won",), "lost_deals_count": ("lost",),
    "participant_open_deals_count": ("participant_open",),
    "participant_closed_deals_count": ("participant_closed",),
    "related_open_deals_count": (), "related_closed_deals_count": (),
    "related_won_deals_count": (), "related_lost_deals_count": (),
}  # fmt: skip
"""Optional field → what is added up for it."""

ACTIVITY_COUNTS = frozenset(
    {"activities_count", "done_activities_count", "undone_activities_count"}
)
OPTIONAL = {
    "persons": frozenset(PERSON_COUNTS) | ACTIVITY_COUNTS,
    "deals": frozenset({"participants_count", "first_won_time"}),
    "activities": frozenset({"attendees"}),
    "organizations": frozenset({"people_count"}),
}
"""``include_fields`` that are known here."""


def record(company: Company, plural: str, kept: Record, query: Mapping[str, str]) -> Record:
    """A record as the API answers it to this query. Raises ``Refused``."""
    shown = dict(kept)
    if plural == "persons":
        shown["custom_fields"] = _custom_fields(company, kept, query)
        if company.contact_sync:
            shown.setdefault("postal_address", None)
    if plural != "deals" or "first_won_time" not in query.get("include_fields", ""):
        shown.pop("first_won_time", None)
    return shown | _optional(company, plural, kept, query)


def _custom_fields(company: Company, kept: Record, query: Mapping[str, str]) -> Record:
    """All there are, ``null`` where empty, or those asked for."""
    wanted = wire.words(query, "custom_fields")
    if len(wanted) > MOST_CUSTOM_FIELDS:
        raise wire.invalid("custom_fields: at most 15 keys")
    shown: Record = {}
    for code, one in company.fields.items():
        if not wanted or code in wanted:
            value = kept["custom_fields"].get(code)
            if query.get("include_option_labels") == "true" and value is not None:
                value = _with_labels(one, value)
            shown[code] = value
    return shown


def _optional(company: Company, plural: str, kept: Record, query: Mapping[str, str]) -> Record:
    wanted = wire.words(query, "include_fields")
    unknown = set(wanted) - OPTIONAL[plural] if plural in OPTIONAL else set()
    if unknown:
        raise wire.invalid("include_fields: unknown field")
    shown: Record = {}
    for name in wanted:
        if name in ACTIVITY_COUNTS:
            shown[name] = _activities_of(company, kept["id"], name)
        elif plural == "persons":
            counts = company.counts(kept["id"])
            shown[name] = sum(counts[part] for part in PERSON_COUNTS[name])
        elif name == "participants_count":
            shown[name] = len(company.persons_of(kept))
        elif name == "attendees":
            shown[name] = []
        elif name == "people_count":
            shown[name] = sum(one["org_id"] == kept["id"] for one in company.live("persons"))
    return shown


def _activities_of(company: Company, person_id: int, count: str) -> int:
    """Of which the person is the main participant."""
    wanted = {"done_activities_count": (True,), "undone_activities_count": (False,)}
    return sum(
        one["person_id"] == person_id and one["done"] in wanted.get(count, (True, False))
        for one in company.live("activities")
    )


def participant(company: Company, deal: Record, person_id: int) -> Record:
    person = company.records["persons"][person_id]
    active = not person["is_deleted"]
    return {
        "id": 9000 + person_id,
        "person_id": {
            "active_flag": active, "name": person["name"], "email": person["emails"],
            "phone": person["phones"], "value": person_id,
        },
        "add_time": "2026-11-01 08:00:00", "active_flag": active,
        "related_item_data": {"deal_id": deal["id"], "title": deal["title"]},
        "person": {"id": person_id, "name": person["name"], "active_flag": active},
        "related_item_type": "deal", "related_item_id": deal["id"],
    }  # fmt: skip


def standard_field(told: tuple[str, str, str]) -> Record:
    name, code, kind = told
    return {
        "field_name": name, "field_code": code, "field_type": kind,
        "options": [] if kind == "set" else None, "subfields": None, "is_custom_field": False,
        "is_optional_response_field": False,
    }  # fmt: skip


def custom_field(one: Field, query: Mapping[str, str]) -> Record:
    options = [{"id": number, "label": label} for number, label in one.options.items()]
    shown: Record = {
        "field_name": one.name, "field_code": one.code, "field_type": one.type,
        "options": options if one.type in ("enum", "set") else None, "subfields": None,
        "is_custom_field": True, "is_optional_response_field": False,
    }  # fmt: skip
    if "ui_visibility" in wire.words(query, "include_fields"):
        shown["ui_visibility"] = one.ui_visibility
    return shown


def _with_labels(one: Field, value: Any) -> Any:
    if one.type == "enum":
        return {"id": value, "label": one.options[value]}
    if one.type == "set":
        return [{"id": number, "label": one.options[number]} for number in value]
    return value
