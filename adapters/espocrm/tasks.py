"""EspoCRM's tasks: one parent each, which is the contact.

https://docs.espocrm.com/user-guide/activities-and-calendar/#task
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from adapters import markers
from adapters.espocrm.api import CONTACT, LISTED_TEXT, TASK, Api, chunks, condition
from adapters.espocrm.values import instant, moment, one_line, text
from plugin.errors import CrmError, CrmRejected, CrmUnavailable
from plugin.ports import CreatedTasks, CrmTask, Failure, TaskDraft, TaskUpdate
from plugin.referral.model import Priority
from schemas.espocrm import Record

ATTRIBUTES = ("name", "description", "status", "dateCompleted", "modifiedAt", "createdAt")
COMPLETED = "Completed"
NOT_STARTED = "Not Started"
CANCELED = "Canceled"
PRIORITIES = {Priority.LOW: "Low", Priority.MEDIUM: "Normal", Priority.HIGH: "High"}


def create(api: Api, drafts: Sequence[TaskDraft]) -> CreatedTasks:
    """One call each, sent once. Raises where the error says all there is to say: nothing was sent,
    or the only one was, and no answer came."""
    ids: dict[str, str] = {}
    failures: list[Failure] = []
    for draft in drafts:
        try:
            ids[draft.key] = _create(api, draft)
        except CrmRejected as refused:
            failures.append(Failure(item=draft.key, reason=str(refused)))
        except CrmError as error:
            lost = isinstance(error, CrmUnavailable) and error.outcome_unknown
            if len(drafts) == 1 or not (lost or ids or failures):
                raise
            return CreatedTasks(
                crm_ids=ids,
                failures=tuple(failures),
                unknown=frozenset({draft.key} if lost else ()),
                stopped=error,
            )
    return CreatedTasks(crm_ids=ids, failures=tuple(failures))


def update(api: Api, updates: Sequence[TaskUpdate]) -> tuple[Failure, ...]:
    """Change tasks; those that are gone come back as ``Failure(gone=True)``."""
    changes: dict[str, dict[str, object]] = {}
    for one in updates:
        changes.setdefault(one.crm_id, {}).update(_changes(one))
    done = [api.update(TASK, one, values) for one, values in changes.items() if values]
    return tuple(failure for failure in done if failure)


def read(api: Api, task_ids: Sequence[str]) -> dict[str, CrmTask]:
    """Tasks by id; one that is gone is absent, and so is one that somebody canceled."""
    records = api.by_ids(TASK, task_ids, ATTRIBUTES)
    return {
        record["id"]: _task(record)
        for record in _uncut(api, records.values())
        if text(record, "status") != CANCELED
    }


def find(api: Api, contact_ids: Sequence[str]) -> tuple[CrmTask, ...]:
    """All tasks on these contacts whose description holds one of our markers."""
    found: list[Record] = []
    for chunk in chunks(contact_ids):
        where = [
            condition("equals", "parentType", CONTACT),
            condition("in", "parentId", chunk),
            condition("contains", "description", markers.START),
        ]
        found += api.all(TASK, ATTRIBUTES, where)
    tasks = map(_task, _uncut(api, found))
    return tuple(task for task in tasks if markers.last_marker(task.body))


def _uncut(api: Api, records: Iterable[Record]) -> Iterator[Record]:
    """Tasks with their whole text, the end of which is our marker: long ones are read singly."""
    for record in records:
        if len(text(record, "description")) < LISTED_TEXT:
            yield record
        elif whole := api.whole(TASK, record["id"]):
            yield whole


def _create(api: Api, draft: TaskDraft) -> str:
    attributes: dict[str, object] = {
        "name": one_line(draft.subject),
        "description": draft.body,
        "status": NOT_STARTED,
        "priority": PRIORITIES[draft.priority],
        "dateEnd": moment(draft.due_at),
        "parentType": CONTACT,
        "parentId": draft.contact_ids[0],
        "assignedUserId": draft.owner_id,
    }
    try:
        return str(api.create(TASK, attributes)["id"])
    except CrmRejected as refused:
        if draft.owner_id or "assignedUser" not in refused.field_errors:
            raise
        # Until an administrator says otherwise, EspoCRM takes no task without an assigned user.
        me = api.me()["user"]["id"]
        return str(api.create(TASK, {**attributes, "assignedUserId": me})["id"])


def _changes(one: TaskUpdate) -> Mapping[str, object]:
    changes: dict[str, object] = {}
    if one.done is not None:
        changes["status"] = COMPLETED if one.done else NOT_STARTED
    if one.subject is not None:
        changes["name"] = one_line(one.subject)
    if one.body is not None:
        changes["description"] = one.body
    if one.due_at is not None:
        changes["dateEnd"] = moment(one.due_at)
    return changes


def _task(record: Mapping[str, Any]) -> CrmTask:
    done = text(record, "status") == COMPLETED
    done_at = instant(text(record, "dateCompleted")) or instant(text(record, "modifiedAt"))
    return CrmTask(
        crm_id=record["id"],
        subject=text(record, "name"),
        body=text(record, "description"),
        done=done,
        done_at=done_at if done else None,
        created_at=instant(text(record, "createdAt")),
    )
