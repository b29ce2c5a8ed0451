"""BottleCRM's tasks. Creating one answers without its id, so it is looked up on its contact.

Facts are read from the package itself (``tasks/updates.py``, ``tasks/serializer.py``,
``contacts/views.py``): https://pypi.org/project/django-crm/1.35.0/
A contact's page shows its tasks with their description, where our marker is; neither the list of
tasks nor its search does. A task has a day but no time, and does not tell when it was completed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from adapters.bottlecrm.api import TASKS, Api, is_id
from adapters.markers import last_marker
from adapters.values import EPOCH, believable
from plugin.errors import CrmError, CrmRejected, CrmUnavailable, RecordGone
from plugin.ports import CreatedTasks, CrmTask, Failure, TaskDraft, TaskUpdate
from schemas.bottlecrm import Task, TaskPage, TaskPageSchema

NEW = "New"
COMPLETED = "Completed"
MAX_TITLE = 200

_TASKS = TaskPageSchema()


class Tasks:
    """The tasks of one account. ``zone`` is the one due days are days in."""

    def __init__(self, api: Api, zone: ZoneInfo) -> None:
        self._api = api
        self._zone = zone

    def create(self, drafts: Sequence[TaskDraft]) -> CreatedTasks:
        """Each is sent once; those that were made but cannot be looked up count as unknown. Raises
        where the error says all there is to say: nothing was sent, or the only one was, and no
        answer came."""
        sent, created = self._send_each(drafts)
        for theirs in _by_contact(sent):
            try:
                ids = self._ids(theirs)
            except CrmError as error:
                created = replace(
                    created,
                    unknown=created.unknown | {draft.key for draft in theirs},
                    stopped=created.stopped or error,
                )
                continue
            gone = (
                Failure(item=draft.key, reason="the contact is not there any more", gone=True)
                for draft in theirs
                if draft.key not in ids
            )
            created = replace(
                created,
                crm_ids={**created.crm_ids, **ids},
                failures=(*created.failures, *gone),
            )
        return created

    def update(self, updates: Sequence[TaskUpdate]) -> tuple[Failure, ...]:
        """Change tasks; those that are gone come back as ``Failure(gone=True)``."""
        changes: dict[str, dict[str, str]] = {}
        for one in updates:
            changes.setdefault(one.crm_id, {}).update(self._changes(one))
        return self._api.update(TASKS, {one: body for one, body in changes.items() if body})

    def delete(self, task_ids: Iterable[str]) -> None:
        for one in dict.fromkeys(task_ids):
            if is_id(one):
                self._delete(one)

    def read(self, task_ids: Iterable[str]) -> dict[str, CrmTask]:
        """Tasks by id; one that is gone is absent. When one was completed is told by the feed of
        doings where it reaches back so far; else it is now."""
        found = {one: task for one in dict.fromkeys(task_ids) if (task := self._api.task(one))}
        ended: dict[str, datetime] = {}
        if any(task["status"] == COMPLETED for task in found.values()):
            for doing in reversed(self._api.feed("Task")):
                if at := believable(doing["at"]):
                    ended[doing["record_id"]] = at
        now = datetime.now(UTC)
        return {one: _task(task, done_at=ended.get(one, now)) for one, task in found.items()}

    def find(self, contact_ids: Iterable[str]) -> tuple[CrmTask, ...]:
        """All tasks on these contacts whose description holds one of our markers, the oldest
        first."""
        found = {
            task["id"]: task
            for one in dict.fromkeys(contact_ids)
            for task in self._on(one) or ()
            if last_marker(task["description"])
        }
        return tuple(_task(task) for task in sorted(found.values(), key=_age))

    # -- creating

    def _send_each(self, drafts: Sequence[TaskDraft]) -> tuple[list[TaskDraft], CreatedTasks]:
        """Those that were made, and what became of the others; the first error that is none of a
        single task ends it."""
        sent: list[TaskDraft] = []
        failures: list[Failure] = []
        for draft in drafts:
            try:
                self._send(draft)
            except CrmRejected as error:
                failures.append(Failure(item=draft.key, reason=str(error)))
            except CrmError as error:
                lost = isinstance(error, CrmUnavailable) and error.outcome_unknown
                if len(drafts) == 1 or not (lost or sent or failures):
                    raise
                return sent, CreatedTasks(
                    crm_ids={},
                    failures=tuple(failures),
                    unknown=frozenset({draft.key} if lost else ()),
                    stopped=error,
                )
            else:
                sent.append(draft)
        return sent, CreatedTasks(crm_ids={}, failures=tuple(failures))

    def _send(self, draft: TaskDraft) -> None:
        body = self._body(draft)
        try:
            self._api.send("POST", TASKS, body=body, repeat=False)
        except CrmRejected as error:
            if "opportunity" not in error.field_errors:
                raise
            del body["opportunity"]  # deleted meanwhile: nothing was made yet
            self._api.send("POST", TASKS, body=body, repeat=False)

    def _body(self, draft: TaskDraft) -> dict[str, Any]:
        body: dict[str, Any] = {
            "title": _title(draft.subject),
            "description": draft.body,
            "status": NEW,
            "priority": draft.priority.value.capitalize(),
            "due_date": self._day(draft.due_at),
            "contacts": list(dict.fromkeys(draft.contact_ids)),
        }
        if draft.owner_id:
            body["assigned_to"] = [draft.owner_id]
        if draft.deal_id:
            body["opportunity"] = draft.deal_id
        return body

    def _ids(self, drafts: Sequence[TaskDraft]) -> dict[str, str]:
        """Task key → id of tasks made on one contact, by the marker; absent where the contact has
        vanished meanwhile, and then the task made for nobody is removed."""
        ids: dict[str, str] = {}
        by_marker = _by_marker(self._on(drafts[0].contact_ids[0]) or ())
        for draft in drafts:
            if task_id := by_marker.get(draft.marker):
                ids[draft.key] = task_id
            else:
                self._remove_stray(draft)
        return ids

    def _remove_stray(self, draft: TaskDraft) -> None:
        params = {"title": _title(draft.subject), "slim": "true", "limit": "50"}
        page: TaskPage = self._api.send("GET", TASKS, params=params, schema=_TASKS)
        found = filter(None, (self._api.task(row["id"]) for row in page["tasks"]))
        if task_id := _by_marker(found).get(draft.marker):
            self._delete(task_id)

    def _on(self, contact_id: str) -> list[Task] | None:
        """The tasks of a contact; None where it is gone."""
        found = self._api.contact(contact_id)
        return found["tasks"] if found else None

    # -- changing

    def _changes(self, one: TaskUpdate) -> Iterator[tuple[str, str]]:
        if one.done is not None:
            yield "status", COMPLETED if one.done else NEW
        if one.subject is not None:
            yield "title", _title(one.subject)
        if one.body is not None:
            yield "description", one.body
        if one.due_at is not None:
            yield "due_date", self._day(one.due_at)

    def _delete(self, task_id: str) -> None:
        try:
            self._api.send("DELETE", f"{TASKS}{task_id}/")
        except RecordGone:
            return

    def _day(self, due_at: datetime) -> str:
        return due_at.astimezone(self._zone).date().isoformat()


def _title(subject: str) -> str:
    return subject if len(subject) <= MAX_TITLE else subject[: MAX_TITLE - 1] + "…"


def _by_contact(drafts: Iterable[TaskDraft]) -> list[list[TaskDraft]]:
    """Those on one contact together."""
    found: dict[str, list[TaskDraft]] = {}
    for draft in drafts:
        found.setdefault(draft.contact_ids[0], []).append(draft)
    return list(found.values())


def _by_marker(tasks: Iterable[Task]) -> dict[str, str]:
    """Marker → id of the oldest task that ends with it."""
    found: dict[str, str] = {}
    for task in sorted(tasks, key=_age):
        if marker := last_marker(task["description"]):
            found.setdefault(marker, task["id"])
    return found


def _age(task: Task) -> tuple[datetime, str]:
    return task["created_at"] or EPOCH, task["id"]


def _task(task: Task, done_at: datetime | None = None) -> CrmTask:
    done = task["status"] == COMPLETED
    return CrmTask(
        crm_id=task["id"],
        subject=task["title"] or "",
        body=task["description"] or "",
        done=done,
        done_at=done_at if done else None,
        created_at=believable(task["created_at"]),
    )
