"""Our tasks as Pipedrive's activities.

https://developers.pipedrive.com/docs/api/v1/Activities
https://pipedrive.readme.io/docs/pipedrive-api-v2-migration-guide (participants, not person_id)

An activity stands on the person who is its primary participant. There is no bulk call and no
key of our own: each is created by a call of its own and found again by the marker in its note,
which Pipedrive's editor keeps as HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from adapters.answers import failure
from adapters.markers import last_marker
from adapters.pipedrive.api import (
    ACTIVITIES,
    CREATE_ACTIVITY,
    DELETE_ACTIVITY,
    UPDATE_ACTIVITY,
    Api,
    askable,
)
from adapters.pipedrive.values import instant
from adapters.rich_text import to_html, to_text
from adapters.values import clean
from plugin.errors import CrmError, CrmRejected, CrmUnavailable, RecordGone
from plugin.ports import CreatedTasks, CrmTask, Failure, TaskDraft, TaskUpdate
from schemas.pipedrive import Activity, OneActivitySchema

ACTIVITY_TYPE = "activity_type"
"""Key in ``AccountLink.facts``: the type that tasks of this account have."""
PRIORITY_FACT = "priority:"
"""Key in ``AccountLink.facts``: ``priority:<ours>`` → number of the account's own."""
DEFAULT_TYPE = "task"

_ONE = OneActivitySchema()


def create(api: Api, drafts: Sequence[TaskDraft], facts: Mapping[str, str]) -> CreatedTasks:
    """Each sent once, up to the first that cannot be sent or has no answer. Raises that error where
    there is nothing else to tell; nothing is sent where the tokens do not suffice for all."""
    api.day.check(CREATE_ACTIVITY.cost * len(drafts), f"{len(drafts)} new activities")
    ids: dict[str, str] = {}
    failures: list[Failure] = []
    for draft in drafts:
        try:
            answer = api.send(CREATE_ACTIVITY, body=_new(draft, facts), schema=_ONE, repeat=False)
        except (CrmRejected, RecordGone) as error:
            failures.append(Failure(item=draft.key, reason=str(error)))
        except CrmError as error:
            unanswered = isinstance(error, CrmUnavailable) and error.outcome_unknown
            if not ids and not failures and not (unanswered and len(drafts) > 1):
                raise
            return CreatedTasks(
                crm_ids=ids,
                failures=tuple(failures),
                unknown=frozenset({draft.key}) if unanswered else frozenset(),
                stopped=error,
            )
        else:
            ids[draft.key] = answer["data"]["id"]
    return CreatedTasks(crm_ids=ids, failures=tuple(failures))


def update(api: Api, updates: Sequence[TaskUpdate]) -> tuple[Failure, ...]:
    """Change activities; those that are gone come back as ``Failure(gone=True)``."""
    failures: list[Failure] = []
    for one in updates:
        if not (changes := _changes(one)):
            continue
        try:
            api.send(UPDATE_ACTIVITY, id_=one.crm_id, body=changes)
        except (CrmRejected, RecordGone) as error:
            failures.append(failure(one.crm_id, error))
    return tuple(failures)


def delete(api: Api, task_ids: Sequence[str]) -> None:
    """Those already gone are no fault."""
    for one in askable(task_ids):
        try:
            api.send(DELETE_ACTIVITY, id_=one)
        except RecordGone:
            continue


def read(api: Api, task_ids: Sequence[str]) -> dict[str, CrmTask]:
    """Tasks by id; one that is gone is absent."""
    return {one: _task(found) for one, found in api.by_ids(ACTIVITIES, task_ids).items()}


def find(api: Api, contact_ids: Sequence[str]) -> tuple[CrmTask, ...]:
    """All tasks on these contacts whose note holds one of our markers, by id."""
    found = {
        task.crm_id: task
        for one in askable(contact_ids)
        for task in map(_task, api.all(ACTIVITIES, {"person_id": one}))
        if last_marker(task.body)
    }
    return tuple(found[one] for one in sorted(found, key=int))


def _new(draft: TaskDraft, facts: Mapping[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "subject": draft.subject,
        "type": facts.get(ACTIVITY_TYPE, DEFAULT_TYPE),
        "note": to_html(draft.body),
        "done": False,
        "participants": [
            {"person_id": int(one), "primary": at == 0}
            for at, one in enumerate(dict.fromkeys(draft.contact_ids))
        ],
        **_due(draft.due_at),
    }
    if draft.owner_id:
        body["owner_id"] = int(draft.owner_id)
    if draft.deal_id:
        body["deal_id"] = int(draft.deal_id)
    if priority := facts.get(f"{PRIORITY_FACT}{draft.priority}"):
        body["priority"] = int(priority)
    return body


def _changes(one: TaskUpdate) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if one.done is not None:
        changes["done"] = one.done
    if one.subject is not None:
        changes["subject"] = one.subject
    if one.body is not None:
        changes["note"] = to_html(one.body)
    if one.due_at is not None:
        changes |= _due(one.due_at)
    return changes


def _due(at: datetime) -> dict[str, str]:
    """Both parts are UTC; Pipedrive shows them in each user's own zone."""
    utc = at.astimezone(UTC)
    return {"due_date": utc.strftime("%Y-%m-%d"), "due_time": utc.strftime("%H:%M")}


def _task(activity: Activity) -> CrmTask:
    done = activity["done"]
    done_at = instant(activity["marked_as_done_time"]) or instant(activity["update_time"])
    return CrmTask(
        crm_id=activity["id"],
        subject=clean(activity["subject"]),
        body=to_text(clean(activity["note"])),
        done=done,
        done_at=done_at if done else None,
        created_at=instant(activity["add_time"]),
    )
