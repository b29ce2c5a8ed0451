"""One Pipedrive company, connected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.answers import failure
from adapters.pipedrive import tasks, webhooks
from adapters.pipedrive.api import UPDATE_PERSON, Api
from adapters.pipedrive.heard import Heard
from adapters.pipedrive.install import Installer
from adapters.pipedrive.reading import Reader
from adapters.pipedrive.values import OurFields, instant
from adapters.session import BaseSession, check_ours
from adapters.values import REFERRER
from plugin.errors import CrmRejected, RecordGone
from plugin.manifest import Direction, manifest
from plugin.ports import (
    AccountLink,
    Allowance,
    CreatedTasks,
    CrmTask,
    Failure,
    FieldUpdate,
    LinkUpdate,
    Loaded,
    TaskDraft,
    TaskUpdate,
)
from schemas.pipedrive import OnePersonSchema

_ONE = OnePersonSchema()


class PipedriveSession(BaseSession[Reader]):
    """``plugin.ports.Session`` for Pipedrive."""

    def __init__(self, api: Api, link: AccountLink, heard: Heard) -> None:
        super().__init__(
            link=link,
            counting=api.client,
            reader=Reader(api, link, heard),
            installer=Installer(api, link),
        )
        self._api = api
        self._heard = heard
        self._ours = OurFields.of(link.facts)

    @property
    def allowance(self) -> Allowance | None:
        return self._api.day.allowance()

    # -- reading

    def load(
        self,
        contact_ids: Sequence[str],
        *,
        history: bool,  # noqa: ARG002 (one person's costs 20 tokens)
        known_deals: Mapping[str, Sequence[str]],
    ) -> Loaded:
        return self._reader.load(contact_ids, known_deals)

    # -- writing

    def write_fields(self, updates: Sequence[FieldUpdate]) -> tuple[Failure, ...]:
        """Fields this account does not have are left out, and so is the referrer, who is linked.
        Raises ``ValueError`` for a field that is not the plugin's."""
        check_ours(updates)
        failures = [self._write(update) for update in updates]
        return tuple(one for one in failures if one)

    def link_referrers(self, updates: Sequence[LinkUpdate]) -> tuple[Failure, ...]:
        """Does nothing where the account has no field for it."""
        code = self._ours.codes.get(REFERRER)
        if code is None or not self._has(REFERRER):
            return ()
        failures = [
            self._patch(one.contact_id, {code: int(one.referrer_id) if one.referrer_id else None})
            for one in updates
        ]
        return tuple(one for one in failures if one)

    def _write(self, update: FieldUpdate) -> Failure | None:
        custom: dict[str, object] = {}
        for key, text in update.values.items():
            if key == REFERRER or key not in self._ours.codes or not self._has(key):
                continue
            try:
                custom[self._ours.codes[key]] = self._ours.value(manifest().field(key), text)
            except LookupError:
                reason = f"{key} has lost an option in Pipedrive: install again"
                return Failure(item=update.contact_id, reason=reason)
        return self._patch(update.contact_id, custom) if custom else None

    def _patch(self, person_id: str, custom: Mapping[str, object]) -> Failure | None:
        typed = self._ours.codes_of(Direction.IN)
        self._heard.writing(person_id, {c: value for c, value in custom.items() if c in typed})
        try:
            answer = self._api.send(
                UPDATE_PERSON, id_=person_id, body={"custom_fields": custom}, schema=_ONE
            )
        except (CrmRejected, RecordGone) as error:
            return failure(person_id, error)
        self._heard.wrote(person_id, instant(answer["data"]["update_time"]))
        return None

    # -- tasks

    def create_tasks(self, drafts: Sequence[TaskDraft]) -> CreatedTasks:
        return tasks.create(self._api, drafts, self._link.facts)

    def update_tasks(self, updates: Sequence[TaskUpdate]) -> tuple[Failure, ...]:
        return tasks.update(self._api, updates)

    def delete_tasks(self, task_ids: Sequence[str]) -> None:
        tasks.delete(self._api, task_ids)

    def read_tasks(self, task_ids: Sequence[str]) -> Mapping[str, CrmTask]:
        return tasks.read(self._api, task_ids)

    def find_tasks(self, contact_ids: Sequence[str]) -> tuple[CrmTask, ...]:
        return tasks.find(self._api, contact_ids)

    # -- webhooks

    def subscribe(self, target: str, secrets: Sequence[str]) -> tuple[str, ...]:
        webhooks.subscribe(self._api, target, secrets)
        return tuple(secrets)

    def unsubscribe(self, target: str) -> None:
        webhooks.unsubscribe(self._api, target)
