"""BottleCRM as the people of the story use it: its REST API, each of them signed in.

Facts are read from the package itself (``contacts``, ``opportunity``, ``tasks``, ``webhooks``):
https://pypi.org/project/django-crm/1.35.0/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import requests

from plugin.sandbox import story
from plugin.sandbox.people import FIELDS, MARKER, CrmTask
from plugin.sandbox.processes import TIMEOUT, Trouble, http_session
from plugin.sandbox.story import CAST, Person

ALL = {"limit": "1000"}
NOWHERE = "http://127.0.0.1:9/"  # where nobody listens
ADMIN = "admin"
CURRENCY = "EUR"


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """Somebody who works here. ``id`` is of the profile, which owns records."""

    id: str
    name: str
    access: str = field(repr=False)


class BottleCrm:
    """A ``people.Crm``. ``members``: by rep of the story, and ``ADMIN``.

    BottleCRM does not tell who completed a task: what these people completed is remembered
    here, and any other task that is completed was withdrawn by the plugin.
    """

    def __init__(self, url: str, members: Mapping[str, Member], webhook_id: str) -> None:
        self.url = url
        self.clock_url = f"{url}/story/clock"
        self._members = members
        self._webhook = f"/api/webhooks/{webhook_id}/"
        self._session = http_session()
        self._day = datetime.max.replace(tzinfo=UTC)
        self._seen: dict[str, CrmTask] = {}
        self._completed: set[str] = set()
        self._held: set[str] = set()
        self._mend: Callable[[], None] = _nothing

    def call(
        self, method: str, path: str, body: object = None, *, by: str = ADMIN, **params: str
    ) -> Any:
        """The JSON of an answer. Raises ``Trouble`` where BottleCRM refuses."""
        return call(
            self._session, method, f"{self.url}{path}", body, self._members[by].access, **params
        )

    # ---------------------------------------------------------------------- the reader

    def contacts(self) -> dict[str, dict[str, str]]:
        found = self.call("GET", "/api/contacts/", **ALL)["results"]
        return {
            one["id"]: {name: _plain(one["custom_fields"].get(name)) for name in FIELDS}
            for one in found
        }

    def tasks(self) -> list[CrmTask]:
        """The list tells no description and no contacts: those are read once for each task, and
        again where tasks have moved to other contacts."""
        for one in self.call("GET", "/api/tasks/", slim="true", **ALL)["tasks"]:
            if one["id"] not in self._seen:
                task = self.call("GET", f"/api/tasks/{one['id']}/")["task_obj"]
                self._seen[one["id"]] = _task(task)
            ended = "done" if one["id"] in self._completed else "withdrawn"
            end = ended if one["status"] == "Completed" else "open"
            self._seen[one["id"]] = replace(self._seen[one["id"]], end=end)
        return sorted(self._seen.values(), key=lambda task: task.made_at)

    def rep_shown(self, rep: str) -> str:
        member = self._members[rep]
        return f"{member.name} ({member.id})"

    def pages(self, contact_id: str, language: str) -> Mapping[str, str]:
        """The package has no screens for sales reps, only its API: what to type for it."""
        del language
        token = self.call("POST", "/api/profile/tokens/", {"name": "Reader of the demo"})["token"]
        ask = f"curl -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json'"
        change = """-X PATCH -d '{"custom_fields": {"spiral_rating": "angry"}}'"""
        one = f"{self.url}/api/contacts/{contact_id}/"
        return {
            "All contacts": f"{ask} {self.url}/api/contacts/",
            "One of them": f"{ask} {one}",
            "Make him angry": f"{ask} {change} {one}",
            "All tasks": f"{ask} {self.url}/api/tasks/",
        }

    # -------------------------------------------------------------------------- people

    def meet(self, who: Person, fields: Mapping[str, str]) -> str:
        values = {
            "first_name": who.first,
            "last_name": who.last,
            "email": who.email,
            "organization": who.company,
            "city": who.city,
            "assigned_to": [self._members[who.rep].id],
            "custom_fields": dict(fields),
        }
        made: str = self.call("POST", "/api/contacts/", values, by=who.rep)["id"]
        return made

    def edit(self, contact_id: str, fields: Mapping[str, str], *, by: str) -> None:
        values = {"custom_fields": dict(fields)}
        self.call("PATCH", f"/api/contacts/{contact_id}/", values, by=by)
        self._mend()

    def delete(self, contact_id: str, *, by: str) -> None:
        self.call("DELETE", f"/api/contacts/{contact_id}/", by=by)
        self._seen.clear()

    def merge(self, keep_id: str, drop_id: str, *, by: str) -> str:
        self.call("POST", f"/api/contacts/{keep_id}/merge/", {"merge_id": drop_id}, by=by)
        self._seen.clear()
        return keep_id

    def offer(self, offer: story.Offer, contact_id: str) -> str:
        """No two deals of an organisation may have one name: the customer's goes with it."""
        to = CAST[offer.to]
        values = {
            "name": f"{offer.name} {to.company or to.name}",
            "stage": "PROPOSAL",
            "amount": str(offer.amount),
            "currency": CURRENCY,
            "contacts": [contact_id] if offer.attached else [],
            "assigned_to": [self._members[to.rep].id],
        }
        made: str = self.call("POST", "/api/opportunities/", values, by=to.rep)["id"]
        return made

    def attach(self, deal_id: str, contact_id: str, *, by: str) -> None:
        self.call("PATCH", f"/api/opportunities/{deal_id}/", {"contacts": [contact_id]}, by=by)

    def close(self, deal_id: str, day: date, *, won: bool, by: str) -> None:
        stage = "CLOSED_WON" if won else "CLOSED_LOST"
        values = {"stage": stage, "closed_on": day.isoformat()}
        self.call("PATCH", f"/api/opportunities/{deal_id}/", values, by=by)

    def complete(self, task: CrmTask) -> None:
        owner = next((rep for rep, one in self._members.items() if one.id == task.owner_id), ADMIN)
        self.call("PATCH", f"/api/tasks/{task.id}/", {"status": "Completed"}, by=owner)
        self._completed.add(task.id)

    # ---------------------------------------------------------------- webhooks, and time

    def deliveries(self, *, newest: int = 100) -> list[dict[str, Any]]:
        """The log of the plugin's webhook, the newest first."""
        log = self.call("GET", f"{self._webhook}deliveries/", limit=str(newest))
        found: list[dict[str, Any]] = log["results"]
        return found

    def is_delivering(self) -> bool:
        """Webhooks are sent before the call that brings them forth is answered: what is pending
        later has failed, and waits to be sent again."""
        return any(
            one["status"] == "pending" and one["id"] not in self._held
            for one in self.deliveries(newest=20)
        )

    def send_twice(self) -> None:
        """All that was delivered on this day: an admin has it sent again from the log."""
        for one in reversed(self.deliveries()):
            if datetime.fromisoformat(one["created_at"]) >= self._day:
                self.call("POST", f"/api/webhooks/deliveries/{one['id']}/redeliver/")

    def hold_up(self) -> None:
        """The plugin cannot be reached when it comes: BottleCRM keeps it and tries again."""
        target = self.call("GET", self._webhook)["url"]
        self.call("PATCH", self._webhook, {"url": NOWHERE})

        def mend() -> None:
            self._held = {one["id"] for one in self.deliveries() if one["status"] == "pending"}
            self.call("PATCH", self._webhook, {"url": target})
            self._mend = _nothing

        self._mend = mend

    def let_go(self) -> None:
        self._held.clear()
        self.retry()

    def retry(self) -> None:
        """What BottleCRM does by itself every minute: send what failed and is due again."""
        call(self._session, "POST", f"{self.url}/story/retry", {})

    def swallow(self) -> None:
        """The webhook is switched off when it comes: it is not even kept."""
        self.call("PATCH", self._webhook, {"is_active": False})

        def mend() -> None:
            self.call("PATCH", self._webhook, {"is_active": True})
            self._mend = _nothing

        self._mend = mend

    def rotate_secret(self) -> str:
        """From now on webhooks are signed with another one, which is returned."""
        secret: str = self.call("POST", f"{self._webhook}rotate-secret/")["secret"]
        return secret

    def travel(self, to: datetime | None) -> None:
        told = {"now": to.isoformat() if to else None}
        now = call(self._session, "POST", self.clock_url, told)["now"]
        self._day = datetime.fromisoformat(now)
        if to is None:
            self._seen.clear()


def call(
    session: requests.Session,
    method: str,
    url: str,
    body: object = None,
    access: str = "",
    **params: str,
) -> Any:
    """The JSON of an answer, {} where there is none. Raises ``Trouble`` where it is refused."""
    headers = {"Authorization": f"Bearer {access}"} if access else {}
    try:
        answer = session.request(
            method, url, json=body, headers=headers, params=params, timeout=3 * TIMEOUT
        )
    except requests.RequestException as error:
        raise Trouble(f"BottleCRM does not answer: {error}") from error
    if not answer.ok:
        raise Trouble(f"BottleCRM refused {method} {url}: {answer.status_code} {answer.text[:500]}")
    return answer.json() if answer.content else {}


def _nothing() -> None:
    pass


def _plain(value: object) -> str:
    """In the manifest's own form: BottleCRM keeps every number with a fraction."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return str(value or "")


def _task(task: Mapping[str, Any]) -> CrmTask:
    kind, key = MARKER.findall(task["description"])[-1]
    owners = [one["id"] for one in task["assigned_to"]]
    return CrmTask(
        id=task["id"],
        kind=kind,
        key=key,
        subject=task["title"],
        contacts=frozenset(one["id"] for one in task["contacts"]),
        owner_id=owners[0] if owners else "",
        made_at=datetime.fromisoformat(task["created_at"]),
        end="open",
    )
