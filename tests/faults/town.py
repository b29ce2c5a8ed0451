"""The people of a plan at the CRM's screens, and what can be seen there."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from plugin.manifest import manifest
from plugin.sandbox.portal import CONTACTS, DEALS, STAFF, TASKS, Portal
from plugin.sandbox.records import Record, Sandbox
from plugin.sandbox.refusals import Refused
from plugin.sandbox.webhooks import Outbox, sign
from plugin.storage.tasks import key_in
from plugin.texts.tasks import WITHDRAWALS
from tests.faults.plan import Deed, name_of

WORDS = "die hören einem wirklich zu"
FORGED = "999000111222"
"""The contact that forged deliveries speak of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One of our tasks in the CRM. ``state``: open, done by a person, or withdrawn by us."""

    key: str
    kind: str
    contacts: tuple[str, ...]
    state: str

    @property
    def about(self) -> tuple[str, tuple[str, ...]]:
        """What it is, whatever its key: that one names contacts as they were before a merge."""
        return self.kind, self.contacts


class Town:
    """Carries out deeds; keeps who is who."""

    def __init__(self, crm: Sandbox) -> None:
        self.crm = crm
        self.contacts: dict[int, str] = {}
        self.deals: dict[int, str] = {}
        self.discarded: set[str] = set()
        """Keys of tasks that a person deleted."""

    def do(self, deed: Deed) -> None:
        with self.crm.lock:
            try:
                self._do(deed)
            except Refused as refused:  # the script is right about who is there, so this is a bug
                raise AssertionError(f"the CRM does not take {deed}: {refused}") from refused

    def _do(self, deed: Deed) -> None:
        crm, who, me = self.crm, deed.who, self.crm.person()
        match deed.what:
            case "meet":
                first, last, email = name_of(who[0])
                owner = STAFF[who[0] % len(STAFF)].id
                values = {"firstname": first, "lastname": last, "email": email,
                          "hubspot_owner_id": owner}  # fmt: skip
                self.contacts[who[0]] = crm.create(CONTACTS, values, me).id
            case "rate":
                self._change(who[0], spiral_rating=deed.value)
            case "name":
                email = name_of(who[1])[2]
                self._change(who[0], spiral_referrer_name=email, spiral_origin="recommendation")
            case "unname":
                self._change(who[0], spiral_referrer_name="")
            case "words":
                self._change(who[0], spiral_recommended_words=WORDS)
            case "do not ask":
                self._change(who[0], spiral_do_not_ask=deed.value)
            case "sell":
                links = [(CONTACTS, self.contacts[who[1]], ())]
                values = {"dealname": f"Küche {who[0]}", "amount": str(1000 * who[0])}
                self.deals[who[0]] = crm.create(DEALS, values, me, links=links).id
            case "move":
                deal = crm.get(DEALS, self.deals[who[0]])
                crm.update(deal, {"dealstage": deed.value}, me)
            case "drop deal":
                crm.archive(crm.get(DEALS, self.deals.pop(who[0])), me)
            case "merge":
                kept, gone = (crm.get(CONTACTS, self.contacts[one]) for one in who)
                del self.contacts[who[1]]
                self.contacts[who[0]] = crm.merge(kept, gone, me).id
            case "delete":
                crm.archive(crm.get(CONTACTS, self.contacts.pop(who[0])), me)
            case "complete" | "discard":
                self._end_task(deed)

    def _change(self, person: int, **values: str) -> None:
        crm = self.crm
        crm.update(crm.get(CONTACTS, self.contacts[person]), values, crm.person())

    def _end_task(self, deed: Deed) -> None:
        """One of the open tasks, if there are any by now."""
        crm = self.crm
        there = [one for one in crm.all(TASKS) if one.value("hs_task_status") != "COMPLETED"]
        if not there:
            return
        task = there[deed.who[0] % len(there)]
        if deed.what == "complete":
            crm.update(task, {"hs_task_status": "COMPLETED"}, crm.person())
            return
        self.discarded.add(key_in(task.value("hs_task_body") or "") or "")
        crm.archive(task, crm.person())


# ----------------------------------------------------------------------------- what is seen


def tasks_in(crm: Sandbox, *, deleted: bool = False) -> list[Seen]:
    """All tasks that are there, or all that were deleted."""
    with crm.lock:
        return [_seen(crm, one) for one in crm.all(TASKS, archived=deleted)]


def _seen(crm: Sandbox, record: Record) -> Seen:
    body = record.value("hs_task_body") or ""
    kind, key = body.rsplit("[spiral:", 1)[1].split("]")[0].split(":")
    state = "open"
    if record.value("hs_task_status") == "COMPLETED":
        state = "withdrawn" if any(note in body for note in _notes()) else "done"
    contacts = sorted(end.id for end, _ in crm.linked(record, CONTACTS))
    return Seen(key=key, kind=kind, contacts=tuple(contacts), state=state)


def _notes() -> Iterable[str]:
    for text in WITHDRAWALS.values():
        yield from (text.de, text.en)


def fields_in(crm: Sandbox) -> dict[str, dict[str, str]]:
    """Contact → all the plugin fills in, and its referrer by label."""
    found = {}
    with crm.lock:
        for record in crm.all(CONTACTS):
            values = {key: record.value(key) or "" for key in manifest().keys_out}
            labelled = [
                end.id
                for end, kinds in crm.linked(record, CONTACTS)
                if any(kind.label == "Empfehlungsgeber" for kind in kinds)
            ]
            found[record.id] = {**values, "(label)": " ".join(sorted(labelled))}
    return found


def twin_of(crm: Sandbox) -> Sandbox:
    """The same people, deals and histories in a CRM that the plugin has never written to."""
    twin = Sandbox(crm.portal, outbox=Outbox(crm.portal))
    ours = set(manifest().keys_out)
    with crm.lock:
        twin.owners = dict(crm.owners)
        for of in (CONTACTS, DEALS):
            records = deepcopy(crm._records[of.plural])
            for record in records.values():
                record.values = {k: v for k, v in record.values.items() if k not in ours}
                record.history = {k: v for k, v in record.history.items() if k not in ours}
            twin._records[of.plural] = records
            twin._order[of.plural] = list(crm._order[of.plural])
            twin._next_id[of.plural] = crm._next_id[of.plural]
        twin._by_email = dict(crm._by_email)
        for deal in crm._records[DEALS.plural].values():
            for contact_id, _ in crm.associations.of(deal.ref, CONTACTS.plural):
                twin.associations.add(deal.ref, (CONTACTS.plural, contact_id), ())
    return twin


def forgery(portal: Portal, url: str, number: int) -> tuple[bytes, dict[str, Any]]:
    """A delivery nobody should believe: signed with another secret, or long ago."""
    event = {
        "eventId": number, "subscriptionId": 1, "portalId": portal.portal_id,
        "appId": portal.app_id, "occurredAt": int(time.time() * 1000), "objectId": int(FORGED),
        "subscriptionType": "contact.creation", "attemptNumber": 0,
    }  # fmt: skip
    body = json.dumps([event]).encode()
    stale = number % 2
    at = str(int(time.time() * 1000) - (3 * 3_600_000 if stale else 0))
    secret = portal.secret if stale else "not-the-secret"
    return body, {
        "X-HubSpot-Request-Timestamp": at,
        "X-HubSpot-Signature-v3": sign(secret, "POST", url, body, at),
    }


def counted(items: Iterable[Any]) -> dict[Any, int]:
    counts: dict[Any, int] = defaultdict(int)
    for one in items:
        counts[one] += 1
    return dict(counts)
