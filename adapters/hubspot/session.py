"""One HubSpot account, connected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from adapters.hubspot import tasks
from adapters.hubspot.api import CONTACTS, TASKS, Api, Link
from adapters.hubspot.install import Installer
from adapters.hubspot.reading import LABEL_TYPE, Reader
from plugin.manifest import manifest
from plugin.ports import (
    AccountFacts,
    AccountLink,
    ContactCard,
    CreatedTasks,
    CrmTask,
    Failure,
    FieldUpdate,
    LinkUpdate,
    Loaded,
    Page,
    PlanStep,
    TaskDraft,
    TaskUpdate,
    User,
)


class HubSpotSession:
    """``plugin.ports.Session`` for HubSpot."""

    def __init__(self, api: Api, link: AccountLink) -> None:
        self._api = api
        self._link = link
        self._reader = Reader(api, link)
        self._installer = Installer(api, link)

    @property
    def calls(self) -> int:
        return self._api.client.calls

    @calls.setter
    def calls(self, value: int) -> None:
        self._api.client.calls = value

    # -- reading

    def account(self) -> AccountFacts:
        return self._reader.account()

    def users(self) -> tuple[User, ...]:
        return self._reader.users()

    def list_contacts(self, cursor: str | None) -> Page[ContactCard]:
        return self._reader.list_contacts(cursor)

    def contacts_changed_since(self, since: datetime, cursor: str | None) -> Page[ContactCard]:
        return self._reader.contacts_changed_since(since, cursor)

    def deals_changed_since(self, since: datetime, cursor: str | None) -> Page[str]:
        return self._reader.deals_changed_since(since, cursor)

    def existing(self, contact_ids: Sequence[str]) -> frozenset[str]:
        return self._reader.existing(contact_ids)

    def load(self, contact_ids: Sequence[str], *, history: bool) -> Loaded:
        return self._reader.load(contact_ids, history=history)

    def deal_contacts(self, deal_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        return self._reader.deal_contacts(deal_ids)

    # -- writing

    def write_fields(self, updates: Sequence[FieldUpdate]) -> tuple[Failure, ...]:
        """Fields this account does not have are left out. Raises ``ValueError`` for a field that
        is not the plugin's."""
        known = {field.key for field in manifest().fields}
        properties: dict[str, dict[str, str]] = {}
        for update in updates:
            if foreign := sorted(update.values.keys() - known):
                raise ValueError(f"not fields of ours: {foreign}")
            for key, value in update.values.items():
                if self._link.fields is None or key in self._link.fields:
                    properties.setdefault(update.contact_id, {})[key] = value
        return self._api.update(CONTACTS, properties)

    def link_referrers(self, updates: Sequence[LinkUpdate]) -> tuple[Failure, ...]:
        """Does nothing where the account has no label: the referrer is then kept as text only."""
        fact = self._link.facts.get(LABEL_TYPE)
        if not fact:
            return ()
        type_id = int(fact)
        old = [
            Link(source=update.contact_id, target=referrer_id, type_id=type_id)
            for update in updates
            for referrer_id in update.remove
        ]
        new = [
            Link(source=update.contact_id, target=update.referrer_id, type_id=type_id)
            for update in updates
            if update.referrer_id
        ]
        failures = self._api.unlabel(CONTACTS, CONTACTS, old) if old else ()
        return failures + (self._api.label(CONTACTS, CONTACTS, new) if new else ())

    # -- tasks

    def create_tasks(self, drafts: Sequence[TaskDraft]) -> CreatedTasks:
        return tasks.create(self._api, drafts)

    def update_tasks(self, updates: Sequence[TaskUpdate]) -> tuple[Failure, ...]:
        return tasks.update(self._api, updates)

    def delete_tasks(self, task_ids: Sequence[str]) -> None:
        self._api.archive(TASKS, task_ids)

    def read_tasks(self, task_ids: Sequence[str]) -> Mapping[str, CrmTask]:
        return tasks.read(self._api, task_ids)

    def find_tasks(self, contact_ids: Sequence[str]) -> tuple[CrmTask, ...]:
        return tasks.find(self._api, contact_ids)

    # -- installing

    def plan_install(self) -> tuple[PlanStep, ...]:
        return self._installer.plan()

    def install(self, steps: Iterable[PlanStep]) -> Mapping[str, str]:
        return self._installer.install(steps)

    def plan_uninstall(self, *, delete_data: bool) -> tuple[PlanStep, ...]:
        return self._installer.plan_removal(delete_data=delete_data)

    def uninstall(self, steps: Iterable[PlanStep]) -> None:
        self._installer.uninstall(steps)

    def installed_fields(self) -> frozenset[str]:
        return self._installer.installed_fields()
