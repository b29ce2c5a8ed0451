"""One BottleCRM organisation in memory: its rules for contacts, deals and tasks."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal

from tests.payloads.bottlecrm.checking import (
    BLANK,
    EMAIL,
    NULL,
    PHONE,
    amount_of,
    bad_day,
    contact_values,
    ids_in,
    lacking,
    probability_in,
    refuse_if,
    same,
    too_long,
    trimmed,
)
from tests.payloads.bottlecrm.fields import Fields
from tests.payloads.bottlecrm.listing import newest_first
from tests.payloads.bottlecrm.records import (
    CONTACT_TEXTS,
    CURRENCIES,
    CURRENCY,
    KINDS,
    LABELS,
    PRIORITIES,
    STAGES,
    STATUSES,
    Body,
    Profile,
    Refused,
    Request,
    Row,
    api_time,
    event_time,
)

FEED_TYPES = {"contact": "Contact", "deal": "Opportunity", "task": "Task"}
FEED_ACTIONS = {"created": "CREATE", "updated": "UPDATE", "deleted": "DELETE"}


class Organisation:
    """``told`` is called with every event and its data."""

    def __init__(self, clock: Callable[[], datetime], told: Callable[[str, Body], None]) -> None:
        self.clock = clock
        self._told = told
        self._dice = random.Random(20)
        self._count = self._members = 0
        self.id = self.new_id()
        self.pipeline = self.new_id()
        self.stage_ids = {code: self.new_id() for code in KINDS}
        self.admin = self._member("Petra Amsel", "petra.amsel", "ADMIN")
        self.rep = self._member("Lena Brandt", "lena.brandt", "USER")
        self.other_rep = self._member("Jonas Keller", "jonas.keller", "USER")
        former = self._member("Rolf Former", "rolf.former", "USER", active=False)
        members = (self.admin, self.rep, self.other_rep, former)
        self.profiles = {one.id: one for one in members}
        self.contacts: dict[str, Row] = {}
        self.deals: dict[str, Row] = {}
        self.tasks: dict[str, Row] = {}
        self.feed: list[Body] = []
        rows = {"Contact": self.contacts, "Opportunity": self.deals, "Task": self.tasks}
        self.fields = Fields(lambda: self.clock(), self.new_id, rows)

    # ------------------------------------------------------------------------- contacts

    def create_contact(self, request: Request) -> str:
        told = request.body
        problems = lacking(told, ("first_name", "last_name"))
        refuse_if(problems | self._contact_problems(told, None))
        custom = self.fields.checked("Contact", told.get("custom_fields"), {})
        assigned = self._chosen_profiles(told)
        empty: Body = {name: default for name, (_, default) in CONTACT_TEXTS.items()}
        values = {**empty, "do_not_call": False, **contact_values(told)}
        row = self._new_row(request.by, values, custom=custom, assigned=assigned)
        self.contacts[row.id] = row
        self._happened("contact.created", row, request.by)
        return row.id

    def update_contact(self, request: Request, row: Row) -> str:
        """Told as updated even where nothing changes."""
        told = request.body
        refuse_if(self._contact_problems(told, row))
        if "custom_fields" in told:
            custom = self.fields.checked("Contact", told["custom_fields"], row.custom)
        else:
            custom = row.custom
        assigned = self._chosen_profiles(told)
        row.custom = custom
        row.values |= contact_values(told)
        if "assigned_to" in told:
            row.assigned = assigned
        row.updated_at = self.clock()
        self._happened("contact.updated", row, request.by)
        return row.id

    def delete_contact(self, request: Request, row: Row) -> str:
        """For good. The deals and tasks it stood on lose it without a word."""
        self._happened("contact.deleted", row, request.by)
        del self.contacts[row.id]
        for other in (*self.deals.values(), *self.tasks.values()):
            other.contacts.discard(row.id)
        return row.id

    def merge_contacts(self, kept: Row, lost: Row, by: Profile) -> None:
        """The one that goes is told as deleted, the one that stays as updated; no event says
        what became of what."""
        for row in (*self.deals.values(), *self.tasks.values()):
            if lost.id in row.contacts:
                row.contacts = row.contacts - {lost.id} | {kept.id}
        self._happened("contact.deleted", lost, by)
        del self.contacts[lost.id]
        kept.values |= {k: v for k, v in lost.values.items() if not kept.values.get(k)}
        kept.custom = {**lost.custom, **kept.custom}
        kept.assigned = kept.assigned or lost.assigned
        kept.updated_at = self.clock()
        self._happened("contact.updated", kept, by)

    def _contact_problems(self, told: Body, row: Row | None) -> Body:
        limits = {name: longest for name, (longest, _) in CONTACT_TEXTS.items()}
        problems = too_long(told, limits)
        for name in ("first_name", "last_name"):
            if name in told and name not in problems and not trimmed(told[name]):
                problems[name] = [NULL if told[name] is None else BLANK]
        email, phone = trimmed(told.get("email")), trimmed(told.get("phone"))
        if email and not EMAIL.fullmatch(email):
            problems.setdefault("email", ["Enter a valid email address."])
        if email and any(same(one.values["email"], email) for one in self.contacts.values()
                         if one is not row):  # fmt: skip
            problems.setdefault("email", ["Contact already exists with this email"])
        if phone and not PHONE.fullmatch(phone):
            message = "Enter a valid phone number (7-25 characters, digits and separators only)"
            problems.setdefault("phone", [message])
        return problems

    def contact_row(self, contact_id: str) -> Row:
        if contact_id not in self.contacts:
            raise Refused(404, {"detail": "No Contact matches the given query."})
        return self.contacts[contact_id]

    def contact_shape(self, row: Row) -> Body:
        digits = re.sub(r"[^\d+]", "", row.values["phone"] or "")
        return {
            "id": row.id, **row.values,
            "phone_e164": digits if digits.startswith("+") else "",
            "assigned_to": [self.profile_shape(one) for one in self.assignees(row)],
            "teams": [], "tags": [], "created_by": row.created_by.user_id,
            "created_at": api_time(row.created_at), "updated_at": api_time(row.updated_at),
            "is_active": True, "org": self.reference(), "account": None, "account_detail": None,
            "linked_accounts": [], "custom_fields": dict(row.custom),
        }  # fmt: skip

    # ---------------------------------------------------------------------------- deals

    def create_deal(self, request: Request) -> str:
        told = request.body
        refuse_if(lacking(told, ("name",)))
        values = {
            "name": "", "stage": STAGES[0][0], "currency": None, "amount": None, "probability": 0,
            "closed_on": None, "description": None, "lead_source": None, "source_detail": "",
            "source_ref": "", "opportunity_type": None, "closed_by": None,
            "stage_changed_at": self.clock(),
        }  # fmt: skip
        row = self._new_row(request.by, values)
        self._write_deal(request, row)
        self.deals[row.id] = row
        self._happened("deal.created", row, request.by)
        self._close(request, row, "open")
        return row.id

    def update_deal(self, request: Request, row: Row) -> str:
        """Told as updated; a move into a won or lost stage is told as such, too."""
        before = row.values["stage"]
        self._write_deal(request, row)
        row.updated_at = self.clock()
        self._happened("deal.updated", row, request.by)
        self._close(request, row, KINDS[before])
        return row.id

    def _close(self, request: Request, row: Row, before: str) -> None:
        """A deal whose stage is set to a closed one is saved a second time, for who closed it;
        a new kind of stage is told."""
        kind = KINDS[row.values["stage"]]
        if kind == "open":
            return
        if "stage" in request.body:
            row.values["closed_by"] = request.by
            self._note("deal", "updated", row, request.by)
        if kind != before:
            self._told(f"deal.{kind}", self._event_data("deal", row))

    def _write_deal(self, request: Request, row: Row) -> None:
        told = request.body
        values = {**row.values, **self._deal_values(told, row)}
        kind = KINDS[values["stage"]]
        problems: Body = {}
        if kind != "open" and not values["closed_on"]:
            problems["closed_on"] = ["A deal cannot be closed without the date it closed on."]
        if kind == "won" and not Decimal(values["amount"] or 0):
            problems["amount"] = ["A won deal has to record what it was worth."]
        refuse_if(problems)
        custom = row.custom
        if "custom_fields" in told or row.id not in self.deals:
            custom = self.fields.checked("Opportunity", told.get("custom_fields"), custom)
        contacts, assigned = self._chosen_contacts(told), self._chosen_profiles(told)
        if values["stage"] != row.values["stage"]:
            values["stage_changed_at"] = self.clock()
        values["probability"] = values["probability"] or probability_in(values["stage"])
        row.custom, row.values = custom, values
        row.contacts = contacts if "contacts" in told else row.contacts
        row.assigned = assigned if "assigned_to" in told else row.assigned

    def _deal_values(self, told: Body, row: Row) -> Body:
        problems = too_long(told, {"name": 255, "stage": 64, "description": 1_000_000})
        name = trimmed(told.get("name"))
        if "name" in told and not name:
            problems.setdefault("name", [NULL if name is None else BLANK])
        if name and any(same(one.values["name"], name) for one in self.deals.values()
                        if one is not row):  # fmt: skip
            problems.setdefault("name", ["Opportunity already exists with this name"])
        if told.get("currency") and told["currency"] not in CURRENCIES:
            problems["currency"] = [f'"{told["currency"]}" is not a valid choice.']
        problems |= bad_day(told, "closed_on")
        plain = ("currency", "closed_on", "description", "probability")
        values: Body = {key: told[key] for key in plain if key in told}
        if name:
            values["name"] = name
        if "amount" in told:
            try:
                values["amount"] = amount_of(told["amount"])
            except ValueError as error:
                problems["amount"] = [str(error)]
        refuse_if(problems)
        if "pipeline" in told and told["pipeline"] != self.pipeline:
            message = f'Invalid pk "{told["pipeline"]}" - object does not exist.'
            refuse_if({"pipeline": [message]})
        if "stage" in told:
            if told["stage"] not in KINDS:
                refuse_if({"stage": ["That is not a stage of this deal's pipeline."]})
            values["stage"] = told["stage"]
        return values

    def delete_deal(self, request: Request, row: Row) -> str:
        self._happened("deal.deleted", row, request.by)
        del self.deals[row.id]
        for task in self.tasks.values():
            if task.values["opportunity"] == row.id:
                task.values["opportunity"] = None
        return row.id

    def deal_row(self, deal_id: str) -> Row:
        if deal_id not in self.deals:
            raise Refused(404, {"error": True, "errors": "Opportunity not found."})
        return self.deals[deal_id]

    def deal_shape(self, row: Row) -> Body:
        """Without the time of its last change: the CRM does not tell it."""
        values, closed_by = row.values, row.values["closed_by"]
        plain = (
            "name", "stage", "opportunity_type", "currency", "amount", "probability", "closed_on",
            "lead_source", "source_detail", "source_ref", "description",
        )  # fmt: skip
        since = values["stage_changed_at"]
        return {
            "id": row.id, **{name: values[name] for name in plain}, "account": None,
            "pipeline": self.pipeline, "stage_label": LABELS[values["stage"]],
            "stage_kind": KINDS[values["stage"]], "amount_source": "MANUAL",
            "contacts": [self.person(one, "email") for one in self.people(row)],
            "line_items": [], "line_items_total": 0,
            "assigned_to": [self.profile_shape(one) for one in self.assignees(row)], "teams": [],
            "closed_by": self.profile_shape(closed_by) if closed_by else None, "tags": [],
            "created_by": user_shape(row.created_by), "created_at": api_time(row.created_at),
            "is_active": True, "org": self.reference(), "created_on_arrow": "0\xa0minutes ago",
            "stage_changed_at": api_time(since), "days_in_stage": (self.clock() - since).days,
            "aging_status": "green", "custom_fields": dict(row.custom),
        }  # fmt: skip

    def deal_line(self, row: Row) -> Body:
        """A deal below its contact; the amount is a number there."""
        values = row.values
        return {
            "id": row.id, "name": values["name"], "stage": values["stage"],
            "stage_label": LABELS[values["stage"]], "stage_kind": KINDS[values["stage"]],
            "amount": float(values["amount"]) if values["amount"] is not None else None,
            "currency": values["currency"] or CURRENCY, "closed_on": values["closed_on"],
        }  # fmt: skip

    # ---------------------------------------------------------------------------- tasks

    def create_task(self, request: Request) -> str:
        refuse_if(lacking(request.body, ("title", "status", "priority")))
        row = self._new_row(
            request.by, {"due_date": None, "description": None, "opportunity": None}
        )
        self._write_task(request, row)
        self.tasks[row.id] = row
        self._happened("task.created", row, request.by)
        return row.id

    def update_task(self, request: Request, row: Row) -> str:
        self._write_task(request, row)
        row.updated_at = self.clock()
        self._happened("task.updated", row, request.by)
        return row.id

    def _write_task(self, request: Request, row: Row) -> None:
        told = request.body
        problems = too_long(told, {"title": 200, "description": 1_000_000})
        if "title" in told and not trimmed(told["title"]):
            problems.setdefault("title", [BLANK])
        for name, choices in (("status", STATUSES), ("priority", PRIORITIES)):
            if name in told and told[name] not in choices:
                problems[name] = [f'"{told[name]}" is not a valid choice.']
        problems |= bad_day(told, "due_date")
        deal_id = told.get("opportunity")
        if deal_id and deal_id not in self.deals:
            problems["opportunity"] = [f'Invalid pk "{deal_id}" - object does not exist.']
        refuse_if(problems)
        custom = row.custom
        if "custom_fields" in told or row.id not in self.tasks:
            custom = self.fields.checked("Task", told.get("custom_fields"), custom)
        contacts, assigned = self._chosen_contacts(told), self._chosen_profiles(told)
        names = ("title", "status", "priority", "due_date", "description", "opportunity")
        row.custom = custom
        row.values |= {name: trimmed(told[name]) for name in names if name in told}
        row.contacts = contacts if "contacts" in told else row.contacts
        row.assigned = assigned if "assigned_to" in told else row.assigned

    def delete_task(self, request: Request, row: Row) -> str:
        self._happened("task.deleted", row, request.by)
        del self.tasks[row.id]
        return row.id

    def task_row(self, task_id: str) -> Row:
        if task_id not in self.tasks:
            raise Refused(404, {"detail": "No such task."})
        return self.tasks[task_id]

    def task_shape(self, row: Row) -> Body:
        deal = self.deals.get(row.values["opportunity"] or "")
        plain = ("title", "status", "priority", "due_date", "description")
        return {
            "id": row.id, **{name: row.values[name] for name in plain}, "account": None,
            "opportunity": {"id": deal.id, "name": deal.values["name"]} if deal else None,
            "case": None, "lead": None, "project": None, "created_by": user_shape(row.created_by),
            "created_at": api_time(row.created_at),
            "contacts": [self.person(one, "email") for one in self.people(row)], "teams": [],
            "assigned_to": [self.profile_shape(one) for one in self.assignees(row)], "tags": [],
            "custom_fields": dict(row.custom),
        }  # fmt: skip

    # --------------------------------------------------------------------- what happened

    def _happened(self, event: str, row: Row, by: Profile) -> None:
        """Noted in the feed and told to webhooks."""
        module, _, action = event.partition(".")
        self._note(module, action, row, by)
        self._told(event, self._event_data(module, row))

    def _note(self, module: str, action: str, row: Row, by: Profile) -> None:
        values = row.values
        name = (
            values.get("name")
            or values.get("title")
            or " ".join(values[part] for part in ("first_name", "last_name"))
        )
        self.feed.append({
            "id": self.new_id(),
            "user": {
                "id": by.user_id, "email": by.email, "name": by.email.split("@")[0],
                "profile_pic": None,
            },
            "action": FEED_ACTIONS[action], "action_display": action.title(),
            "entity_type": FEED_TYPES[module], "entity_id": row.id, "entity_name": name,
            "description": "", "timestamp": api_time(self.clock()),
            "humanized_time": "0\xa0minutes ago",
        })  # fmt: skip

    def _event_data(self, module: str, row: Row) -> Body:
        """What a webhook tells of a record: no custom fields, no contacts."""
        names = {
            "contact": (
                "first_name", "last_name", "email", "phone", "organization", "title", "account_id",
            ),
            "deal": (
                "name", "pipeline_id", "stage", "amount", "currency", "probability", "closed_on",
                "account_id",
            ),
            "task": (
                "title", "status", "priority", "due_date", "account_id", "opportunity_id",
                "ticket_id", "lead_id",
            ),
        }[module]  # fmt: skip
        told = {**row.values, "pipeline_id": self.pipeline,
                "opportunity_id": row.values.get("opportunity")}  # fmt: skip
        return {
            "id": row.id,
            **{name: told.get(name) for name in names},
            "assigned_to": [one.id for one in self.assignees(row)],
            "created_at": event_time(row.created_at),
            "updated_at": event_time(row.updated_at),
        }

    # ---------------------------------------------------------------------------- people

    def assignees(self, row: Row) -> list[Profile]:
        """The newest member first: who was assigned first is not kept."""
        found = [one for one in self.profiles.values() if one.id in row.assigned]
        return sorted(found, key=lambda one: one.created_at, reverse=True)

    def people(self, row: Row) -> list[Row]:
        """The newest contact first: which was entered first is not kept."""
        return newest_first(self.contacts[one] for one in row.contacts)

    def person(self, row: Row, *more: str) -> Body:
        names = ("first_name", "last_name", *more)
        return {"id": row.id, **{name: row.values[name] for name in names}}

    def reference(self) -> Body:
        return {"id": self.id, "name": "Küchen Amsel GmbH"}

    def profile_shape(self, one: Profile) -> Body:
        return {
            "id": one.id,
            "user_details": {
                "email": one.email, "id": one.user_id, "name": one.name, "is_active": True,
                "profile_pic": None, "last_login": None,
            },
            "role": one.role, "address": None, "has_marketing_access": False,
            "has_sales_access": False, "phone": None, "date_of_joining": None,
            "is_active": one.active, "created_at": api_time(one.created_at),
        }  # fmt: skip

    def _member(self, name: str, email: str, role: str, *, active: bool = True) -> Profile:
        self._members += 1
        return Profile(
            id=self.new_id(), user_id=self.new_id(), name=name, email=f"{email}@firma.example.com",
            role=role, active=active,
            created_at=datetime(2026, 1, 5, 9, self._members, tzinfo=UTC),
        )  # fmt: skip

    def _chosen_profiles(self, told: Body) -> set[str]:
        """Ids of nobody, or of somebody who left, are dropped in silence."""
        chosen = ids_in(told, "assigned_to")
        return {one for one in chosen if one in self.profiles and self.profiles[one].active}

    def _chosen_contacts(self, told: Body) -> set[str]:
        """Ids of no contact are dropped in silence."""
        return ids_in(told, "contacts") & self.contacts.keys()

    # ---------------------------------------------------------------------------- inside

    def new_id(self) -> str:
        return str(uuid.UUID(int=self._dice.getrandbits(128), version=4))

    def _new_row(self, by: Profile, values: Body, *, custom: Body | None = None,
                 assigned: Iterable[str] = ()) -> Row:  # fmt: skip
        self._count += 1
        now = self.clock()
        return Row(
            id=self.new_id(), number=self._count, created_at=now, updated_at=now, created_by=by,
            values=dict(values), custom=custom or {}, assigned=set(assigned),
        )  # fmt: skip


def user_shape(one: Profile) -> Body:
    return {"id": one.user_id, "email": one.email, "name": one.name, "profile_pic": None}
