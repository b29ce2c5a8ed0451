"""One HubSpot account, connected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.hubspot import tasks
from adapters.hubspot.api import CONTACTS, TASKS, Api, Link
from adapters.hubspot.install import Installer
from adapters.hubspot.reading import LABEL_TYPE, Reader
from adapters.session import BaseSession
from plugin.ports import (
    AccountLink,
    CreatedTasks,
    CrmTask,
    Failure,
    FieldUpdate,
    LinkUpdate,
    Loaded,
    TaskDraft,
    TaskUpdate,
)


class HubSpotSession(BaseSession[Reader]):
    """``plugin.ports.Session`` for HubSpot."""

    crm = "hubspot"

    def __init__(self, api: Api, link: AccountLink) -> None:
        super().__init__(
            link=link,
            calling=api.client,
            reader=Reader(api, link),
            installer=Installer(api, link),
        )
        self._api = api

    # -- reading

    def load(
        self,
        contact_ids: Sequence[str],
        *,
        history: bool,
        known_deals: Mapping[str, Sequence[str]],  # noqa: ARG002 (asking costs next to nothing)
    ) -> Loaded:
        return self._reader.load(contact_ids, history=history)

    # -- writing

    def write_fields(self, updates: Sequence[FieldUpdate]) -> tuple[Failure, ...]:
        """Fields this account does not have are left out. Raises ``ValueError`` for a field that
        is not the plugin's."""
        return self._api.update(CONTACTS, self._to_write(updates))

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
