"""The people of the story, and the CRM as they and the reader see it: over HTTP alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any
from zoneinfo import ZoneInfo

import requests

from plugin.manifest import manifest
from plugin.referral.model import TaskKind
from plugin.sandbox import story
from plugin.sandbox.api import VERSION
from plugin.sandbox.processes import TIMEOUT, Trouble, http_session
from plugin.sandbox.story import CAST, REPS

MORNING = time_of_day(9)
FIELDS = (
    "spiral_stage",
    "spiral_stage_since",
    "spiral_readiness",
    "spiral_explanation",
    "spiral_referrer",
    "spiral_advocate_tier",
    "spiral_referrals_given",
    "spiral_referrals_won",
    "spiral_referral_value",
)
MARKER = re.compile(r"\[spiral:([a-z_]+):([a-z0-9]+)\]")


# -------------------------------------------------------------------------------- the CRM


@dataclass(frozen=True, kw_only=True, slots=True)
class CrmTask:
    """One of the plugin's tasks as the CRM tells it. ``contacts`` are ids; ``end`` as in
    ``story.Written``."""

    id: str
    kind: str
    key: str
    subject: str
    contacts: frozenset[str]
    owner_id: str
    made_at: datetime
    end: str


class Crm:
    """The sandbox CRM over HTTP: its API, and what people do at its screens."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._session = http_session()
        self._session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: object = None, **params: str) -> Any:
        """The JSON of an answer. Raises ``Trouble`` where the sandbox refuses."""
        try:
            answer = self._session.request(
                method, f"{self.url}{path}", json=body, params=params, timeout=TIMEOUT
            )
        except requests.RequestException as error:
            raise Trouble(f"The sandbox CRM does not answer: {error}") from error
        if not answer.ok:
            raise Trouble(f"The sandbox CRM refused {method} {path}: {answer.text}")
        return answer.json()

    def do(self, method: str, path: str, **body: object) -> Any:
        """What a person does at the screen."""
        return self.call(method, f"/sandbox/ui/{path}", body)

    def steer(self, path: str, **body: object) -> Any:
        """See ``control.py``."""
        return self.call("POST", f"/sandbox/{path}", body)

    def webhooks(self) -> Mapping[str, int]:
        """Counts of events, on their way and delivered."""
        counts: Mapping[str, int] = self.call("GET", "/sandbox/webhooks/idle")
        return counts

    def contacts(self) -> dict[str, dict[str, str]]:
        """``FIELDS`` of all contacts, by contact; "" where empty."""
        return {
            record["id"]: {name: record["properties"].get(name) or "" for name in FIELDS}
            for record in self._all("contacts", properties=",".join(FIELDS))
        }

    def tasks(self) -> list[CrmTask]:
        """The plugin's tasks, open or not, the oldest first."""
        records = self._all(
            "tasks",
            properties="hs_task_subject,hs_task_body,hs_createdate,hubspot_owner_id",
            propertiesWithHistory="hs_task_status",
            associations="contacts",
        )
        return [_task(record) for record in records]

    def _all(self, kind: str, **params: str) -> Iterator[dict[str, Any]]:
        following: dict[str, str] = {"limit": "100"}
        while following:
            page = self.call("GET", f"/crm/objects/{VERSION}/{kind}", **params, **following)
            yield from page["results"]
            after = page.get("paging", {}).get("next", {}).get("after")
            following = {"limit": "100", "after": after} if after else {}


def _task(record: Mapping[str, Any]) -> CrmTask:
    properties = record["properties"]
    kind, key = MARKER.findall(properties["hs_task_body"])[-1]
    last = record["propertiesWithHistory"]["hs_task_status"][0]
    ended = "done" if last["sourceType"] == "CRM_UI" else "withdrawn"
    joined = record.get("associations", {}).get("contacts", {}).get("results", ())
    return CrmTask(
        id=record["id"],
        kind=kind,
        key=key,
        subject=properties["hs_task_subject"],
        contacts=frozenset(one["id"] for one in joined),
        owner_id=properties["hubspot_owner_id"] or "",
        made_at=datetime.fromisoformat(properties["hs_createdate"]),
        end=ended if last["value"] == "COMPLETED" else "open",
    )


# -------------------------------------------------------------------------- the people


@dataclass(frozen=True, slots=True)
class Calendar:
    """Days of the story as real ones."""

    start: date
    zone: ZoneInfo

    def on(self, day: int) -> date:
        return self.start + timedelta(days=day)

    def morning(self, day: int) -> datetime:
        return datetime.combine(self.on(day), MORNING, self.zone)

    def day_of(self, at: datetime) -> int:
        return (at.astimezone(self.zone).date() - self.start).days


class People:
    """Does in the CRM what the people of the story do. ``ids``: who is which contact now."""

    def __init__(self, crm: Crm, calendar: Calendar) -> None:
        self.crm = crm
        self.calendar = calendar
        self.ids: dict[str, str] = {}
        self._deals: dict[str, tuple[str, story.Offer]] = {}

    def key_of(self, contact_id: str) -> str:
        """Who this contact is; the id where the story knows nobody of that id."""
        return next((key for key, one in self.ids.items() if one == contact_id), contact_id)

    def act(self, action: story.Action, day: int) -> None:
        match action:
            case story.Meet(who=who):
                self._meet(who, action.fields)
            case story.Note(who=who, fields=fields):
                self._edit(who, fields)
            case story.Rate(who=who, value=value):
                self._edit(who, {"spiral_rating": value})
            case story.RateAgain(who=who):
                self._edit(who, {"spiral_rated_on": self.calendar.on(day).isoformat()})
            case story.Offer():
                self._offer(action)
            case story.Attach(deal=deal):
                deal_id, offer = self._deals[deal]
                self.crm.do("POST", f"deals/{deal_id}/contacts", contacts=[self.ids[offer.to]])
            case story.Win(deal=deal):
                self._close(deal, "closedwon")
            case story.Lose(deal=deal):
                self._close(deal, "closedlost")
            case story.Done(kind=kind, on=on):
                self._complete({kind}, frozenset({self.ids[on]}))
            case story.WorkOff():
                self._complete(story.ROUTINE)
            case story.Merge(keep=keep, drop=drop):
                self._merge(keep, drop)
            case story.Leave(who=who):
                self.crm.do("DELETE", f"contacts/{self.ids.pop(who)}")
            case story.SendTwice():
                self.crm.steer("webhooks/duplicate-last")
            case story.HoldUp():
                self.crm.steer("webhooks/late")
            case story.LetGo():
                self.crm.steer("webhooks/release")
            case story.Swallow():
                self.crm.steer("webhooks/lose")

    def _meet(self, who: str, fields: Mapping[str, str]) -> None:
        person = CAST[who]
        values = {
            "firstname": person.first,
            "lastname": person.last,
            "email": person.email,
            "company": person.company,
            "city": person.city,
            "hubspot_owner_id": rep_name(who),
            **fields,
        }
        self.ids[who] = self.crm.do("POST", "contacts", properties=values, by=rep_name(who))["id"]

    def _edit(self, who: str, fields: Mapping[str, str]) -> None:
        self.crm.do("PATCH", f"contacts/{self.ids[who]}", properties=dict(fields), by=rep_name(who))

    def _offer(self, offer: story.Offer) -> None:
        rep = rep_name(offer.to)
        made = self.crm.do(
            "POST",
            "deals",
            properties={
                "dealname": offer.name,
                "amount": str(offer.amount),
                "hubspot_owner_id": rep,
            },
            contacts=[self.ids[offer.to]],
            attach_later=not offer.attached,
            by=rep,
        )
        self._deals[offer.deal] = (made["id"], offer)

    def _close(self, deal: str, stage: str) -> None:
        deal_id, offer = self._deals[deal]
        self.crm.do(
            "PATCH", f"deals/{deal_id}", properties={"dealstage": stage}, by=rep_name(offer.to)
        )

    def _complete(
        self, kinds: Collection[TaskKind], contacts: frozenset[str] | None = None
    ) -> None:
        for task in self.crm.tasks():
            if task.end == "open" and task.kind in kinds and contacts in (None, task.contacts):
                self.crm.do("POST", f"tasks/{task.id}/complete", by=task.owner_id)

    def _merge(self, keep: str, drop: str) -> None:
        other = self.ids.pop(drop)
        merged = self.crm.do("POST", f"contacts/{self.ids[keep]}/merge", other=other)
        self.ids[keep] = merged["id"]


def rep_name(who: str) -> str:
    """The id of the rep who owns this contact."""
    return REPS[CAST[who].rep]


def stage_label(stage: str, language: str) -> str:
    return manifest().field("spiral_stage").option_label(stage, language) if stage else "–"


def task_label(task: CrmTask, language: str) -> str:
    return manifest().task_labels[task.kind][language]
