"""A Pipedrive company in memory: people's doings and what can be seen of them.

The wire is in ``api.py``, the records and their webhooks are in ``company.py``. Where Pipedrive's
documentation is silent the stand-in takes the harder of two behaviours; each is an attribute of
``company`` or ``api``, to be turned round by a test.
"""

from __future__ import annotations

import html
import json
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from plugin.manifest import Field as OurField
from plugin.manifest import FieldType, manifest
from tests.payloads.pipedrive import wire
from tests.payloads.pipedrive.api import Api, find
from tests.payloads.pipedrive.company import COMPANY_ID, Actor, Company, Field, Record
from tests.stand_in import Outgoing, Seen, StandIn

ZONE = ZoneInfo("Europe/Berlin")
REP = Actor(user_id=16219013)
TYPES: Mapping[FieldType, tuple[str, ...]] = {
    FieldType.ENUM: ("enum",),
    FieldType.MULTI_ENUM: ("set",),
    FieldType.TEXT: ("text",),
    FieldType.LINE: ("varchar",),
    FieldType.DATE: ("date",),
    FieldType.NUMBER: ("double",),
    FieldType.MONEY: ("monetary", "double"),
    FieldType.BOOL: ("enum", "set"),
}
"""Which of Pipedrive's types can hold ours. It has no yes/no: a choice of two stands in."""
YES, NO = ("Yes", "Ja"), ("No", "Nein")
WINDOW = 2.0
"""Seconds of the burst limit: https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting"""


class Crm(StandIn):
    """``daily_limit``: tokens a day, by UTC; ``tells_budget``: whether headers, which are
    undocumented and were seen live, tell it; ``burst``: calls in two seconds, told only."""

    name = "pipedrive"
    account_crm_id = str(COMPANY_ID)
    token = "0123456789abcdef0123456789abcdef01234567"
    owner_id = "16219013"
    other_owner_id = "16219014"

    def __init__(self) -> None:
        super().__init__()
        self.company = Company(lambda: self.clock())
        self.company.deliveries = self.deliveries
        self.api = Api(self.company)
        self.daily_limit = 30_000
        self.tells_budget = True
        self.burst = 480
        self._spent: dict[str, int] = {}
        self._spent_until: datetime | None = None
        self._recent: deque[float] = deque()

    # ------------------------------------------------------------------- people's doings

    def contact(self, first: str, last: str, *, email: str = "", phone: str = "",
                company: str = "", city: str = "", owner: str | None = None) -> str:  # fmt: skip
        values: Record = {
            "first_name": first, "last_name": last, "name": f"{first} {last}".strip(),
            "emails": _entries(email, "work"), "phones": _entries(phone, "mobile"),
            "owner_id": int(owner or self.owner_id),
        }  # fmt: skip
        with self.lock:
            if company:
                values["org_id"] = self._organization(company, city)["id"]
            if city and self.company.contact_sync:
                values["postal_address"] = _address(city)
            return str(self.company.add_person(REP, **values)["id"])

    def change(self, contact_id: str, **values: str) -> None:
        with self.lock:
            self._save(self._person(contact_id), values, REP)

    def deal(self, *contact_ids: str, name: str = "Küche", amount: str = "1000",
             currency: str = "EUR") -> str:  # fmt: skip
        people = [int(one) for one in contact_ids]
        values: Record = {"title": name, "value": _plain_number(amount), "currency": currency}
        values["owner_id"] = REP.user_id
        if people:
            values["person_id"] = people[0]
        with self.lock:
            return str(self.company.add_deal(REP, people[1:], **values)["id"])

    def win(self, deal_id: str) -> None:
        with self.lock:
            now = self.company.now()
            self._save_deal(deal_id, status="won", won_time=now, close_time=now)

    def lose(self, deal_id: str) -> None:
        with self.lock:
            now = self.company.now()
            self._save_deal(
                deal_id, status="lost", lost_time=now, close_time=now, lost_reason="Price"
            )

    def reopen(self, deal_id: str) -> None:
        """A rep takes won or lost back."""
        with self.lock:
            self._save_deal(
                deal_id, status="open", won_time=None, lost_time=None, close_time=None,
                lost_reason=None,
            )  # fmt: skip

    def move(self, deal_id: str, stage_id: int) -> None:
        """A rep drags a deal to another stage."""
        with self.lock:
            self._save_deal(deal_id, stage_id=stage_id, stage_change_time=self.company.now())

    def archive(self, deal_id: str) -> None:
        """Lists of deals leave it out from now on."""
        with self.lock:
            self._save_deal(deal_id, is_archived=True, archive_time=self.company.now())

    def delete(self, contact_id: str) -> None:
        with self.lock:
            self.company.delete("person", self._person(contact_id), REP)

    def delete_deal(self, deal_id: str) -> None:
        with self.lock:
            self.company.delete("deal", self.company.records["deals"][int(deal_id)], REP)

    def merge(self, keep: str, drop: str) -> str:
        with self.lock:
            self.company.merge_persons(self._person(keep), self._person(drop), REP)
        return keep

    def complete(self, task_id: str) -> None:
        with self.lock:
            task = self.company.records["activities"][int(task_id)]
            changes = {"done": True, "marked_as_done_time": self.company.now()}
            self.company.save("activity", task, changes, REP)
            self.company.touch([task["person_id"]], REP)

    def deactivate(self, owner_id: str) -> None:
        with self.lock:
            user = next(one for one in self.company.users if str(one["id"]) == owner_id)
            user |= {"active_flag": False, "access": []}

    def take_field_away(self, key: str) -> None:
        with self.lock:
            self.company.remove_field(self._ours(key).code)

    def make_foreign_field(self, key: str) -> None:
        ours = manifest().field(key)
        kind = "varchar" if key == "spiral_referrer" or ours.type is not FieldType.LINE else "text"
        with self.lock:
            self.company.add_field(_names(key)[1], kind)

    # ------------------------------------------------------------------------ seeing

    def value(self, contact_id: str, key: str) -> str:
        with self.lock:
            field = self._found(key) or self._labelled(key)
            if field is None:
                return ""
            found = self._person(contact_id)["custom_fields"].get(field.code)
            return "" if found is None else _as_text(manifest().field(key), field, found)

    def referrer(self, contact_id: str) -> str | None:
        with self.lock:
            field = self._found("spiral_referrer")
            custom = self._person(contact_id)["custom_fields"]
            return str(custom[field.code]) if field and field.code in custom else None

    def foreign(self, contact_id: str) -> Mapping[str, object]:
        with self.lock:
            person = self._person(contact_id)
            ours = {field.code for key in _keys() if (field := self._found(key))}
            kept = {
                name: value
                for name, value in person.items()
                if name not in ("custom_fields", "add_time", "update_time")
            }
            others = {
                code: value for code, value in person["custom_fields"].items() if code not in ours
            }
            return {**kept, **others}

    def tasks(self) -> list[Seen]:
        with self.lock:
            return [_seen(one) for one in self.company.live("activities")]

    def schema(self) -> Mapping[str, object]:
        with self.lock:
            return {
                field.code: (field.name, field.type, tuple(field.options.items()))
                for field in self.company.fields.values()
            }

    def subscriptions(self) -> list[str]:
        with self.lock:
            active = (one for one in self.company.webhooks.values() if one["is_active"])
            return sorted(one["subscription_url"] for one in active)

    def drop_subscriptions(self) -> None:
        """As after three days without a delivery that worked."""
        with self.lock:
            self.company.webhooks.clear()

    def switch_subscriptions_off(self) -> None:
        """They stay in the list, and send nothing."""
        self._damage(is_active=0, remove_reason="unsuccessful deliveries")

    def damages(self) -> Mapping[str, Callable[[], None]]:
        return {
            "switched off": self.switch_subscriptions_off,
            "sent with a password that we refused": self._change_passwords,
            "of an older version": lambda: self._damage(version="1.0"),
            "told of new records only": lambda: self._damage(event_action="create"),
        }

    def _damage(self, **values: object) -> None:
        with self.lock:
            for webhook in self.company.webhooks.values():
                webhook.update(values)

    def _change_passwords(self) -> None:
        with self.lock:
            for webhook_id in self.company.webhooks:
                self.company.passwords[webhook_id] = ("referral-spiral", "another")
        self._damage(last_http_status=401, last_delivery_time=self.company.now())

    def spend_budget(self, until: datetime) -> None:
        with self.lock:
            self._spent_until = until

    # ----------------------------------------------------------------------- webhooks

    def again(self, delivery: Outgoing, *, attempt: int = 2) -> Outgoing:
        """The same delivery as it is tried once more after 3, 30 and 150 seconds."""
        body = json.loads(delivery.body)
        body["meta"]["attempt"] = attempt
        return replace(delivery, body=json.dumps(body).encode())

    # ------------------------------------------------------------------------ the wire

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Any,
               headers: Mapping[str, str]) -> tuple[int, Any, Mapping[str, str]]:  # fmt: skip
        if headers.get("x-api-token") != self.token:
            return 401, wire.unauthorized().body, {}
        today, cost = self.company.now()[:10], self.cost(method, path, query)
        if self._spent_until and self.clock() < self._spent_until:
            wait = (self._spent_until - self.clock()).total_seconds()
            return self._rate_limited(wait)
        if self._spent.get(today, 0) + cost > self.daily_limit:
            return self._rate_limited(self._until_midnight())
        self._spent[today] = self._spent.get(today, 0) + cost
        status, content = self.api.answer(method, path, query, body)
        return status, content, self._rate()

    def _rate_limited(self, wait: float) -> tuple[int, Any, Mapping[str, str]]:
        left = {"x-daily-ratelimit-token-remaining": "0"} if self.tells_budget else {}
        return 429, RATE_LIMITED, self._rate() | left | {"retry-after": str(int(wait) + 1)}

    def cost(self, method: str, path: str, query: Mapping[str, str]) -> int:
        route = find(method, path)
        return route[0].cost if route else 0

    def _rate(self) -> dict[str, str]:
        now = time.monotonic()
        self._recent.append(now)
        while self._recent[0] + WINDOW < now:
            self._recent.popleft()
        headers = {
            "x-ratelimit-limit": str(self.burst),
            "x-ratelimit-remaining": str(max(0, self.burst - len(self._recent))),
            "x-ratelimit-reset": "2",
        }
        if self.tells_budget:
            left = self.daily_limit - self._spent.get(self.company.now()[:10], 0)
            headers["x-daily-ratelimit-token-limit"] = str(self.daily_limit)
            headers["x-daily-ratelimit-token-remaining"] = str(left)
        return headers

    def _until_midnight(self) -> float:
        now = self.clock().astimezone(UTC)
        midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
        return (midnight - now).total_seconds()

    # ------------------------------------------------------------------------- our fields

    def _person(self, contact_id: str) -> Record:
        return self.company.records["persons"][int(contact_id)]

    def _organization(self, name: str, city: str) -> Record:
        for one in self.company.records["organizations"].values():
            if one["name"] == name:
                return one
        return self.company.add_organization(name, city)

    def _save(self, person: Record, values: Mapping[str, str], actor: Actor) -> None:
        """``values`` as ``change`` takes them, all in one save."""
        changes: Record = {"custom_fields": {}}
        for name, value in values.items():
            if name in ("first", "last"):
                changes[f"{name}_name"] = value
            elif name in ("email", "phone"):
                changes[f"{name}s"] = _entries(value, "work" if name == "email" else "mobile")
            elif name == "owner":
                changes["owner_id"] = int(value)
            elif name == "company":
                changes["org_id"] = self._organization(value, "")["id"] if value else None
            elif name == "city":
                self._move_to(person, value, changes)
            else:
                field = self._ours(name)
                kept = _as_kept(manifest().field(name), field, value) if value else None
                changes["custom_fields"][field.code] = kept
        first, last = (changes.get(one, person[one]) for one in ("first_name", "last_name"))
        changes["name"] = f"{first} {last}".strip()
        self.company.save("person", person, changes, actor)

    def _move_to(self, person: Record, city: str, changes: Record) -> None:
        """The city is the organization's, and the person's own only with contact sync."""
        if self.company.contact_sync:
            changes["postal_address"] = _address(city)
        elif person["org_id"] is not None:
            self.company.records["organizations"][person["org_id"]]["address"] = _address(city)

    def _save_deal(self, deal_id: str, **changes: object) -> None:
        deal = self.company.records["deals"][int(deal_id)]
        self.company.save("deal", deal, changes, REP)
        if "status" in changes:
            self.company.touch(self.company.persons_of(deal), REP)

    def _ours(self, key: str) -> Field:
        found = self._found(key)
        if found is None:
            raise LookupError(f"the company has no field for {key}")
        return found

    def _found(self, key: str) -> Field | None:
        """As people find it: by its label, and of a type that can hold our values."""
        kinds = ("people",) if key == "spiral_referrer" else TYPES[manifest().field(key).type]
        return self._labelled(key, kinds)

    def _labelled(self, key: str, kinds: tuple[str, ...] = ()) -> Field | None:
        for field in self.company.fields.values():
            if field.name in _names(key) and (field.type in kinds or not kinds):
                return field
        return None


def _names(key: str) -> tuple[str, str]:
    """What one of our fields is called in German and in English: its label, always after our
    title."""
    title, label = manifest().title, manifest().field(key).label
    german, english = (
        label[one] if label[one].startswith(title[one]) else f"{title[one]}: {label[one]}"
        for one in ("de", "en")
    )
    return german, english


RATE_LIMITED = {"success": False, "error": "Daily API token budget used up"}
"""The body of a 429 is undocumented."""


def _keys() -> tuple[str, ...]:
    return (*manifest().keys_in, *manifest().keys_out)


def _entries(value: str, label: str) -> list[Record]:
    return [{"value": value, "primary": True, "label": label}] if value else []


def _address(city: str) -> Record:
    return {"value": f"{city}, Germany", "locality": city, "country": "Germany"}


def _plain_number(value: str) -> int | float:
    number = Decimal(value)
    return int(number) if number == number.to_integral_value() else float(number)


def _option(ours: OurField, field: Field, value: str) -> int:
    if ours.type is FieldType.BOOL:
        labels = YES if value == "true" else NO
    else:
        (chosen,) = (one.label for one in ours.options if one.value == value)
        labels = (chosen["de"], chosen["en"])
    found = field.option(*labels)
    if found is None:
        raise LookupError(f"{field.name} has no option for {value}")
    return found


def _as_kept(ours: OurField, field: Field, value: str) -> Any:
    """A value in the manifest's form as the API tells it."""
    if field.type == "enum":
        return _option(ours, field, value)
    if field.type == "set":
        return [_option(ours, field, one) for one in value.split(";")]
    if field.type == "double":
        return _plain_number(value)
    if field.type == "monetary":
        return {"value": _plain_number(value), "currency": "EUR"}
    return int(value) if field.type == "people" else value


def _as_text(ours: OurField, field: Field, kept: Any) -> str:
    """The other way round."""
    if field.type in ("enum", "set"):
        chosen = [field.options[one] for one in (kept if field.type == "set" else [kept])]
        if ours.type is FieldType.BOOL:
            return "true" if chosen[0] in YES else "false"
        return ";".join(
            one.value
            for label in chosen
            for one in ours.options
            if label in (one.label["de"], one.label["en"])
        )
    number = kept["value"] if field.type == "monetary" else kept
    return f"{Decimal(str(number)).normalize():f}" if _is_number(number) else str(number)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _seen(activity: Record) -> Seen:
    """``due_date`` and ``due_time`` are UTC; people see their own time."""
    due = activity["due_date"]
    if activity["due_time"]:
        at = datetime.fromisoformat(f"{due}T{activity['due_time']}+00:00")
        due = at.astimezone(ZONE).date().isoformat()
    people = sorted(activity["participants"], key=lambda one: not one.get("primary"))
    owner = activity["owner_id"]
    return Seen(
        crm_id=str(activity["id"]),
        subject=activity["subject"],
        body=_plain(activity["note"] or ""),
        contact_ids=tuple(str(one["person_id"]) for one in people),
        owner_id=None if owner is None else str(owner),
        due_on=due,
        done=activity["done"],
    )


def _plain(note: str) -> str:
    """HTML as people see it: white space counts as one blank, ``<br>`` and blocks break lines."""
    broken = re.sub(r"<br\s*/?>|</(?:p|div|li)>", "\n", re.sub(r"\s+", " ", note))
    lines = html.unescape(re.sub(r"<[^>]*>", "", broken)).split("\n")
    return "\n".join(line.strip() for line in lines).strip()
