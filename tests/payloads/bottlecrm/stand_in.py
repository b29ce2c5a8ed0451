"""BottleCRM (PyPI ``django-crm`` 1.35.0) in memory: the part of its API a referral plugin meets.

From recorded traffic of a running one, and from reading its source: what is refused there is
refused here, in the same words, and what is dropped there in silence is dropped here. Times in
API answers are in the organisation's zone, those in webhooks in UTC. Paths that are not served
here answer 404, as unknown ones do there. Query parameters given twice are not supported. Where
the real one keeps debugging on, it answers a POST to a path without its last slash with 500, not
301.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from decimal import Decimal
from typing import Any

from plugin.manifest import FieldType, manifest
from tests.payloads.bottlecrm.api import Answer, Api
from tests.payloads.bottlecrm.organisation import Organisation
from tests.payloads.bottlecrm.records import CURRENCY, ZONE, Body, Request, Row
from tests.stand_in import Outgoing, Seen, StandIn

RENAMED = {
    "first": "first_name", "last": "last_name", "company": "organization",
    "email": "email", "phone": "phone", "city": "city",
}  # fmt: skip
"""Word of the contract → the CRM's."""
EVENTS = (
    "contact.created", "contact.updated", "contact.deleted",
    "deal.created", "deal.updated", "deal.deleted", "deal.won", "deal.lost",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A webhook."""

    url: str
    secret: str
    events: tuple[str, ...]


class Crm(StandIn):
    """One organisation with one pipeline. ``events``: what the next webhook made by hand is
    ticked for; ``signed_at``: the clock of signatures (seconds)."""

    name = "bottlecrm"
    wrong_token_answers = (403,)
    tells_completion = False

    def __init__(self) -> None:
        super().__init__()
        self.events: tuple[str, ...] = EVENTS
        self.signed_at: Callable[[], float] = time.time
        self._org = Organisation(lambda: self.clock(), self._tell)
        self._dice = random.Random(21)
        self._tokens: dict[str, tuple[str, ...]] = {}
        self._api = Api(self._org, self._tokens)
        self._endpoints: list[Endpoint] = []
        self.account_crm_id = self._org.id
        self.owner_id = self._org.rep.id
        self.other_owner_id = self._org.other_rep.id
        self.token = self.mint()

    # ------------------------------------------------------------------- people's doings

    def contact(self, first: str, last: str, *, email: str = "", phone: str = "",
                company: str = "", city: str = "", owner: str | None = None) -> str:  # fmt: skip
        told = {
            "first": first, "last": last, "email": email, "phone": phone, "company": company,
            "city": city, "owner": owner or "",
        }  # fmt: skip
        filled = {word: value for word, value in told.items() if value}
        return self._by_rep(self._org.create_contact, self._typed({"last": last, **filled}))

    def change(self, contact_id: str, **values: str) -> None:
        self._by_rep(self._org.update_contact, self._typed(values), self._org.contacts[contact_id])

    def deal(self, *contact_ids: str, name: str = "Küche", amount: str = "1000",
             currency: str = CURRENCY) -> str:  # fmt: skip
        """No two deals have one name here: the second is called ``Küche 2``."""
        taken = {row.values["name"].lower() for row in self._org.deals.values()}
        names = (name if n == 1 else f"{name} {n}" for n in range(1, len(taken) + 2))
        free = next(one for one in names if one.lower() not in taken)
        told = {"name": free, "amount": amount, "currency": currency, "contacts": [*contact_ids]}
        return self._by_rep(self._org.create_deal, told)

    def win(self, deal_id: str) -> None:
        self._close(deal_id, "CLOSED_WON")

    def lose(self, deal_id: str) -> None:
        self._close(deal_id, "CLOSED_LOST")

    def delete(self, contact_id: str) -> None:
        self._by_rep(self._org.delete_contact, {}, self._org.contacts[contact_id])

    def delete_deal(self, deal_id: str) -> None:
        self._by_rep(self._org.delete_deal, {}, self._org.deals[deal_id])

    def merge(self, keep: str, drop: str) -> str:
        with self.lock:
            kept, lost = self._org.contacts[keep], self._org.contacts[drop]
            self._org.merge_contacts(kept, lost, self._org.rep)
        return keep

    def complete(self, task_id: str) -> None:
        self._by_rep(self._org.update_task, {"status": "Completed"}, self._org.tasks[task_id])

    def deactivate(self, owner_id: str) -> None:
        with self.lock:
            self._org.profiles[owner_id] = replace(self._org.profiles[owner_id], active=False)

    def take_field_away(self, key: str) -> None:
        """Deleting deactivates: the name stays taken, and records keep their values."""
        with self.lock:
            self._org.fields.get("Contact", key)["is_active"] = False

    def make_foreign_field(self, key: str) -> None:
        number = manifest().field(key).type is FieldType.NUMBER
        told = {
            "target_model": "Contact", "key": key, "label": "Ours since 2019",
            "field_type": "date" if number else "number",
        }  # fmt: skip
        with self.lock:
            self._org.fields.create(Request(query={}, body=told, by=self._org.admin))

    # ------------------------------------------------------------------------ seeing

    def value(self, contact_id: str, key: str) -> str:
        value = self._org.contacts[contact_id].custom.get(key)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float):
            return f"{Decimal(str(value)).normalize():f}"
        return value or ""

    def referrer(self, contact_id: str) -> str | None:
        """There are no links."""
        return None

    def foreign(self, contact_id: str) -> Mapping[str, object]:
        ours = {one.key for one in manifest().fields}
        row = self._org.contacts[contact_id]
        others = {key: value for key, value in row.custom.items() if key not in ours}
        return {**row.values, **others, "assigned_to": frozenset(row.assigned)}

    def tasks(self) -> list[Seen]:
        with self.lock:
            return [self._seen(row) for row in self._org.tasks.values()]

    def schema(self) -> Mapping[str, object]:
        times = ("created_at", "updated_at")
        with self.lock:
            return {
                one["key"]: {key: value for key, value in one.items() if key not in times}
                for one in self._org.fields.of("Contact")
                if one["is_active"]  # deleting does no more than that, and nobody sees them then
            }

    def subscriptions(self) -> list[str]:
        return sorted(endpoint.url for endpoint in self._endpoints)

    def drop_subscriptions(self) -> None:
        """A webhook is turned off when it answers 410, or its maker leaves."""
        self._endpoints.clear()

    # ----------------------------------------------------------------------- webhooks

    def subscribe_by_hand(self, target: str) -> str:
        with self.lock:
            secret = "whsec_" + self._dice.randbytes(32).hex()
            self._endpoints.append(Endpoint(url=target, secret=secret, events=self.events))
        return secret

    def _tell(self, event: str, data: Body) -> None:
        envelope = {
            "id": self._org.new_id(),
            "event": event,
            "created_at": self.clock().astimezone(UTC).isoformat(),
            "org_id": self.account_crm_id,
            "data": data,
        }
        body = json.dumps(envelope, separators=(",", ":")).encode()
        for endpoint in self._endpoints:
            if event in endpoint.events:
                headers = {
                    "Content-Type": "application/json",
                    "User-Agent": "BottleCRM-Webhooks",
                    "X-BottleCRM-Event": event,
                    "X-BottleCRM-Delivery": self._org.new_id(),
                    "X-BottleCRM-Signature": sign(endpoint.secret, int(self.signed_at()), body),
                }
                self.deliveries.append(Outgoing(url=endpoint.url, headers=headers, body=body))

    # ------------------------------------------------------------------------ the wire

    def mint(self, *scopes: str) -> str:
        """A personal access token of the admin; without scopes it may do everything."""
        token = "bcrm_pat_" + self._dice.randbytes(32).hex()
        self._tokens[token] = scopes
        return token

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Any,
               headers: Mapping[str, str]) -> Answer:  # fmt: skip
        return self._api.answer(method, path, query, body, headers)

    # ------------------------------------------------------------------------ inside

    def _by_rep(self, do: Callable[..., str], told: Body, *rows: Row) -> str:
        with self.lock:
            return do(Request(query={}, body=told, by=self._org.rep), *rows)

    def _typed(self, told: Mapping[str, str]) -> Body:
        """What a rep types, as the CRM's own pages send it."""
        body: Body = {RENAMED[word]: value for word, value in told.items() if word in RENAMED}
        if "owner" in told:
            body["assigned_to"] = [told["owner"]] if told["owner"] else []
        ours = {key: value for key, value in told.items() if key not in (*RENAMED, "owner")}
        if unknown := [key for key in ours if not self._has(key)]:
            raise KeyError(f"no such fields: {unknown}")
        return {**body, "custom_fields": ours} if ours else body

    def _has(self, key: str) -> bool:
        return any(one["key"] == key for one in self._org.fields.active("Contact"))

    def _close(self, deal_id: str, stage: str) -> None:
        row = self._org.deals[deal_id]
        today = self.clock().astimezone(ZONE).date().isoformat()
        told = {"stage": stage, "closed_on": row.values["closed_on"] or today}
        self._by_rep(self._org.update_deal, told, row)

    def _seen(self, row: Row) -> Seen:
        assignees = self._org.assignees(row)
        return Seen(
            crm_id=row.id,
            subject=row.values["title"],
            body=row.values["description"] or "",
            contact_ids=tuple(sorted(row.contacts)),
            owner_id=assignees[0].id if assignees else None,
            due_on=row.values["due_date"] or "",
            done=row.values["status"] == "Completed",
        )


def sign(secret: str, at: int, body: bytes) -> str:
    """The signature header: ``secret`` is taken as text, with its ``whsec_``."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={signed.hexdigest()}"
