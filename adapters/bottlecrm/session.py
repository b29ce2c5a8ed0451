"""One BottleCRM organisation, connected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

from adapters.bottlecrm.api import CONTACTS, Api
from adapters.bottlecrm.install import Installer
from adapters.bottlecrm.reading import TIME_ZONE, Reader
from adapters.bottlecrm.tasks import Tasks
from adapters.bottlecrm.values import to_custom_field
from adapters.session import BaseSession
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


class BottleCrmSession(BaseSession[Reader]):
    """``plugin.ports.Session`` for BottleCRM."""

    crm = "bottlecrm"

    def __init__(self, api: Api, link: AccountLink) -> None:
        super().__init__(
            link=link,
            calling=api.client,
            reader=Reader(api, link),
            installer=Installer(api, link),
        )
        self._api = api
        self._tasks = Tasks(api, ZoneInfo(link.facts.get(TIME_ZONE) or "UTC"))

    # -- reading

    def load(
        self,
        contact_ids: Sequence[str],
        *,
        history: bool,  # noqa: ARG002 (BottleCRM keeps none)
        known_deals: Mapping[str, Sequence[str]],
    ) -> Loaded:
        return self._reader.load(contact_ids, known_deals)

    # -- writing

    def write_fields(self, updates: Sequence[FieldUpdate]) -> tuple[Failure, ...]:
        """One call per contact. Fields this account does not have are left out: BottleCRM would
        drop them in silence. Raises ``ValueError`` for a field that is not the plugin's."""
        bodies = {
            contact_id: {"custom_fields": _custom(values)}
            for contact_id, values in self._to_write(updates).items()
        }
        return self._api.update(CONTACTS, bodies)

    def link_referrers(self, updates: Sequence[LinkUpdate]) -> tuple[Failure, ...]:  # noqa: ARG002
        """Nothing: custom fields cannot lead to records, the referrer is kept as text."""
        return ()

    # -- tasks

    def create_tasks(self, drafts: Sequence[TaskDraft]) -> CreatedTasks:
        return self._tasks.create(drafts)

    def update_tasks(self, updates: Sequence[TaskUpdate]) -> tuple[Failure, ...]:
        return self._tasks.update(updates)

    def delete_tasks(self, task_ids: Sequence[str]) -> None:
        self._tasks.delete(task_ids)

    def read_tasks(self, task_ids: Sequence[str]) -> Mapping[str, CrmTask]:
        return self._tasks.read(task_ids)

    def find_tasks(self, contact_ids: Sequence[str]) -> tuple[CrmTask, ...]:
        return self._tasks.find(contact_ids)


def _custom(values: Mapping[str, str]) -> dict[str, object]:
    return {key: to_custom_field(manifest().field(key), value) for key, value in values.items()}
