"""One EspoCRM, connected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.espocrm import tasks, webhooks
from adapters.espocrm.api import CONTACT, TASK, Api
from adapters.espocrm.install import Installer
from adapters.espocrm.reading import Reader
from adapters.espocrm.values import names, to_attribute
from adapters.session import BaseSession
from adapters.values import REFERRER
from plugin.errors import CrmRejected
from plugin.manifest import manifest
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


class EspoCrmSession(BaseSession[Reader]):
    """``plugin.ports.Session`` for EspoCRM."""

    crm = "espocrm"

    def __init__(self, api: Api, link: AccountLink) -> None:
        super().__init__(
            link=link, calling=api, reader=Reader(api, link), installer=Installer(api, link)
        )
        self._api = api
        self._names = names(link.facts)

    # -- reading

    def load(
        self,
        contact_ids: Sequence[str],
        *,
        history: bool,  # noqa: ARG002 (none is declared)
        known_deals: Mapping[str, Sequence[str]],  # noqa: ARG002 (one call asks for all of them)
    ) -> Loaded:
        return self._reader.load(contact_ids)

    # -- writing

    def write_fields(self, updates: Sequence[FieldUpdate]) -> tuple[Failure, ...]:
        """One call per contact. Fields this account does not have are left out, and so is the
        referrer, which is a link. Raises ``ValueError`` for a field that is not the plugin's."""
        wanted = self._to_write(updates)
        attributes = {one: self._attributes(values) for one, values in wanted.items()}
        return self._update({one: written for one, written in attributes.items() if written})

    def link_referrers(self, updates: Sequence[LinkUpdate]) -> tuple[Failure, ...]:
        """One call per contact. Does nothing where the account has no link."""
        if not self._has(REFERRER):
            return ()
        attribute = f"{self._names[REFERRER]}Id"
        return self._update({one.contact_id: {attribute: one.referrer_id} for one in updates})

    def _attributes(self, values: Mapping[str, str]) -> dict[str, object]:
        return {
            self._names[key]: to_attribute(manifest().field(key), value)
            for key, value in values.items()
            if key != REFERRER
        }

    def _update(self, attributes: Mapping[str, Mapping[str, object]]) -> tuple[Failure, ...]:
        done = [self._api.update(CONTACT, one, values) for one, values in attributes.items()]
        return tuple(failure for failure in done if failure)

    # -- tasks

    def create_tasks(self, drafts: Sequence[TaskDraft]) -> CreatedTasks:
        return tasks.create(self._api, drafts)

    def update_tasks(self, updates: Sequence[TaskUpdate]) -> tuple[Failure, ...]:
        return tasks.update(self._api, updates)

    def delete_tasks(self, task_ids: Sequence[str]) -> None:
        """Goes on where EspoCRM refuses one, and raises that ``CrmRejected`` at the end."""
        refusals: list[CrmRejected] = []
        for task_id in dict.fromkeys(task_ids):
            try:
                self._api.delete(TASK, task_id)
            except CrmRejected as error:
                refusals.append(error)
        if refusals:
            raise refusals[0]

    def read_tasks(self, task_ids: Sequence[str]) -> Mapping[str, CrmTask]:
        return tasks.read(self._api, task_ids)

    def find_tasks(self, contact_ids: Sequence[str]) -> tuple[CrmTask, ...]:
        return tasks.find(self._api, contact_ids)

    # -- webhooks

    def subscribe(self, target: str, secrets: Sequence[str]) -> tuple[str, ...]:
        return webhooks.subscribe(self._api, target, secrets)

    def unsubscribe(self, target: str) -> None:
        webhooks.unsubscribe(self._api, target)
