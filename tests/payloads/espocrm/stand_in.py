"""A stand-in for EspoCRM 9.2: its API and its webhooks, from memory.

Made from recorded traffic and, where that is silent, from the source (see ``docs/adapters``).
It is strict where EspoCRM is, and refuses what it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from plugin.manifest import Field, FieldType, manifest
from tests.payloads.espocrm.administration import Administration, prefixed
from tests.payloads.espocrm.api import ZONE, Api
from tests.payloads.espocrm.hooks import Queue
from tests.payloads.espocrm.records import Records
from tests.payloads.espocrm.searching import Record
from tests.stand_in import Seen, StandIn

PLAIN = {
    "first": "firstName", "last": "lastName", "email": "emailAddress", "phone": "phoneNumber",
    "city": "addressCity", "owner": "assignedUserId",
}  # fmt: skip
KEPT_BY_CRM = {
    "createdAt", "modifiedAt", "modifiedById", "modifiedByName", "streamUpdatedAt",
    "versionNumber", "isFollowed", "followersIds", "followersNames",
}  # fmt: skip
ENDS = ("", "Id", "Name", "Currency", "Converted")
"""Of a field's attributes, whatever its type."""
FIELDS = {one.key: one for one in manifest().fields}


class Crm(StandIn):
    """EspoCRM with one API user, an administrator and two sales reps."""

    name = "espocrm"
    admin = "admin:stand-in-password"

    def __init__(self) -> None:
        super().__init__()
        self.account_crm_id = ""
        self._records = Records(lambda: self.clock(), self._tell)
        self._queue = Queue(
            deliveries=self.deliveries,
            webhooks=self._records.tables["Webhook"],
            remove=self._remove_webhook,
            now=lambda: self.clock(),
        )
        self._administration = Administration(self._records)
        name, _, password = self.admin.partition(":")
        self._api = Api(
            self._records,
            self._administration,
            passwords={name: password},
            now=lambda: self.clock(),
            site=lambda: self.url,
        )
        self._people()

    def _people(self) -> None:
        role = self._records.create("Role", {"name": "Plugin"}, "")
        role |= {"assignmentPermission": "all", "userPermission": "all", "data": {"Webhook": True}}
        self._user(type="admin", userName="admin", lastName="Admin")
        self.owner_id = self._user(userName="ute", firstName="Ute", lastName="Verkauf")["id"]
        self.other_owner_id = self._user(userName="otto", firstName="Otto", lastName="Vertrieb")[
            "id"
        ]
        self._user(userName="olga", firstName="Olga", lastName="Ehemals", isActive=False)
        plugin = self._user(
            type="api", userName="plugin", authMethod="ApiKey", rolesIds=[role["id"]]
        )
        self.token = plugin["apiKey"]

    def _user(self, **values: Any) -> Record:
        email = f"{values['userName']}@crm.example.com"
        return self._api.new_user({"emailAddress": email, **values}, "")

    def served(self) -> None:
        self.account_crm_id = self.url.partition("://")[2]

    # ------------------------------------------------------------------- people's doings

    def contact(self, first: str, last: str, *, email: str = "", phone: str = "",
                company: str = "", city: str = "", owner: str | None = None) -> str:  # fmt: skip
        with self.lock:
            values = {"first": first, "last": last, "email": email, "phone": phone, "city": city}
            attributes = self._attributes({**values, "company": company})
            attributes["assignedUserId"] = owner
            filled = {name: value for name, value in attributes.items() if value is not None}
            return str(self._records.create("Contact", filled, self.owner_id)["id"])

    def change(self, contact_id: str, **values: str) -> None:
        with self.lock:
            record = self._records.get("Contact", contact_id)
            self._records.update("Contact", record, self._attributes(values), self.owner_id)

    def _attributes(self, values: Mapping[str, str]) -> Record:
        found: Record = {}
        for key, value in values.items():
            if key in FIELDS:
                found[_name(key)] = _from_manifest(FIELDS[key], value)
            elif key == "company":
                found["accountId"] = self._account(value)
            else:
                found[PLAIN[key]] = value or None
        return found

    def _account(self, name: str) -> str | None:
        if not name:
            return None
        for one in self._records.there("Account"):
            if one["name"] == name:
                return str(one["id"])
        return str(self._records.create("Account", {"name": name}, self.owner_id)["id"])

    def deal(self, *contact_ids: str, name: str = "Küche", amount: str = "1000",
             currency: str = "EUR") -> str:  # fmt: skip
        with self.lock:
            values = {
                "name": name, "amount": _number(amount), "amountCurrency": currency,
                "closeDate": (self._today() + timedelta(days=30)).isoformat(),
                "contactsIds": list(contact_ids), "contactId": (*contact_ids, None)[0],
                "assignedUserId": self.owner_id,
            }  # fmt: skip
            return str(self._records.create("Opportunity", values, self.owner_id)["id"])

    def win(self, deal_id: str) -> None:
        self._close(deal_id, "Closed Won")

    def lose(self, deal_id: str) -> None:
        self._close(deal_id, "Closed Lost")

    def _close(self, deal_id: str, stage: str) -> None:
        with self.lock:
            record = self._records.get("Opportunity", deal_id)
            values = {"stage": stage, "closeDate": self._today().isoformat()}
            self._records.update("Opportunity", record, values, self.owner_id)

    def delete(self, contact_id: str) -> None:
        self._delete("Contact", contact_id)

    def delete_deal(self, deal_id: str) -> None:
        self._delete("Opportunity", deal_id)

    def _delete(self, entity: str, record_id: str) -> None:
        with self.lock:
            record = self._records.get(entity, record_id)
            self._records.delete(entity, record, self.owner_id)

    def merge(self, keep: str, drop: str) -> str:
        with self.lock:
            self._api.merge("Contact", keep, [drop], {}, self.owner_id)
            return keep

    def complete(self, task_id: str) -> None:
        with self.lock:
            task = self._records.get("Task", task_id)
            self._records.update("Task", task, {"status": "Completed"}, self.owner_id)

    def deactivate(self, owner_id: str) -> None:
        with self.lock:
            user = next(one for one in self._records.there("User") if one["id"] == owner_id)
            user["isActive"] = False

    def take_field_away(self, key: str) -> None:
        with self.lock:
            if _name(key) in self._records.links["Contact"]:
                self._administration.remove_link({"entity": "Contact", "link": _name(key)})
            else:
                self._administration.delete_field("Contact", _name(key))

    def make_foreign_field(self, key: str) -> None:
        with self.lock:
            kind = "url" if FIELDS[key].type is not FieldType.LINE else "int"
            body = {"name": _plain_name(key), "type": kind, "label": "Altes Feld"}
            self._administration.create_field("Contact", body)

    def _today(self) -> Any:
        return self.clock().astimezone(ZoneInfo(ZONE)).date()

    # ------------------------------------------------------------------------ seeing

    def value(self, contact_id: str, key: str) -> str:
        with self.lock:
            record = self._records.get("Contact", contact_id)
            return _to_manifest(FIELDS[key], record.get(_name(key)))

    def referrer(self, contact_id: str) -> str | None:
        with self.lock:
            record = self._records.get("Contact", contact_id)
            link = _name("spiral_referrer")
            if link not in self._records.links["Contact"]:
                return None
            return next(iter(self._records.linked("Contact", record, link)), None)

    def foreign(self, contact_id: str) -> Mapping[str, object]:
        with self.lock:
            record = self._records.get("Contact", contact_id)
            ours = {f"{_name(key)}{end}" for key in FIELDS for end in ENDS}
            whole = self._records.whole("Contact", record)
            return {k: v for k, v in whole.items() if k not in ours | KEPT_BY_CRM}

    def tasks(self) -> list[Seen]:
        with self.lock:
            return [self._seen(one) for one in self._records.there("Task")]

    def _seen(self, task: Record) -> Seen:
        due_on = task.get("dateEndDate")
        if not due_on and task.get("dateEnd"):
            due = datetime.fromisoformat(task["dateEnd"]).replace(tzinfo=UTC)
            due_on = due.astimezone(ZoneInfo(ZONE)).date().isoformat()
        return Seen(
            crm_id=task["id"], subject=task["name"], body=task.get("description") or "",
            contact_ids=(task["contactId"],) if task.get("contactId") else (),
            owner_id=task.get("assignedUserId"), due_on=due_on or "",
            done=task["status"] in ("Completed", "Canceled"),
        )  # fmt: skip

    def schema(self) -> Mapping[str, object]:
        with self.lock:
            labels = self._administration.labels.get("Contact", {})
            return {
                name: {
                    **definition,
                    "labels": {kind: told[name] for kind, told in labels.items() if name in told},
                    "link": dict(self._records.links["Contact"].get(name, {})),
                }
                for name, definition in self._records.custom("Contact").items()
            }

    def subscriptions(self) -> list[str]:
        with self.lock:
            webhooks = self._records.there("Webhook")
            return sorted(one["url"] for one in webhooks if one["isActive"])

    def drop_subscriptions(self) -> None:
        with self.lock:
            for one in self._records.there("Webhook"):
                self._remove_webhook(one["id"])

    def damages(self) -> Mapping[str, Callable[[], None]]:
        return {
            "switched off": lambda: self._damage(isActive=False),
            "telling our own changes, too": lambda: self._damage(skipOwn=False),
        }

    def _damage(self, **values: object) -> None:
        with self.lock:
            for one in self._records.there("Webhook"):
                one.update(values)

    # ----------------------------------------------------------------------- webhooks

    def flush(self) -> list[int]:
        """Beyond sending what waits: 410 removes the webhook, and what failed is sent again by a
        later ``flush`` when ten minutes have passed, after newer ones."""
        return self._queue.send()

    def _tell(self, event: str, item: Mapping[str, Any], user_id: str) -> None:
        entity, _, kind = event.partition(".")
        if entity not in ("Contact", "Opportunity", "Task", "Account"):
            return
        self._queue.tell(event, item, user_id)
        if kind != "update":
            return
        for name, one in self._records.fields[entity].items():
            own = [k for k in self._records.attributes_of(name, one["type"]) if k in item]
            if own:
                told = {"id": item["id"], **{k: item[k] for k in own}}
                self._queue.tell(f"{entity}.fieldUpdate.{name}", told, user_id)

    def _remove_webhook(self, webhook_id: str) -> None:
        self._records.tables["Webhook"].pop(webhook_id, None)

    # ------------------------------------------------------------------------ the wire

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Any,
               headers: Mapping[str, str]) -> tuple[int, Any, Mapping[str, str]]:  # fmt: skip
        return self._api.answer(method, path, query, body, headers)


def _plain_name(key: str) -> str:
    """``spiral_rated_on`` → ``spiralRatedOn``, as an admin names it. A link ``spiralReferrer`` and
    the field of ``spiral_referrer_name`` would both be called ``cSpiralReferrerName``."""
    if key == "spiral_referrer":
        return "spiralReferrerContact"
    first, *others = key.split("_")
    return first + "".join(one.capitalize() for one in others)


def _name(key: str) -> str:
    return prefixed(_plain_name(key))


def _number(value: str) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() else number


def _from_manifest(field: Field, value: str) -> Any:
    match field.type:
        case FieldType.BOOL:
            return value == "true"
        case FieldType.MULTI_ENUM:
            return value.split(";") if value else []
        case FieldType.NUMBER | FieldType.MONEY:
            return _number(value) if value else None
        case _:
            return value or None


def _to_manifest(field: Field, value: Any) -> str:
    if value is None:
        return ""
    match field.type:
        case FieldType.BOOL:
            return "true" if value else "false"
        case FieldType.MULTI_ENUM:
            return ";".join(value)
        case FieldType.NUMBER | FieldType.MONEY:
            return str(_number(str(value)))
        case _:
            return str(value)
