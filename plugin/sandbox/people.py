"""The people of the story, and what they and its reader ask of a CRM."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from typing import Protocol
from zoneinfo import ZoneInfo

from plugin.manifest import manifest
from plugin.referral.model import TaskKind
from plugin.sandbox import story
from plugin.sandbox.story import CAST, Person

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


class Crm(Protocol):
    """A CRM as the people of the story use it, and as its reader sees it.

    Fields are those of ``manifest.json``, in the manifest's own form, whatever form the CRM has
    for them; "" where empty. ``by`` is who does it, a key of ``REPS``.
    """

    url: str
    clock_url: str
    """Where its time can be asked, see ``worker.StoryClock``."""

    # -- the reader

    def contacts(self) -> dict[str, dict[str, str]]:
        """``FIELDS`` of all contacts, by contact."""

    def tasks(self) -> list[CrmTask]:
        """The plugin's tasks, open or not, the oldest first."""

    def rep_shown(self, rep: str) -> str:
        """How ``spiral_referrer`` shows somebody who works here."""

    def pages(self, contact_id: str, language: str) -> Mapping[str, str]:
        """What there is to see, and where; one of it is this contact."""

    # -- people

    def meet(self, who: Person, fields: Mapping[str, str]) -> str:
        """Make the contact; returns its id."""

    def edit(self, contact_id: str, fields: Mapping[str, str], *, by: str) -> None: ...

    def delete(self, contact_id: str, *, by: str) -> None: ...

    def merge(self, keep_id: str, drop_id: str, *, by: str) -> str:
        """Returns the id of what comes of the two."""

    def offer(self, offer: story.Offer, contact_id: str) -> str:
        """Open the deal, joined to the contact unless that comes later; returns its id."""

    def attach(self, deal_id: str, contact_id: str, *, by: str) -> None: ...

    def close(self, deal_id: str, day: date, *, won: bool, by: str) -> None: ...

    def complete(self, task: CrmTask) -> None:
        """Its owner does it."""

    # -- what happens to webhooks

    def is_delivering(self) -> bool:
        """Something is still on its way that is not held up."""

    def send_twice(self) -> None: ...

    def hold_up(self) -> None:
        """What the next edit brings forth."""

    def let_go(self) -> None: ...

    def swallow(self) -> None:
        """What the next edit brings forth."""

    def travel(self, to: datetime | None) -> None:
        """In time; None goes back to the present."""


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
        self._deals: dict[str, tuple[str, str]] = {}

    def key_of(self, contact_id: str) -> str:
        """Who this contact is; the id where the story knows nobody of that id."""
        return next((key for key, one in self.ids.items() if one == contact_id), contact_id)

    def act(self, action: story.Action, day: int) -> None:
        match action:
            case story.Meet(who=who):
                self.ids[who] = self.crm.meet(CAST[who], action.fields)
            case story.Note(who=who, fields=fields):
                self._edit(who, fields)
            case story.Rate(who=who, value=value):
                self._edit(who, {"spiral_rating": value})
            case story.RateAgain(who=who):
                self._edit(who, {"spiral_rated_on": self.calendar.on(day).isoformat()})
            case story.Offer(deal=deal, to=to):
                self._deals[deal] = (self.crm.offer(action, self.ids[to]), to)
            case story.Attach(deal=deal):
                deal_id, to = self._deals[deal]
                self.crm.attach(deal_id, self.ids[to], by=CAST[to].rep)
            case story.Win(deal=deal):
                self._close(deal, day, won=True)
            case story.Lose(deal=deal):
                self._close(deal, day, won=False)
            case story.Done(kind=kind, on=on):
                self._complete({kind}, frozenset({self.ids[on]}))
            case story.WorkOff():
                self._complete(story.ROUTINE)
            case story.Merge(keep=keep, drop=drop):
                kept, dropped = self.ids[keep], self.ids.pop(drop)
                self.ids[keep] = self.crm.merge(kept, dropped, by=CAST[keep].rep)
            case story.Leave(who=who):
                self.crm.delete(self.ids.pop(who), by=CAST[who].rep)
            case story.SendTwice():
                self.crm.send_twice()
            case story.HoldUp():
                self.crm.hold_up()
            case story.LetGo():
                self.crm.let_go()
            case story.Swallow():
                self.crm.swallow()

    def _edit(self, who: str, fields: Mapping[str, str]) -> None:
        self.crm.edit(self.ids[who], fields, by=CAST[who].rep)

    def _close(self, deal: str, day: int, *, won: bool) -> None:
        deal_id, to = self._deals[deal]
        self.crm.close(deal_id, self.calendar.on(day), won=won, by=CAST[to].rep)

    def _complete(
        self, kinds: Collection[TaskKind], contacts: frozenset[str] | None = None
    ) -> None:
        for task in self.crm.tasks():
            if task.end == "open" and task.kind in kinds and contacts in (None, task.contacts):
                self.crm.complete(task)


def stage_label(stage: str, language: str) -> str:
    return manifest().field("spiral_stage").option_label(stage, language) if stage else "–"


def task_label(task: CrmTask, language: str) -> str:
    return manifest().task_labels[task.kind][language]
