"""A CRM without HTTP and without delay, so that only the plugin's own work is measured."""

# ruff: noqa: ARG002 (it has the ports' methods, whether or not it needs what they are told)

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from bench.people import OWNERS, TODAY, Somebody, people
from plugin.manifest import manifest
from plugin.ports import (
    AccountFacts,
    AccountLink,
    ContactCard,
    ContactSnapshot,
    CreatedTasks,
    CrmTask,
    DealSnapshot,
    Declaration,
    Failure,
    FieldUpdate,
    LinkUpdate,
    Loaded,
    Page,
    Parsed,
    PlanStep,
    TaskDraft,
    TaskUpdate,
    User,
)
from plugin.referral.model import FieldChange

RATED = timedelta(days=60)
PAGE = 100


class QuietSession:
    """``plugin.ports.Session`` in memory."""

    def __init__(self, count: int) -> None:
        self.calls = 0
        self.written = 0
        self.contacts = {str(one.number): _snapshot(one) for one in people(count)}
        self._tasks: dict[str, CrmTask] = {}

    def delight(self) -> None:
        """Every contact is delighted from now on, as a rating of today says."""
        for key, one in self.contacts.items():
            change = FieldChange(field="spiral_rating", value="delighted", at=TODAY)
            self.contacts[key] = replace(
                one,
                values={**one.values, "spiral_rating": "delighted"},
                changes=(*one.changes, change),
            )

    # -- what the plugin asks

    def account(self) -> AccountFacts:
        raise NotImplementedError

    def users(self) -> tuple[User, ...]:
        self.calls += 1
        return tuple(User(crm_id=one, name="", email="") for one in OWNERS)

    def list_contacts(self, cursor: str | None) -> Page[ContactCard]:
        self.calls += 1
        start = int(cursor or 0)
        cards = [one.card for one in list(self.contacts.values())[start : start + PAGE]]
        more = start + PAGE < len(self.contacts)
        return Page(items=tuple(cards), cursor=str(start + PAGE) if more else None)

    def contacts_changed_since(self, since: datetime, cursor: str | None) -> Page[ContactCard]:
        return Page(items=(), cursor=None)

    def deals_changed_since(self, since: datetime, cursor: str | None) -> Page[str]:
        return Page(items=(), cursor=None)

    def existing(self, contact_ids: Sequence[str]) -> frozenset[str]:
        return frozenset(contact_ids)

    def load(self, contact_ids: Sequence[str], *, history: bool) -> Loaded:
        self.calls += 1
        found = (self.contacts[one] for one in contact_ids)
        return Loaded(contacts=tuple(one if history else replace(one, changes=()) for one in found))

    def deal_contacts(self, deal_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        return {}

    def write_fields(self, updates: Sequence[FieldUpdate]) -> tuple[Failure, ...]:
        self.calls += 1
        self.written += len(updates)
        for one in updates:
            before = self.contacts[one.contact_id]
            self.contacts[one.contact_id] = replace(before, values={**before.values, **one.values})
        return ()

    def link_referrers(self, updates: Sequence[LinkUpdate]) -> tuple[Failure, ...]:
        self.calls += 1
        for one in updates:
            before = self.contacts[one.contact_id]
            now = (one.referrer_id,) if one.referrer_id else ()
            self.contacts[one.contact_id] = replace(before, referrer_ids=now)
        return ()

    def create_tasks(self, drafts: Sequence[TaskDraft]) -> CreatedTasks:
        self.calls += 1
        ids = {draft.key: f"t{len(self._tasks) + n}" for n, draft in enumerate(drafts)}
        for one in drafts:
            crm_id = ids[one.key]
            self._tasks[crm_id] = CrmTask(
                crm_id=crm_id, subject=one.subject, body=one.body, done=False
            )
        return CreatedTasks(crm_ids=ids)

    def update_tasks(self, updates: Sequence[TaskUpdate]) -> tuple[Failure, ...]:
        self.calls += 1
        for one in updates:
            before = self._tasks[one.crm_id]
            self._tasks[one.crm_id] = replace(before, done=bool(one.done))
        return ()

    def delete_tasks(self, task_ids: Sequence[str]) -> None:
        raise NotImplementedError

    def read_tasks(self, task_ids: Sequence[str]) -> Mapping[str, CrmTask]:
        self.calls += 1
        return {one: self._tasks[one] for one in task_ids}

    def find_tasks(self, contact_ids: Sequence[str]) -> tuple[CrmTask, ...]:
        return ()

    def plan_install(self) -> tuple[PlanStep, ...]:
        raise NotImplementedError

    def install(self, steps: Iterable[PlanStep]) -> Mapping[str, str]:
        raise NotImplementedError

    def plan_uninstall(self, *, delete_data: bool) -> tuple[PlanStep, ...]:
        raise NotImplementedError

    def uninstall(self, steps: Iterable[PlanStep]) -> None:
        raise NotImplementedError

    def installed_fields(self) -> frozenset[str]:
        raise NotImplementedError


class QuietAdapter:
    """An adapter whose every account is this one session."""

    def __init__(self, declaration: Declaration, session: QuietSession) -> None:
        self.declaration = declaration
        self.session = session

    def connect(self, link: AccountLink) -> QuietSession:
        return self.session

    def parse(self, body: bytes) -> Parsed:
        raise NotImplementedError


def _snapshot(one: Somebody) -> ContactSnapshot:
    crm_id = str(one.number)
    values = dict.fromkeys((field.key for field in manifest().fields), "")
    values |= {"spiral_rating": one.rating, "spiral_referrer_name": one.referrer}
    told = [("spiral_rating", one.rating, RATED), ("spiral_referrer_name", one.referrer, 0 * RATED)]
    return ContactSnapshot(
        card=ContactCard(
            crm_id=crm_id,
            first_name=one.first_name,
            last_name=one.last_name,
            email=one.email,
            company=one.company,
            city=one.city,
            owner_id=one.owner_id,
            created_at=one.since,
        ),
        values=values,
        deals=(_deal(one),) if one.bought else (),
        changes=tuple(
            FieldChange(field=field, value=value, at=one.since + after)
            for field, value, after in told
            if value
        ),
    )


def _deal(one: Somebody) -> DealSnapshot:
    won_at = one.since + timedelta(days=30)
    return DealSnapshot(
        crm_id=f"d{one.number}",
        name=f"Auftrag {one.number}",
        created_at=one.since,
        won=True,
        lost=False,
        closed_at=won_at,
        won_at=won_at,
        pipeline="default",
        amount=Decimal(1000 + one.number % 900),
        currency="EUR",
        home_amount=Decimal(1000 + one.number % 900),
        owner_id=one.owner_id,
        contact_ids=(str(one.number),),
    )
