"""Lists of records: what they may be asked with, and what they find.

https://developers.pipedrive.com/docs/api/v1/Persons#getPersons and its likes, version 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tests.payloads.pipedrive import wire
from tests.payloads.pipedrive.company import Company, Record

MOST_IDS = 100
PAGED = frozenset({"limit", "cursor"})
SORTED = PAGED | {"ids", "owner_id", "updated_since", "updated_until", "sort_by", "sort_direction"}
LABELS = frozenset({"include_option_labels", "include_labels"})
QUERIES = {
    "persons": SORTED | LABELS | {"org_id", "deal_id", "include_fields", "custom_fields"},
    "deals": SORTED | LABELS
    | {"person_id", "org_id", "pipeline_id", "stage_id", "status", "include_fields"}
    | {"custom_fields"},
    "activities": SORTED | {"deal_id", "lead_id", "person_id", "org_id", "done", "include_fields"},
    "organizations": SORTED | LABELS | {"include_fields", "custom_fields"},
    "pipelines": PAGED | {"sort_by", "sort_direction"},
    "stages": PAGED | {"sort_by", "sort_direction", "pipeline_id"},
}  # fmt: skip
"""What a list may be asked with (``filter_id`` is left out: there are no filters here)."""


@dataclass(kw_only=True)
class Habits:
    """What the documentation does not say."""

    person_lists_tell_deleted: bool = False
    """Whether lists of persons, and ``ids``, still have the deleted ones."""
    deal_lists_follow_participants: bool = True
    """Whether ``person_id`` finds the deals a person only takes part in: "linked to" is what the
    documentation says of both directions, and no other call would find them."""


def chosen(
    company: Company, plural: str, query: Mapping[str, str], *, archived: bool, habits: Habits
) -> list[Record]:
    """The records a list finds. Raises ``Refused``."""
    records = [
        one for one in company.records[plural].values()
        if _listed(plural, one, query, habits) and one.get("is_archived", False) is archived
    ]  # fmt: skip
    if "ids" in query:
        ids = wire.numbers(query, "ids")
        if len(ids) > MOST_IDS:
            raise wire.invalid("ids: at most 100 ids")
        records = [one for one in records if one["id"] in ids]
    for name in ("owner_id", "org_id", "pipeline_id", "stage_id"):
        if name in query and name in QUERIES[plural]:
            wanted_id = wire.number(query, name)
            records = [one for one in records if one[name] == wanted_id]
    if "updated_since" in query:
        since = wire.instant(query["updated_since"], "updated_since")
        records = [one for one in records if datetime.fromisoformat(one["update_time"]) >= since]
    if "updated_until" in query:
        until = wire.instant(query["updated_until"], "updated_until")
        records = [one for one in records if datetime.fromisoformat(one["update_time"]) < until]
    return _related(company, plural, records, query, habits)


def _listed(plural: str, record: Record, query: Mapping[str, str], habits: Habits) -> bool:
    if plural == "deals":
        wanted = wire.words(query, "status")
        if set(wanted) - {"open", "won", "lost", "deleted"}:
            raise wire.invalid("status: unknown status")
        status = "deleted" if record["is_deleted"] else record["status"]
        return status in wanted if wanted else status != "deleted"
    if plural == "persons" and habits.person_lists_tell_deleted:
        return True
    return not record["is_deleted"]


def _related(
    company: Company, plural: str, records: list[Record], query: Mapping[str, str], habits: Habits
) -> list[Record]:
    if plural == "persons" and "deal_id" in query:
        deal_id = wire.number(query, "deal_id")
        deal = company.records["deals"].get(deal_id)
        linked = company.persons_of(deal) if deal and not deal["is_deleted"] else []
        return [one for one in records if one["id"] in linked]
    if plural in ("deals", "activities") and "person_id" in query:
        person_id = wire.number(query, "person_id")
        records = [one for one in records if _about(company, plural, one, person_id, habits)]
    if plural == "activities" and "deal_id" in query:
        deal_id = wire.number(query, "deal_id")
        records = [one for one in records if one["deal_id"] == deal_id]
    if plural == "activities" and "done" in query:
        done = wire.one_of(query, "done", ("true", "false"), "false") == "true"
        records = [one for one in records if one["done"] is done]
    return records


def _about(company: Company, plural: str, record: Record, person_id: int, habits: Habits) -> bool:
    if plural == "deals" and habits.deal_lists_follow_participants:
        return person_id in company.persons_of(record)
    return bool(record["person_id"] == person_id)
