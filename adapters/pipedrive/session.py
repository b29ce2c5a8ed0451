"""One Pipedrive company, connected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from adapters.answers import failure
from adapters.pipedrive import tasks, webhooks
from adapters.pipedrive.api import UPDATE_PERSON, Api
from adapters.pipedrive.fields import PresentFields
from adapters.pipedrive.heard import Heard
from adapters.pipedrive.install import Installer
from adapters.pipedrive.reading import Reader
from adapters.pipedrive.values import is_option
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

log = logging.getLogger(__name__)

BAD_REQUEST = 400


class PipedriveSession(BaseSession[Reader]):
    """``plugin.ports.Session`` for Pipedrive."""

    crm = "pipedrive"

    def __init__(self, api: Api, link: AccountLink, heard: Heard) -> None:
        present = PresentFields(api, link.facts)
        super().__init__(
            link=link,
            calling=api.client,
            reader=Reader(api, link, heard, present),
            installer=Installer(api, link),
        )
        self._api = api
        self._heard = heard
        self._present = present
        self._warned_of: set[str] = set()

    @property
    def allowance(self) -> Allowance | None:
        return self._api.day.allowance()

    def follow(self, allowance: Allowance | None, *, guard: Callable[[], None]) -> None:
        super().follow(allowance, guard=guard)
        self._api.day.remember(allowance)

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
        """Fields this account does not have (any more) are left out, and so is the referrer, who is
        linked. Raises ``ValueError`` for a field that is not the plugin's."""
        check_ours(updates)
        self._present.refresh()
        failures = [self._write(update) for update in updates]
        return tuple(one for one in failures if one)

    def link_referrers(self, updates: Sequence[LinkUpdate]) -> tuple[Failure, ...]:
        """Does nothing where the account has no field for it."""
        self._present.refresh()
        failures = [self._save(one.contact_id, partial(self._link_of, one)) for one in updates]
        return tuple(one for one in failures if one)

    def _link_of(self, update: LinkUpdate) -> dict[str, object]:
        code = self._present.ours.codes.get(REFERRER)
        if code is None or not self._has(REFERRER):
            return {}
        return {code: int(update.referrer_id) if update.referrer_id else None}

    def _write(self, update: FieldUpdate) -> Failure | None:
        for key, text in update.values.items():
            if not is_option(manifest().field(key), text):
                reason = f"{key}: none of its options"
                return Failure(item=update.contact_id, reason=reason)
        return self._save(update.contact_id, partial(self._custom, update.values))

    def _custom(self, values: Mapping[str, str]) -> dict[str, object]:
        """Code → value, of the fields and options there still are."""
        ours = self._present.ours
        custom: dict[str, object] = {}
        for key, text in values.items():
            if key == REFERRER or key not in ours.codes or not self._has(key):
                continue
            try:
                custom[ours.codes[key]] = ours.value(manifest().field(key), text)
            except LookupError:
                self._warn_of(key)
        return custom

    def _warn_of(self, key: str) -> None:
        if key not in self._warned_of:
            self._warned_of.add(key)
            log.warning("%s has lost an option in Pipedrive: install again", key)

    def _save(self, person_id: str, values: Callable[[], dict[str, object]]) -> Failure | None:
        """One call. Where it is refused and something turns out to be gone, one more with the
        rest."""
        custom = values()
        if not custom:
            return None
        try:
            self._patch(person_id, custom)
        except RecordGone as error:
            return failure(person_id, error)
        except CrmRejected as error:
            if error.status == BAD_REQUEST and self._present.look_again() and values() != custom:
                return self._save(person_id, values)
            return failure(person_id, error)
        return None

    def _patch(self, person_id: str, custom: Mapping[str, object]) -> None:
        typed = self._present.ours.codes_of(Direction.IN)
        self._heard.writing(person_id, {c: value for c, value in custom.items() if c in typed})
        self._api.send(UPDATE_PERSON, id_=person_id, body={"custom_fields": custom})

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
