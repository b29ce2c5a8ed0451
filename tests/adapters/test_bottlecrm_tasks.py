"""Tasks in BottleCRM: made without an answer that names them, found by their marker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.client import Client
from plugin.errors import CrmError, CrmRateLimited, CrmUnauthorized, CrmUnavailable
from plugin.ports import CreatedTasks, Session, TaskDraft, TaskUpdate
from plugin.referral.model import Priority
from tests.adapters.bottlecrm import Connected
from tests.payloads.bottlecrm.stand_in import Crm
from tests.stand_in import Fault

NOBODY = "00000000-0000-4000-8000-000000000000"
DUE = datetime(2026, 9, 15, 1, tzinfo=UTC)
"""Five in the afternoon of the 14th in Los Angeles."""


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connected]:
    assert Client.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(Client.__init__.__kwdefaults__, "sleep", lambda _: None)
    crm = Crm()
    with crm.serving():
        yield Connected(crm)


@pytest.fixture
def session(there: Connected) -> Session:
    return there.install()


@pytest.fixture
def erika(there: Connected) -> str:
    return there.crm.contact("Erika", "Muster")


def draft(key: str, *contact_ids: str, **more: Any) -> TaskDraft:
    marker = f"[spiral:ask_referral:{key}]"
    settings: dict[str, Any] = {
        "key": key,
        "marker": marker,
        "subject": "Um eine Empfehlung bitten",
        "body": f"Bitte fragen.\n\n{marker}",
        "contact_ids": contact_ids,
        "deal_id": None,
        "owner_id": None,
        "due_at": DUE,
        "priority": Priority.HIGH,
    }
    return TaskDraft(**{**settings, **more})


# ------------------------------------------------------------------------------- creating


def test_a_new_task_is_looked_up_on_its_contact(
    there: Connected, session: Session, erika: str
) -> None:
    """Two calls for one task, three for two on the same contact; titles stay clean."""
    created = session.create_tasks([draft("k1", erika), draft("k2", erika)])

    assert there.asked() == [
        "POST /api/tasks/",
        "POST /api/tasks/",
        f"GET /api/contacts/{erika}/",
    ]
    seen = {one.crm_id: one for one in there.crm.tasks()}
    assert created.crm_ids.keys() == {"k1", "k2"}
    assert seen[created.crm_ids["k1"]].body.endswith("[spiral:ask_referral:k1]")
    assert {one.subject for one in seen.values()} == {"Um eine Empfehlung bitten"}


def test_a_task_says_all_there_is_to_say(there: Connected, session: Session, erika: str) -> None:
    """Both contacts, the deal, one assignee, the priority."""
    otto = there.crm.contact("Otto", "Beispiel")
    deal = there.crm.deal(erika)

    ids = session.create_tasks(
        [draft("k1", erika, otto, deal_id=deal, owner_id=there.crm.owner_id)]
    ).crm_ids

    task = there.does("GET", f"tasks/{ids['k1']}/")["task_obj"]
    assert {one["id"] for one in task["contacts"]} == {erika, otto}
    assert [one["id"] for one in task["assigned_to"]] == [there.crm.owner_id]
    assert (task["opportunity"]["id"], task["priority"], task["status"]) == (deal, "High", "New")


@pytest.mark.parametrize(
    ("zone", "day"),
    [("America/Los_Angeles", "2026-09-14"), ("Europe/Berlin", "2026-09-15")],
)
def test_a_task_is_due_on_the_day_of_the_account(
    there: Connected, erika: str, zone: str, day: str
) -> None:
    """The end of a working day may be the next day elsewhere."""
    there.install()
    there.session(facts={"time_zone": zone}).create_tasks([draft("k1", erika)])

    assert [one.due_on for one in there.crm.tasks()] == [day]


def test_a_long_subject_is_cut(there: Connected, session: Session, erika: str) -> None:
    """BottleCRM takes 200 characters, and would refuse the task."""
    session.create_tasks([draft("k1", erika, subject="ä" * 201)])

    assert [one.subject for one in there.crm.tasks()] == ["ä" * 199 + "…"]


def test_a_deal_deleted_meanwhile_does_not_stop_its_task(
    there: Connected, session: Session, erika: str
) -> None:
    """It is refused before anything is made, so it is sent again without the deal."""
    created = session.create_tasks([draft("k1", erika, deal_id=NOBODY)])

    assert created.crm_ids.keys() == {"k1"}
    assert created.failures == ()


def test_a_task_for_nobody_is_taken_back(there: Connected, session: Session, erika: str) -> None:
    """BottleCRM drops contacts it does not know and makes the task all the same."""
    other = draft("k2", erika)

    created = session.create_tasks([draft("k1", NOBODY), other])

    assert [(one.item, one.gone) for one in created.failures] == [("k1", True)]
    assert [one.crm_id for one in there.crm.tasks()] == [created.crm_ids["k2"]]


@pytest.mark.parametrize(
    ("fault", "error", "unknown"),
    [
        (Fault(on="^POST /api/tasks/", status=429), CrmRateLimited, set()),
        (Fault(on="^POST /api/tasks/", lost=True), CrmUnavailable, {"k2"}),
    ],
)
def test_where_it_stops_it_is_said_what_became_of_each(
    there: Connected,
    session: Session,
    erika: str,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    error: type[CrmError],
    unknown: set[str],
) -> None:
    """The first is made and known; only the one without an answer has to be looked for."""
    answer = there.crm.answer

    def then_fail(method: str, path: str, *more: Any) -> Any:
        if (method, path) == ("POST", "/api/tasks/") and not there.crm.tasks():
            there.crm.faults.append(fault)
        return answer(method, path, *more)

    monkeypatch.setattr(there.crm, "answer", then_fail)

    created = session.create_tasks([draft(key, erika) for key in ("k1", "k2", "k3")])

    assert type(created.stopped) is error
    assert (set(created.crm_ids), created.failures, set(created.unknown)) == ({"k1"}, (), unknown)


def test_a_task_that_cannot_be_looked_up_is_uncertain(
    there: Connected, session: Session, erika: str
) -> None:
    """It was made; whoever comes back for it finds it. Those on other contacts are known."""
    otto = there.crm.contact("Otto", "Beispiel")
    there.crm.faults.append(Fault(on=f"^GET /api/contacts/{erika}/", status=403))

    created = session.create_tasks([draft("k1", erika), draft("k2", otto)])

    assert type(created.stopped) is CrmUnauthorized
    assert (set(created.crm_ids), created.failures, set(created.unknown)) == ({"k2"}, (), {"k1"})
    assert len(session.find_tasks([erika])) == 1


def test_a_refusal_of_the_first_is_just_a_refusal(
    there: Connected, session: Session, erika: str
) -> None:
    """Nothing was made, so what went wrong is told as it is."""
    token = there.crm.mint("contacts:read", "tasks:read")

    with pytest.raises(CrmUnauthorized, match="scope tasks:write missing"):
        there.session(token=token).create_tasks([draft("k1", erika), draft("k2", erika)])

    assert there.crm.tasks() == []


def test_no_drafts_no_calls(there: Connected, session: Session) -> None:
    """An empty outbox costs nothing."""
    assert session.create_tasks([]) == CreatedTasks(crm_ids={})
    assert there.asked() == []


# --------------------------------------------------------------------------- reading back


def test_of_two_tasks_with_one_marker_the_older_counts(
    there: Connected, session: Session, erika: str
) -> None:
    """An answer that was lost may have left one; both are found, the older first."""
    first = session.create_tasks([draft("k1", erika)]).crm_ids["k1"]
    at = there.crm.clock() + timedelta(minutes=1)
    there.crm.clock = lambda: at

    again = session.create_tasks([draft("k1", erika)])

    assert again.crm_ids == {"k1": first}
    found = [one.crm_id for one in session.find_tasks([erika])]
    assert (len(found), found[0]) == (2, first)


def test_completion_is_dated_by_the_feed(there: Connected, session: Session, erika: str) -> None:
    """A task does not tell it; the last doing on it does."""
    ids = session.create_tasks([draft("k1", erika), draft("k2", erika)]).crm_ids
    at = datetime(2026, 9, 10, 9, 30, tzinfo=UTC)
    there.crm.clock = lambda: at
    there.crm.complete(ids["k1"])
    there.crm.calls.clear()

    read = session.read_tasks(list(ids.values()))

    assert (read[ids["k1"]].done, read[ids["k1"]].done_at) == (True, at)
    assert (read[ids["k2"]].done, read[ids["k2"]].done_at) == (False, None)
    assert len(there.asked()) == 3


def test_completion_the_feed_forgot_is_dated_by_now(
    there: Connected, session: Session, erika: str
) -> None:
    """It shows fifty doings of the whole organisation."""
    task = session.create_tasks([draft("k1", erika)]).crm_ids["k1"]
    there.crm.complete(task)
    empty = b'{"error":false,"count":0,"activities":[]}'
    there.crm.faults.append(Fault(on="^GET /api/activities/", status=200, body=empty))

    done_at = session.read_tasks([task])[task].done_at

    assert done_at is not None
    assert abs(done_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_open_tasks_cost_a_call_each(there: Connected, session: Session, erika: str) -> None:
    """The feed is asked for those done only."""
    task = session.create_tasks([draft("k1", erika)]).crm_ids["k1"]
    there.crm.calls.clear()

    session.read_tasks([task, task])

    assert there.asked() == [f"GET /api/tasks/{task}/"]


def test_changing_a_task_keeps_who_it_is_for(
    there: Connected, session: Session, erika: str
) -> None:
    """Lists that are not sent stay as they are."""
    task = session.create_tasks([draft("k1", erika, owner_id=there.crm.owner_id)]).crm_ids["k1"]

    failures = session.update_tasks([TaskUpdate(crm_id=task, done=True, due_at=DUE)])

    (seen,) = there.crm.tasks()
    assert failures == ()
    assert (seen.contact_ids, seen.owner_id, seen.done) == ((erika,), there.crm.owner_id, True)
