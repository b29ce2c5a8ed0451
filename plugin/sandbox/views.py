"""Records as a sales rep reads them: names, labels, days and money in one language."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime
from babel.numbers import format_currency, format_decimal

from plugin.manifest import Direction, Field, FieldType, manifest
from plugin.referral.model import LADDER
from plugin.sandbox.portal import CONTACTS, DEALS, PIPELINES, TASKS, stage
from plugin.sandbox.properties import instant, iso
from plugin.sandbox.records import CALCULATED, Record, Sandbox, Version
from plugin.sandbox.words import WORDS

DETAILS = (
    "firstname",
    "lastname",
    "company",
    "jobtitle",
    "email",
    "phone",
    "mobilephone",
    "zip",
    "city",
    "hubspot_owner_id",
)
"""HubSpot's own properties a rep edits here."""

AT_THE_TOP = (
    "spiral_stage",
    "spiral_stage_since",
    "spiral_readiness",
    "spiral_explanation",
    "spiral_referrer",
)
"""Shown beside the name, so not among the figures again."""

HISTORY = 14
LINKED = re.compile(r"(?P<name>.*) \((?P<id>[0-9]+)\)")
"""How a referrer is written where it is text: name and record id."""
MARKER = re.compile(r"\s*(\[spiral:[^\]]*\])\s*$")
BREAKS = frozenset({"br", "p", "div", "li"})


# --------------------------------------------------------------------------- what is shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Chip:
    """A value with the colour it is known by."""

    value: str
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A name, leading to a contact where ``id`` is known. ``note``: what it is to this one."""

    name: str
    id: str | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskView:
    id: str
    subject: str
    body: str
    marker: str
    due: str
    group: str
    """``overdue``, ``due_today`` or ``later``."""
    owner: str
    high: bool
    done_on: str
    contacts: tuple[Link, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DealView:
    id: str
    name: str
    amount: str
    stage: str
    state: str
    """``open``, ``won`` or ``lost``."""
    closes: str
    stages: tuple[tuple[str, str], ...]
    """(key, label) of the stages of its pipeline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A field in a form. ``kind``: line, text, date, choice or several."""

    name: str
    label: str
    value: str
    kind: str
    hint: str = ""
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Happening:
    """A line of the history."""

    at: str
    label: str
    value: str
    by: str
    by_plugin: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A contact in the list."""

    id: str
    name: str
    initials: str
    company: str
    stage: Chip | None
    readiness: Chip | None
    referrer: Link | None
    open_tasks: int
    owner: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """All of one contact."""

    row: Row
    subtitle: str
    since: str
    explanation: str
    installed: bool
    ladder: tuple[tuple[Chip, bool], ...]
    """Stage, and whether it is the present one."""
    figures: tuple[tuple[str, str], ...]
    """(label, value) of the other fields the plugin writes."""
    connections: tuple[Link, ...]
    tasks: tuple[TaskView, ...]
    past_tasks: tuple[TaskView, ...]
    deals: tuple[DealView, ...]
    details: tuple[Input, ...]
    known: tuple[Input, ...]
    """The fields people fill for the plugin, and the stage, which they may set and lock."""
    history: tuple[Happening, ...]


# --------------------------------------------------------------------------- how it is made


@dataclass(frozen=True, slots=True)
class View:
    """Turns records into what is shown, in one language."""

    sandbox: Sandbox
    language: str
    zone: ZoneInfo = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "zone", ZoneInfo(self.sandbox.portal.time_zone))

    def word(self, key: str) -> str:
        return WORDS[key][self.language]

    def day(self, raw: str | None) -> str:
        """A date, or an instant as the day it is in the account's zone."""
        if not raw:
            return ""
        at = instant(raw)
        local = at if len(raw) == len("2026-11-21") else at.astimezone(self.zone)
        return format_date(local, "medium", self.language)

    def moment(self, at: datetime) -> str:
        return format_datetime(at.astimezone(self.zone), "short", locale=self.language)

    def money(self, raw: str | None, currency: str | None) -> str:
        if not raw:
            return ""
        code = currency or self.sandbox.portal.currency
        return format_currency(Decimal(raw), code, locale=self.language)

    def name(self, contact: Record) -> str:
        parts = (contact.values.get("firstname", ""), contact.values.get("lastname", ""))
        return " ".join(filter(None, parts)) or contact.values.get("email", contact.id)

    def owner(self, record: Record) -> str:
        owner = self.sandbox.owners.get(record.values.get("hubspot_owner_id", ""))
        return owner.name if owner else ""

    def stage(self, contact: Record) -> str:
        """The stage the contact is at, "" where none or the account has no such field."""
        known = self.sandbox.properties.find(CONTACTS.plural, "spiral_stage")
        return contact.values.get("spiral_stage", "") if known else ""

    def chip(self, contact: Record, key: str) -> Chip | None:
        value = contact.values.get(key)
        if not value or not self.sandbox.properties.find(CONTACTS.plural, key):
            return None
        return Chip(value=value, label=self.shown(manifest().field(key), value))

    def label(self, of: Field) -> str:
        """A field's label without the plugin's name before it."""
        label = of.label[self.language].removeprefix(f"{manifest().title[self.language]}: ")
        return label[0].upper() + label[1:]

    def shown(self, of: Field, value: str) -> str:
        """A field's value as people read it."""
        if of.options:
            labels = {option.value: option.label[self.language] for option in of.options}
            return ", ".join(labels.get(one, one) for one in value.split(";"))
        if of.type is FieldType.BOOL:
            return self.word("yes" if value == "true" else "no")
        if of.type is FieldType.DATE:
            return self.day(value)
        if of.type is FieldType.MONEY:
            return self.money(value, None)
        if of.type is FieldType.NUMBER:
            return format_decimal(Decimal(value), locale=self.language)
        return value

    def referrer(self, contact: Record) -> Link | None:
        raw = contact.values.get("spiral_referrer", "")
        found = LINKED.fullmatch(raw)
        if found:
            known = self.sandbox.find(CONTACTS, found["id"])
            return Link(name=found["name"], id=known.id if known else None)
        return Link(name=raw) if raw else None

    def open_tasks(self, contact: Record) -> list[Record]:
        tasks = [task for task, _ in self.sandbox.linked(contact, TASKS)]
        return sorted((task for task in tasks if not is_done(task)), key=due)

    def row(self, contact: Record) -> Row:
        name = self.name(contact)
        return Row(
            id=contact.id,
            name=name,
            initials="".join(re.findall(r"\b\w", name)[:2]).upper(),
            company=contact.values.get("company", ""),
            stage=self.chip(contact, "spiral_stage"),
            readiness=self.chip(contact, "spiral_readiness"),
            referrer=self.referrer(contact),
            open_tasks=len(self.open_tasks(contact)),
            owner=self.owner(contact),
        )

    def task(self, task: Record) -> TaskView:
        body = plain_text(task.values.get("hs_task_body", ""))
        marker = MARKER.search(body)
        return TaskView(
            id=task.id,
            subject=task.values.get("hs_task_subject", ""),
            body=MARKER.sub("", body),
            marker=marker[1] if marker else "",
            due=self.day(task.values.get("hs_timestamp")),
            group=self._group(task),
            owner=self.owner(task) or self.word("unassigned"),
            high=task.values.get("hs_task_priority") == "HIGH",
            done_on=self.day(task.values.get("hs_task_completion_date")),
            contacts=tuple(
                Link(name=self.name(contact), id=contact.id)
                for contact, _ in self.sandbox.linked(task, CONTACTS)
            ),
        )

    def _group(self, task: Record) -> str:
        day = instant(due(task)).astimezone(self.zone).date()
        today = self.sandbox.clock.now().astimezone(self.zone).date()
        return "overdue" if day < today else "due_today" if day == today else "later"

    def deal(self, deal: Record) -> DealView:
        now = stage(deal.values["dealstage"])
        pipeline = next(p for p in PIPELINES if p.key == deal.values["pipeline"])
        return DealView(
            id=deal.id,
            name=deal.values.get("dealname", deal.id),
            amount=self.money(deal.values.get("amount"), deal.values.get("deal_currency_code")),
            stage=now.key,
            state="won" if now.won else "lost" if now.closed else "open",
            closes=self.day(deal.values.get("closedate")),
            stages=tuple((one.key, one.label[self.language]) for one in pipeline.stages),
        )

    def card(self, contact: Record) -> Card:
        row = self.row(contact)
        tasks = [task for task, _ in self.sandbox.linked(contact, TASKS)]
        past = sorted(filter(is_done, tasks), key=due, reverse=True)
        deals = [deal for deal, _ in self.sandbox.linked(contact, DEALS)]
        values = contact.values
        subtitle = (values.get("jobtitle"), values.get("company"), values.get("city"))
        return Card(
            row=row,
            subtitle=" · ".join(filter(None, subtitle)),
            since=self.day(values.get("spiral_stage_since")),
            explanation=values.get("spiral_explanation", ""),
            installed=bool(self._fields()),
            ladder=self._ladder(row.stage),
            figures=tuple(self._figures(contact)),
            connections=tuple(self._connections(contact)),
            tasks=tuple(self.task(task) for task in self.open_tasks(contact)),
            past_tasks=tuple(self.task(task) for task in past),
            deals=tuple(self.deal(deal) for deal in reversed(deals)),
            details=tuple(self._detail(contact, name) for name in DETAILS),
            known=tuple(self._input(contact, one) for one in self._editable()),
            history=tuple(self._history(contact)),
        )

    def _fields(self) -> list[Field]:
        """The plugin's fields that this account has."""
        return [
            one
            for one in manifest().fields
            if self.sandbox.properties.find(CONTACTS.plural, one.key)
        ]

    def _editable(self) -> Iterable[Field]:
        """The fields people fill; the stage, which they may set by hand, beside its lock."""
        fields = {one.key: one for one in self._fields()}
        for key, one in fields.items():
            if one.direction is Direction.IN:
                yield one
            if key == "spiral_stage_locked" and "spiral_stage" in fields:
                yield fields["spiral_stage"]

    def _ladder(self, present: Chip | None) -> tuple[tuple[Chip, bool], ...]:
        labels = manifest().field("spiral_stage")
        return tuple(
            (
                Chip(value=step.value, label=labels.option_label(step.value, self.language)),
                bool(present and present.value == step.value),
            )
            for step in LADDER
        )

    def _figures(self, contact: Record) -> Iterable[tuple[str, str]]:
        for one in self._fields():
            value = contact.values.get(one.key)
            if one.direction is Direction.OUT and one.key not in AT_THE_TOP and value:
                yield self.label(one), self.shown(one, value)

    def _connections(self, contact: Record) -> Iterable[Link]:
        for other, kinds in self.sandbox.linked(contact, CONTACTS):
            labels = ", ".join(kind.label for kind in kinds if kind.label)
            yield Link(name=self.name(other), id=other.id, note=labels)

    def _detail(self, contact: Record, name: str) -> Input:
        value, label = contact.values.get(name, ""), self.word(name)
        if name != "hubspot_owner_id":
            return Input(name=name, label=label, value=value, kind="line")
        staff = tuple(
            (owner.id, owner.name)
            for owner in self.sandbox.owners.values()
            if not owner.archived or owner.id == value
        )
        return Input(name=name, label=label, value=value, kind="choice", options=staff)

    def _input(self, contact: Record, one: Field) -> Input:
        options = tuple((option.value, option.label[self.language]) for option in one.options)
        if one.type is FieldType.BOOL:
            options = (("true", self.word("yes")), ("false", self.word("no")))
        kinds = {
            FieldType.ENUM: "choice",
            FieldType.BOOL: "choice",
            FieldType.MULTI_ENUM: "several",
            FieldType.TEXT: "text",
            FieldType.DATE: "date",
        }
        return Input(
            name=one.key,
            label=self.label(one),
            value=contact.values.get(one.key, ""),
            kind=kinds.get(one.type, "line"),
            hint=one.description[self.language],
            options=options,
        )

    def _history(self, contact: Record) -> list[Happening]:
        labels = {one.key: one for one in self._fields() if one.key != "spiral_explanation"}
        versions = [
            (version.at, name, version)
            for name in (*labels, *DETAILS)
            for version in contact.history.get(name, ())
            if version.source != CALCULATED
        ]
        versions.sort(key=lambda entry: entry[:2], reverse=True)
        return [
            self._happening(name, labels.get(name), version)
            for _, name, version in versions[:HISTORY]
        ]

    def _happening(self, name: str, one: Field | None, version: Version) -> Happening:
        users = {owner.user_id: owner for owner in self.sandbox.owners.values()}
        user = users.get(version.source.user_id or 0)
        value = self.shown(one, version.value) if one and version.value else version.value
        if name == "hubspot_owner_id" and version.value in self.sandbox.owners:
            value = self.sandbox.owners[version.value].name
        return Happening(
            at=self.moment(version.at),
            label=self.label(one) if one else self.word(name),
            value=value or self.word("emptied"),
            by=user.name if user else self.word("plugin"),
            by_plugin=user is None,
        )


def is_done(task: Record) -> bool:
    """Whether somebody has completed it."""
    return task.values.get("hs_task_status") == "COMPLETED"


def due(task: Record) -> str:
    """When it is due, as ISO text: orders tasks."""
    return task.values.get("hs_timestamp") or iso(task.created_at)


def plain_text(html: str) -> str:
    """The text of a task's body, which is HTML at HubSpot."""
    if "<" not in html and "&" not in html:
        return html
    reader = _TextOf()
    reader.feed(html)
    reader.close()
    return "".join(reader.parts).strip()


class _TextOf(HTMLParser):
    """Collects the words, and a line break where HTML breaks a line."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        if tag in BREAKS and self.parts:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)
