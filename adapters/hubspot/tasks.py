"""HubSpot's tasks, and their bodies: HTML there, plain text here.

https://developers.hubspot.com/docs/api-reference/latest/crm/activities/tasks/guide
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adapters.hubspot.api import CONTACTS, HUBSPOT_DEFINED, TASKS, Api
from adapters.hubspot.values import instant, iso, text
from adapters.markers import last_marker
from adapters.rich_text import to_html, to_text
from plugin.errors import CrmUnavailable
from plugin.ports import CreatedTasks, CrmTask, Failure, TaskDraft, TaskUpdate
from schemas.hubspot import Record

TASK_TO_CONTACT = 204
TASK_TO_DEAL = 216
"""Association types that are the same in every account."""

PROPERTIES = (
    "hs_task_subject",
    "hs_task_body",
    "hs_task_status",
    "hs_task_completion_date",
    "hs_lastmodifieddate",
    "hs_createdate",
)
COMPLETED = "COMPLETED"
NOT_STARTED = "NOT_STARTED"


def create(api: Api, drafts: Sequence[TaskDraft]) -> CreatedTasks:
    """Sent once. Raises ``CrmUnavailable(outcome_unknown=True)`` where it is not certain which
    of the tasks exist."""
    written = api.create(TASKS, [_input(draft) for draft in drafts])
    by_key = {draft.key: draft for draft in drafts}
    by_marker = {draft.marker: draft.key for draft in drafts}
    ids: dict[str, str] = {}
    for record in written.records:
        key = _key(record, by_key, by_marker)
        if key is None:
            raise _unclear("HubSpot created a task without saying which")
        ids[key] = record["id"]
    refused = {failure.item for failure in written.failures}
    silent = [key for key in by_key if key not in ids and key not in refused]
    if silent and not written.unnamed:
        raise _unclear(f"HubSpot said nothing about {len(silent)} of {len(drafts)} new tasks")
    reason = "; ".join(dict.fromkeys(written.unnamed))
    failures = tuple(Failure(item=key, reason=reason) for key in silent)
    return CreatedTasks(crm_ids=ids, failures=written.failures + failures)


def update(api: Api, updates: Sequence[TaskUpdate]) -> tuple[Failure, ...]:
    """Change tasks; those that are gone come back as ``Failure(gone=True)``."""
    changes: dict[str, dict[str, str]] = {}
    for one in updates:
        changes.setdefault(one.crm_id, {}).update(_changes(one))
    return api.update(TASKS, {crm_id: values for crm_id, values in changes.items() if values})


def read(api: Api, task_ids: Sequence[str]) -> dict[str, CrmTask]:
    """Tasks by id; one that is gone is absent."""
    return {one: _task(record) for one, record in api.read(TASKS, task_ids, PROPERTIES).items()}


def find(api: Api, contact_ids: Iterable[str]) -> tuple[CrmTask, ...]:
    """All tasks on these contacts whose body holds one of our markers, by id."""
    targets = api.associated(CONTACTS, TASKS, contact_ids)
    task_ids = sorted({target["id"] for found in targets.values() for target in found})
    return tuple(task for task in read(api, task_ids).values() if last_marker(task.body))


def _input(draft: TaskDraft) -> dict[str, Any]:
    properties = {
        "hs_timestamp": iso(draft.due_at),
        "hs_task_subject": draft.subject,
        "hs_task_body": to_html(draft.body),
        "hs_task_status": NOT_STARTED,
        "hs_task_priority": draft.priority.value.upper(),
        "hs_task_type": "TODO",
    }
    if draft.owner_id:
        properties["hubspot_owner_id"] = draft.owner_id
    associations = [_association(one, TASK_TO_CONTACT) for one in dict.fromkeys(draft.contact_ids)]
    if draft.deal_id:
        associations.append(_association(draft.deal_id, TASK_TO_DEAL))
    return {
        "objectWriteTraceId": draft.key,
        "properties": properties,
        "associations": associations,
    }


def _association(record_id: str, type_id: int) -> dict[str, Any]:
    return {
        "to": {"id": record_id},
        "types": [{"associationCategory": HUBSPOT_DEFINED, "associationTypeId": type_id}],
    }


def _key(
    record: Record, by_key: Mapping[str, TaskDraft], by_marker: Mapping[str, str]
) -> str | None:
    """Whose draft a new task is: by its trace id, else by the marker in its body."""
    if record["trace_id"] in by_key:
        return record["trace_id"]
    found = last_marker(to_text(text(record["properties"], "hs_task_body")))
    return by_marker.get(found) if found else None


def _changes(one: TaskUpdate) -> dict[str, str]:
    changes: dict[str, str] = {}
    if one.done is not None:
        changes["hs_task_status"] = COMPLETED if one.done else NOT_STARTED
    if one.subject is not None:
        changes["hs_task_subject"] = one.subject
    if one.body is not None:
        changes["hs_task_body"] = to_html(one.body)
    if one.due_at is not None:
        changes["hs_timestamp"] = iso(one.due_at)
    return changes


def _task(record: Record) -> CrmTask:
    properties = record["properties"]
    done = text(properties, "hs_task_status") == COMPLETED
    done_at = instant(text(properties, "hs_task_completion_date"))
    # Tasks completed through the API may lack a completion date.
    done_at = done_at or instant(text(properties, "hs_lastmodifieddate"))
    return CrmTask(
        crm_id=record["id"],
        subject=text(properties, "hs_task_subject"),
        body=to_text(text(properties, "hs_task_body")),
        done=done,
        done_at=done_at if done else None,
        created_at=instant(text(properties, "hs_createdate")) or instant(record["created_at"]),
    )


def _unclear(message: str) -> CrmUnavailable:
    return CrmUnavailable(message, crm="hubspot", operation="create tasks", outcome_unknown=True)
