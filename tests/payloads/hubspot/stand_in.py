"""HubSpot behind the contract of the stand-ins: the sandbox CRM, driven by method calls.

Requests are handed on to the sandbox's own application; faults and calls are those of
``tests.stand_in``. Webhooks are the sandbox's events, one a delivery.
"""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from plugin.manifest import FieldType, manifest
from plugin.ports import AccountLink
from plugin.sandbox.portal import CONTACTS, DEALS, STAFF, TASKS, Portal
from plugin.sandbox.properties import instant
from plugin.sandbox.records import Clock, Record, Sandbox
from plugin.sandbox.server import create_sandbox
from plugin.sandbox.webhooks import Change, Outbox, sign
from tests.stand_in import Outgoing, Seen, StandIn

PROPERTIES = {
    "first": "firstname", "last": "lastname", "email": "email", "phone": "phone",
    "company": "company", "city": "city", "owner": "hubspot_owner_id",
}  # fmt: skip
"""Word of the contract → HubSpot's property; our fields are called alike."""
TIMES = (CONTACTS.created, CONTACTS.modified)


class Crm(StandIn):
    name = "hubspot"
    owner_id = STAFF[0].id
    other_owner_id = STAFF[1].id

    def __init__(self) -> None:
        super().__init__()
        portal = Portal(rate_limit=100_000)  # a test has no time to be modest
        self.token = portal.token
        self.shared_secret = portal.secret
        self.account_crm_id = str(portal.portal_id)
        self._portal = portal
        self._target = ""
        self._crm = Sandbox(portal, outbox=_Outbox(portal, self._tell))
        self._crm.clock = _Clock(lambda: self.clock())
        self._crm.lock = self.lock
        self._wire = create_sandbox(self._crm)

    # ------------------------------------------------------------------- people's doings

    def contact(self, first: str, last: str, *, email: str = "", phone: str = "",
                company: str = "", city: str = "", owner: str | None = None) -> str:  # fmt: skip
        values = {
            "first": first, "last": last, "email": email, "phone": phone, "company": company,
            "city": city, "owner": owner or "",
        }  # fmt: skip
        return self._crm.create(CONTACTS, _properties(values), self._crm.person()).id

    def change(self, contact_id: str, **values: str) -> None:
        self._crm.update(self._contact(contact_id), _properties(values), self._crm.person())

    def deal(self, *contact_ids: str, name: str = "Küche", amount: str = "1000",
             currency: str = "EUR") -> str:  # fmt: skip
        values = {"dealname": name, "amount": amount}
        if currency != self._portal.currency:
            values["deal_currency_code"] = currency
        links = [(CONTACTS, contact_id, ()) for contact_id in contact_ids]
        return self._crm.create(DEALS, values, self._crm.person(), links=links).id

    def win(self, deal_id: str) -> None:
        self._close(deal_id, "closedwon")

    def lose(self, deal_id: str) -> None:
        self._close(deal_id, "closedlost")

    def delete(self, contact_id: str) -> None:
        self._crm.archive(self._contact(contact_id), self._crm.person())

    def delete_deal(self, deal_id: str) -> None:
        self._crm.archive(self._crm.get(DEALS, deal_id), self._crm.person())

    def merge(self, keep: str, drop: str) -> str:
        """HubSpot makes a third record of the two."""
        return self._crm.merge(self._contact(keep), self._contact(drop), self._crm.person()).id

    def erase(self, contact_id: str) -> None:
        self._crm.erase(CONTACTS, contact_id, self._crm.person())

    def complete(self, task_id: str) -> None:
        done = {"hs_task_status": "COMPLETED"}
        self._crm.update(self._crm.get(TASKS, task_id), done, self._crm.person())

    def deactivate(self, owner_id: str) -> None:
        self._crm.dismiss(owner_id)

    def take_field_away(self, key: str) -> None:
        with self.lock:
            self._crm.properties.archive(CONTACTS.plural, key, self.clock())

    def make_foreign_field(self, key: str) -> None:
        other = "string" if manifest().field(key).type is FieldType.NUMBER else "number"
        definition = {
            "name": key, "label": "Ours since 2019", "groupName": "contactinformation",
            "type": other, "fieldType": "text" if other == "string" else "number",
        }  # fmt: skip
        with self.lock:
            self._crm.properties.create(CONTACTS.plural, definition)

    # ------------------------------------------------------------------------ seeing

    def value(self, contact_id: str, key: str) -> str:
        return self._contact(contact_id).value(key) or ""

    def referrer(self, contact_id: str) -> str | None:
        words = manifest().association_label
        with self.lock:
            for found, kinds in self._crm.linked(self._contact(contact_id), CONTACTS):
                if any(kind.label in (words.de, words.en) for kind in kinds):
                    return found.id
        return None

    def foreign(self, contact_id: str) -> Mapping[str, object]:
        ours = {field.key for field in manifest().fields}
        with self.lock:
            values = self._contact(contact_id).values
            return {k: v for k, v in values.items() if k not in ours and k not in TIMES}

    def tasks(self) -> list[Seen]:
        with self.lock:
            return [self._seen(record) for record in self._crm.all(TASKS)]

    def schema(self) -> Mapping[str, object]:
        with self.lock:
            found = self._crm.properties.all(CONTACTS.plural)
            return {one.name: asdict(one) for one in found if one.custom}

    def subscriptions(self) -> list[str]:
        return [self._target] if self._target else []

    def drop_subscriptions(self) -> None:
        self._target = ""

    # ----------------------------------------------------------------------- webhooks

    def subscribe_by_hand(self, target: str) -> str:
        """The admin uploads the app project; its secret is that of the app."""
        self._target = target
        return self._portal.secret

    def _tell(self, event: Mapping[str, Any]) -> None:
        """Times inside the event are the CRM's; the signature's is the real one."""
        if not self._target:
            return
        body = json.dumps([event], separators=(",", ":")).encode()
        at = str(time.time_ns() // 1_000_000)
        headers = {
            "Content-Type": "application/json",
            "X-HubSpot-Request-Timestamp": at,
            "X-HubSpot-Signature-v3": sign(self._portal.secret, "POST", self._target, body, at),
        }
        self.deliveries.append(Outgoing(url=self._target, headers=headers, body=body))

    # ------------------------------------------------------------------------ the wire

    def link(self, **more: Any) -> AccountLink:
        return super().link(**{"app_id": str(self._portal.app_id), **more})

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Any,
               headers: Mapping[str, str]) -> tuple[int, Any, Mapping[str, str]]:  # fmt: skip
        response = self._wire.test_client().open(
            path, method=method, query_string=dict(query), json=body,
            headers={"Authorization": headers.get("authorization", "")},
        )  # fmt: skip
        told = {k: v for k, v in response.headers.items() if k.startswith("X-")}
        return response.status_code, response.get_data(), told

    # ------------------------------------------------------------------------ inside

    def _contact(self, contact_id: str) -> Record:
        return self._crm.get(CONTACTS, contact_id)

    def _close(self, deal_id: str, stage: str) -> None:
        values = {"dealstage": stage}
        self._crm.update(self._crm.get(DEALS, deal_id), values, self._crm.person())

    def _seen(self, task: Record) -> Seen:
        due = instant(task.values["hs_timestamp"]).astimezone(ZoneInfo(self._portal.time_zone))
        return Seen(
            crm_id=task.id,
            subject=task.value("hs_task_subject") or "",
            body=html.unescape(re.sub(r"<br/?>", "\n", task.value("hs_task_body") or "")),
            contact_ids=tuple(found.id for found, _ in self._crm.linked(task, CONTACTS)),
            owner_id=task.value("hubspot_owner_id"),
            due_on=due.date().isoformat(),
            done=task.value("hs_task_status") == "COMPLETED",
        )


class _Outbox(Outbox):
    """Hands every event over at once, where the sandbox's own sends by itself."""

    def __init__(self, portal: Portal, tell: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__(portal)
        self._tell = tell

    def emit(self, change: Change) -> None:
        key = (change.what, change.object_type.singular, change.detail.get("propertyName"))
        for subscription in self._subscriptions.get(key, ()):
            self._tell(self._event(subscription, change))


class _Clock(Clock):
    """The stand-in's time, in HubSpot's milliseconds."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__()
        self._read = now

    def now(self) -> datetime:
        now = self._read()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _properties(values: Mapping[str, str]) -> dict[str, str]:
    return {PROPERTIES.get(word, word): value for word, value in values.items()}
