"""What one Pipedrive company knows: records, fields, users, and the webhooks every save sends.

Written from Pipedrive's documentation, without a look at the adapter. Where the documentation is
silent, the harder of two behaviours was taken; those are attributes of ``Company``.

- Webhooks v2: https://pipedrive.readme.io/docs/guide-for-webhooks-v2
- their custom fields: https://pipedrive.readme.io/docs/webhooks-v2-migration-guide
- custom fields in the API: https://pipedrive.readme.io/docs/core-api-concepts-custom-fields
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.stand_in import Outgoing

Record = dict[str, Any]

COMPANY_ID = 6083095
DOMAIN = "acme-sandbox"
INTEGRATION_USER = 12941358
"""Whose API token we have: an administrator without customers of their own."""
WEBHOOK_LIMIT = 40
"""Per user: https://pipedrive.readme.io/docs/guide-for-webhooks-v2."""
ENTITIES = {"person": "persons", "deal": "deals", "activity": "activities"}

PERSON_DATA = (
    "id", "name", "first_name", "last_name", "owner_id", "org_id", "emails", "phones",
    "label_ids", "visible_to", "add_time", "update_time",
)  # fmt: skip
DEAL_DATA = (
    "id", "title", "owner_id", "creator_user_id", "person_id", "org_id", "pipeline_id",
    "stage_id", "status", "value", "currency", "probability", "label_ids", "lost_reason",
    "add_time", "update_time", "stage_change_time", "close_time", "won_time", "lost_time",
    "first_won_time", "expected_close_date", "visible_to", "channel", "channel_id", "origin",
    "origin_id", "is_archived", "archive_time",
)  # fmt: skip
ACTIVITY_DATA = (
    "id", "subject", "type", "owner_id", "creator_user_id", "deal_id", "person_id", "org_id",
    "due_date", "due_time", "duration", "busy", "done", "marked_as_done_time", "participants",
    "public_description", "priority", "note", "add_time", "update_time",
)  # fmt: skip
DATA = {"person": PERSON_DATA, "deal": DEAL_DATA, "activity": ACTIVITY_DATA}

BEFORE = "2024-01-15T09:16:26Z"
PIPELINE: Record = {
    "id": 1, "name": "Pipeline", "order_nr": 1, "is_deleted": False,
    "is_deal_probability_enabled": True, "add_time": BEFORE, "update_time": BEFORE,
}  # fmt: skip
STAGES: tuple[Record, ...] = tuple(
    {
        "id": at, "order_nr": at, "name": name, "is_deleted": False, "deal_probability": 100,
        "pipeline_id": 1, "is_deal_rot_enabled": False, "days_to_rotten": None,
        "add_time": BEFORE, "update_time": BEFORE,
    }
    for at, name in enumerate(("Qualified", "Proposal made", "Negotiation"), 1)
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who saves, and by what: ``change_source`` is ``app`` or ``api``."""

    user_id: int
    change_source: str = "app"
    is_bulk_edit: bool = False


API = Actor(user_id=INTEGRATION_USER, change_source="api")


@dataclass(kw_only=True)
class Field:
    """A custom field of persons. ``options``: id → label."""

    code: str
    name: str
    type: str
    options: dict[int, str] = field(default_factory=dict)
    ui_visibility: Record = field(default_factory=dict)

    def option(self, *labels: str) -> int | None:
        """The id of the first option with one of these labels."""
        return next((number for number, label in self.options.items() if label in labels), None)


def webhook_value(kind: str, value: Any) -> Any:
    """A custom value as webhooks tell it: an object with its type; None where empty."""
    if value is None:
        return None
    if kind in ("enum", "people", "org", "user"):
        return {"id": value, "type": kind}
    if kind == "set":
        return {"values": [{"id": one} for one in value], "type": kind}
    if isinstance(value, dict):
        return {**value, "type": kind}
    return {"value": value, "type": kind}


class Company:
    """The records and what their saves send to whoever subscribed."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.deliveries: list[Outgoing] = []
        self.noop_saves_send = True
        """Whether a save by the API that changes nothing sends a webhook: undocumented."""
        self.counters_touch_persons = True
        """Whether a new activity or deal saves its person, too: undocumented."""
        self.survivor_first = False
        """Of the two webhooks of a merge; no order is promised."""
        self.empty_fields_sent = True
        """Webhooks name every custom field there is: seen live, while examples leave them out."""
        self.records: dict[str, dict[int, Record]] = {
            "persons": {}, "deals": {}, "activities": {}, "organizations": {},
            "pipelines": {1: PIPELINE}, "stages": {one["id"]: one for one in STAGES},
        }  # fmt: skip
        self.participants: dict[int, list[int]] = {}
        """Deal → persons on it beside its main one."""
        self.fields: dict[str, Field] = {}
        self.webhooks: dict[int, Record] = {}
        self.passwords: dict[int, tuple[str | None, str | None]] = {}
        self.users = [
            _user(INTEGRATION_USER, "Referral Spiral", admin=True),
            _user(16219013, "Rita Rep"),
            _user(16219014, "Otto Other"),
            _user(16219015, "Gerd Gone", active=False),
        ]
        self.contact_sync = False
        """Whether persons have the fields of contact sync, among them a postal address."""
        self._last = {"persons": 1040, "deals": 213970, "activities": 5100, "organizations": 300}
        self._events = 0
        self._numbers = 15

    # ------------------------------------------------------------------------- times, ids

    def now(self) -> str:
        """To the second, as ``add_time`` and ``update_time`` are."""
        return self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")

    def number(self) -> int:
        """A fresh id of an option or a webhook."""
        self._numbers += 1
        return self._numbers

    def next_id(self, plural: str) -> int:
        self._last[plural] += 1
        return self._last[plural]

    def get(self, entity: str, record_id: int) -> Record | None:
        return self.records[ENTITIES[entity]].get(record_id)

    def live(self, plural: str) -> list[Record]:
        return [one for one in self.records[plural].values() if not one["is_deleted"]]

    # --------------------------------------------------------------------------- records

    def add_person(self, actor: Actor, **values: Any) -> Record:
        now = self.now()
        record = {
            "id": self.next_id("persons"), "name": "", "first_name": "", "last_name": "",
            "owner_id": actor.user_id, "org_id": None, "add_time": now, "update_time": now,
            "emails": [], "phones": [], "is_deleted": False, "visible_to": 3, "label_ids": [],
            "picture_id": None, "custom_fields": {}, **values,
        }  # fmt: skip
        return self._add("person", record, actor)

    def add_deal(self, actor: Actor, others: Iterable[int] = (), **values: Any) -> Record:
        now = self.now()
        record = {
            "id": self.next_id("deals"), "title": "", "creator_user_id": actor.user_id,
            "owner_id": actor.user_id, "person_id": None, "org_id": None, "pipeline_id": 1,
            "stage_id": 1, "value": 0, "currency": "EUR", "add_time": now, "update_time": now,
            "stage_change_time": None, "is_deleted": False, "is_archived": False,
            "archive_time": None, "status": "open", "probability": None, "lost_reason": None,
            "visible_to": 3, "close_time": None, "won_time": None, "lost_time": None,
            "first_won_time": None, "expected_close_date": None, "label_ids": [],
            "origin": "ManuallyCreated", "origin_id": None, "channel": None, "channel_id": None,
            "custom_fields": {}, **values,
        }  # fmt: skip
        self.participants[record["id"]] = list(others)
        added = self._add("deal", record, actor)
        self.touch([record["person_id"], *others], actor)
        return added

    def add_activity(self, actor: Actor, **values: Any) -> Record:
        now = self.now()
        record = {
            "id": self.next_id("activities"), "subject": "Task", "type": "task",
            "owner_id": actor.user_id, "creator_user_id": actor.user_id, "is_deleted": False,
            "add_time": now, "update_time": now, "deal_id": None, "lead_id": None,
            "person_id": None, "org_id": None, "project_id": None, "due_date": now[:10],
            "due_time": None, "duration": None, "busy": False, "done": False,
            "marked_as_done_time": None, "location": None, "participants": [],
            "conference_meeting_client": None, "conference_meeting_url": None,
            "conference_meeting_id": None, "public_description": None, "priority": None,
            "note": None, **values,
        }  # fmt: skip
        added = self._add("activity", record, actor)
        self.touch([one["person_id"] for one in record["participants"]], actor)
        return added

    def add_organization(self, name: str, city: str = "") -> Record:
        now = self.now()
        address = {"value": f"{city}, Germany", "locality": city, "country": "Germany"}
        record: Record = {
            "id": self.next_id("organizations"), "name": name, "owner_id": INTEGRATION_USER,
            "add_time": now, "update_time": now, "is_deleted": False, "visible_to": 3,
            "address": address if city else None, "label_ids": [], "website": None,
            "linkedin": None, "industry": None, "annual_revenue": None, "employee_count": None,
            "custom_fields": {},
        }  # fmt: skip
        self.records["organizations"][record["id"]] = record
        return record

    def save(self, entity: str, record: Record, changes: Record, actor: Actor, **meta: str) -> None:
        """One save: all of its changes go out in one webhook."""
        before = copy.deepcopy(record)
        custom = changes.pop("custom_fields", {})
        record.update(changes)
        if "custom_fields" in record:
            record["custom_fields"] = _without_empty({**record["custom_fields"], **custom})
        if record != before:
            record["update_time"] = self.now()
        elif not meta and (actor.change_source != "api" or not self.noop_saves_send):
            return
        self._emit("change", entity, record, before, actor, meta)

    def touch(self, person_ids: Iterable[int | None], actor: Actor) -> None:
        """Counters of these persons moved: they count as saved, with nothing a webhook shows."""
        if not self.counters_touch_persons:
            return
        for person_id in person_ids:
            person = self.records["persons"].get(person_id or 0)
            if person and not person["is_deleted"]:
                before = copy.deepcopy(person)
                person["update_time"] = self.now()
                self._emit("change", "person", person, before, actor, {})

    def delete(self, entity: str, record: Record, actor: Actor, **meta: str) -> None:
        """Kept for 30 days, with ``is_deleted`` and the time of it as ``update_time``."""
        before = copy.deepcopy(record)
        record.update(is_deleted=True, update_time=self.now())
        self._emit("delete", entity, None, before, actor, meta)

    def merge_persons(self, keep: Record, drop: Record, actor: Actor) -> None:
        """``keep`` takes over what it lacks, and all deals and activities of ``drop``. Fields
        that lead to ``drop`` dangle: what becomes of them is undocumented."""
        survivor: Record = {
            name: keep[name] + [one for one in drop[name] if one not in keep[name]]
            for name in ("emails", "phones")
        }
        survivor["custom_fields"] = {**drop["custom_fields"], **keep["custom_fields"]}
        for deal in self.records["deals"].values():
            if deal["person_id"] == drop["id"]:
                deal["person_id"] = keep["id"]
            others = self.participants[deal["id"]]
            if drop["id"] in others:
                others[:] = dict.fromkeys(
                    keep["id"] if one == drop["id"] else one for one in others
                )
            if deal["person_id"] in others:
                others.remove(deal["person_id"])
        for activity in self.records["activities"].values():
            if activity["person_id"] == drop["id"]:
                activity["person_id"] = keep["id"]
            for one in activity["participants"]:
                if one["person_id"] == drop["id"]:
                    one["person_id"] = keep["id"]
        if self.survivor_first:
            self.save("person", keep, survivor, actor, merged_from_id=str(drop["id"]))
        self.delete("person", drop, actor, merged_to_id=str(keep["id"]))
        if not self.survivor_first:
            self.save("person", keep, survivor, actor, merged_from_id=str(drop["id"]))

    def persons_of(self, deal: Record) -> list[int]:
        main = [deal["person_id"]] if deal["person_id"] else []
        return main + [one for one in self.participants[deal["id"]] if one not in main]

    def counts(self, person_id: int) -> dict[str, int]:
        """``open``, ``won``, ``lost``: deals this is the main person of; ``participant_open``,
        ``participant_closed``: those it only takes part in. Archived deals count as well."""
        deals = self.live("deals")
        main = [one["status"] for one in deals if one["person_id"] == person_id]
        beside = [
            one["status"]
            for one in deals
            if one["person_id"] != person_id and person_id in self.participants[one["id"]]
        ]
        participant_open = beside.count("open")
        return {
            **{status: main.count(status) for status in ("open", "won", "lost")},
            "participant_open": participant_open,
            "participant_closed": len(beside) - participant_open,
        }

    # ---------------------------------------------------------------------------- fields

    def add_field(self, name: str, kind: str, labels: Iterable[str] = (), **more: Any) -> Field:
        """The code is 40 hex digits, different in every company."""
        code = hashlib.sha1(f"{name}/{self.number()}".encode(), usedforsecurity=False).hexdigest()
        made = Field(code=code, name=name, type=kind, **more)
        made.options = {self.number(): label for label in labels}
        self.fields[code] = made
        return made

    def remove_field(self, code: str) -> Field:
        for person in self.records["persons"].values():
            person["custom_fields"].pop(code, None)
        return self.fields.pop(code)

    # -------------------------------------------------------------------------- webhooks

    def add_webhook(self, wanted: Record) -> Record:
        user, password = wanted.get("http_auth_user"), wanted.get("http_auth_password")
        webhook = {
            "id": 1828000 + self.number(), "company_id": COMPANY_ID,
            "owner_id": INTEGRATION_USER, "user_id": wanted.get("user_id", INTEGRATION_USER),
            "event_action": wanted["event_action"], "event_object": wanted["event_object"],
            "subscription_url": wanted["subscription_url"],
            "version": wanted.get("version", "2.0"), "is_active": 1,
            "add_time": self.clock().strftime("%Y-%m-%dT%H:%M:%S.000Z"), "remove_time": None,
            "type": "general", "http_auth_user": _encrypted(user),
            "http_auth_password": _encrypted(password), "remove_reason": None,
            "last_delivery_time": None, "last_http_status": None,
            "admin_id": INTEGRATION_USER, "name": wanted["name"],
        }  # fmt: skip
        self.webhooks[webhook["id"]] = webhook
        self.passwords[webhook["id"]] = (user, password)
        return webhook

    def _add(self, entity: str, record: Record, actor: Actor) -> Record:
        self.records[ENTITIES[entity]][record["id"]] = record
        self._emit("create", entity, record, None, actor, {})
        return record

    def _emit(
        self, action: str, entity: str, after: Record | None, before: Record | None,
        actor: Actor, more: dict[str, str],
    ) -> None:  # fmt: skip
        """``before`` is the whole record; of a change only what differs is told."""
        self._events += 1
        told = {name: self._shown(entity, one) for name, one in (("new", after), ("old", before))}
        previous = told["old"]
        if action == "change" and told["new"] and previous:
            previous = _difference(told["new"], previous)
        record_id = (after or before or {})["id"]
        for webhook in self.webhooks.values():
            wants = (webhook["event_object"], webhook["event_action"])
            if webhook["is_active"] and wants[0] in ("*", entity) and wants[1] in ("*", action):
                meta = self._meta(action, entity, record_id, actor, webhook) | more
                body = {"meta": meta, "data": told["new"], "previous": previous}
                self.deliveries.append(self._delivery(webhook, body))

    def _shown(self, entity: str, record: Record | None) -> Record | None:
        """A record as webhooks tell it: fewer keys than the API, ``visible_to`` as text."""
        if record is None:
            return None
        shown = {name: copy.deepcopy(record.get(name)) for name in DATA[entity]}
        if "visible_to" in shown:
            shown["visible_to"] = str(record["visible_to"])
        if entity == "person":
            custom = {
                code: webhook_value(one.type, record["custom_fields"].get(code))
                for code, one in self.fields.items()
            }
            shown["custom_fields"] = custom if self.empty_fields_sent else _without_empty(custom)
        elif entity == "deal":
            shown["custom_fields"] = {}
        return shown

    def _meta(
        self, action: str, entity: str, record_id: int, actor: Actor, webhook: Record
    ) -> Record:
        now = self.clock()
        return {
            "action": action,
            "company_id": str(COMPANY_ID),
            "correlation_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"correlation {self._events}")),
            "entity_id": str(record_id),
            "entity": entity,
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"event {self._events}")),
            "is_bulk_edit": actor.is_bulk_edit,
            "timestamp": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z",
            "type": webhook["type"],
            "user_id": str(actor.user_id),
            "version": webhook["version"],
            "webhook_id": str(webhook["id"]),
            "webhook_owner_id": str(webhook["owner_id"]),
            "change_source": actor.change_source,
            "permitted_user_ids": [str(one["id"]) for one in self.users],
            "attempt": 1,
            "host": f"{DOMAIN}.pipedrive.com",
        }

    def _delivery(self, webhook: Record, body: Record) -> Outgoing:
        headers = {"content-type": "application/json", "user-agent": "Pipedrive Webhooks"}
        user, password = self.passwords[webhook["id"]]
        if user is not None or password is not None:
            pair = f"{user or ''}:{password or ''}".encode()
            headers["authorization"] = "Basic " + base64.b64encode(pair).decode()
        return Outgoing(
            url=webhook["subscription_url"], headers=headers, body=json.dumps(body).encode()
        )


def _difference(new: Record, old: Record) -> Record:
    """What changed, as it was. ``update_time`` is told with some changes and not with others:
    https://pipedrive.readme.io/docs/webhooks-v2-migration-guide."""
    changed = {name: value for name, value in old.items() if value != new[name]}
    if "custom_fields" in changed:
        changed["custom_fields"] = {
            code: value
            for code, value in old["custom_fields"].items()
            if value != new["custom_fields"].get(code)
        } | {code: None for code in new["custom_fields"] if code not in old["custom_fields"]}
    if "stage_id" in changed:
        return {"stage_id": old["stage_id"]}
    if set(changed) <= {"custom_fields", "update_time"}:
        changed.pop("update_time", None)
    return changed


def _without_empty(custom: Record) -> Record:
    return {code: value for code, value in custom.items() if value is not None}


def _encrypted(word: str | None) -> str | None:
    """What the API answers in place of a credential: it cannot be read back."""
    if word is None:
        return None
    return "v1u:AQIB" + base64.b64encode(hashlib.sha256(word.encode()).digest()).decode()


def _user(number: int, name: str, *, admin: bool = False, active: bool = True) -> Record:
    """In the shape of v1, where users still are."""
    access = [
        {"app": app, "admin": admin, "permission_set_id": str(uuid.uuid5(uuid.NAMESPACE_OID, app))}
        for app in ("sales", "global", "account_settings")
    ]
    return {
        "id": number, "name": name, "default_currency": "EUR", "locale": "de_DE", "lang": 7,
        "email": f"{name.split()[0].lower()}@firm.example.com", "phone": None,
        "activated": True, "last_login": "2026-11-20 08:45:56",
        "created": "2024-01-15 09:16:26", "modified": "2026-11-20 08:45:56",
        "has_created_company": False, "access": access if active else [],
        "active_flag": active, "timezone_name": "Europe/Berlin", "timezone_offset": "+01:00",
        "role_id": 1, "icon_url": None, "is_you": number == INTEGRATION_USER,
        "is_deleted": False,
    }  # fmt: skip
