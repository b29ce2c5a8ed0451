"""Tasks in EspoCRM: on one contact each, made once, found again by their marker."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from plugin.errors import (
    CrmError,
    CrmRateLimited,
    CrmRejected,
    CrmUnauthorized,
    CrmUnavailable,
)
from plugin.ports import CreatedTasks, CrmTask, TaskDraft, TaskUpdate
from plugin.referral.model import Priority
from tests.adapters.conftest import Wire
from tests.adapters.espocrm import (
    API,
    DEAL,
    ERIKA,
    HANS,
    TASK,
    USER,
    invalid,
    listed,
    plan,
    refusal,
    session,
)

MARKER = "[spiral:ask_referral:k1]"
DUE_AT = datetime(2026, 9, 18, 15, tzinfo=UTC)
POST = f"POST {API}/Task"


def draft(key: str = "k1", **more: Any) -> TaskDraft:
    return TaskDraft(
        **{
            "key": key,
            "marker": MARKER,
            "subject": "Um eine Empfehlung bitten",
            "body": f"Bitte fragen.\n\n{MARKER}",
            "contact_ids": (ERIKA, HANS),
            "deal_id": DEAL,
            "owner_id": USER,
            "due_at": DUE_AT,
            "priority": Priority.HIGH,
            **more,
        }
    )


class TestCreating:
    def test_a_task_stands_on_its_contact(self, wire: Wire) -> None:
        """EspoCRM knows one parent: the first contact, and neither the other one nor the deal."""
        plan(wire, "POST /Task", {"id": TASK})

        created = session().create_tasks([draft()])

        assert created == CreatedTasks(crm_ids={"k1": TASK})
        assert wire.bodies(POST) == [
            {
                "name": "Um eine Empfehlung bitten",
                "description": f"Bitte fragen.\n\n{MARKER}",
                "status": "Not Started",
                "priority": "High",
                "dateEnd": "2026-09-18 15:00:00",
                "parentType": "Contact",
                "parentId": ERIKA,
                "assignedUserId": USER,
            }
        ]

    def test_a_subject_is_a_name_that_espocrm_takes(self, wire: Wire) -> None:
        """One line, without the characters it forbids in names, as long as the column."""
        plan(wire, "POST /Task", {"id": TASK})

        session().create_tasks([draft(subject=f"A <b>\n= {'x' * 300}")])

        assert wire.bodies(POST)[0]["name"] == f"A b {'x' * 251}"

    def test_without_an_owner_it_is_made_unassigned_where_that_is_allowed(self, wire: Wire) -> None:
        """As the administrator decided for the field."""
        plan(wire, "POST /Task", {"id": TASK})

        assert session().create_tasks([draft(owner_id=None)]).crm_ids == {"k1": TASK}
        assert wire.bodies(POST)[0]["assignedUserId"] is None

    def test_where_an_owner_is_required_it_is_the_plugins_own_user(self, wire: Wire) -> None:
        """The first request was refused, so there is one task."""
        plan(wire, "POST /Task", invalid("assignedUser", "required"), status=400)
        plan(wire, "GET /App/user", {"user": {"id": HANS, "userName": "plugin"}, "settings": {}})
        plan(wire, "POST /Task", {"id": TASK})

        assert session().create_tasks([draft(owner_id=None)]).crm_ids == {"k1": TASK}
        assert [body["assignedUserId"] for body in wire.bodies(POST)] == [None, HANS]

    def test_a_refused_task_does_not_spoil_the_others(self, wire: Wire) -> None:
        """It is said why; an assignment is refused with a status that else means missing rights."""
        reason = "Assignment failure: assigned user or team not allowed."
        plan(wire, "POST /Task", status=403, headers=refusal(reason))
        plan(wire, "POST /Task", {"id": TASK})

        created = session().create_tasks([draft("k1"), draft("k2")])

        assert created.crm_ids == {"k2": TASK}
        assert [(one.item, one.gone) for one in created.failures] == [("k1", False)]
        assert "Assignment Permission 'all'" in created.failures[0].reason

    def test_a_lost_answer_is_asked_for_once(self, wire: Wire) -> None:
        """The task may be there."""
        plan(wire, "POST /Task", status=503)

        with pytest.raises(CrmUnavailable) as caught:
            session().create_tasks([draft()])
        assert caught.value.outcome_unknown
        assert len(wire.calls) == 1

    @pytest.mark.parametrize(
        ("status", "reason", "error", "unknown"),
        [
            (401, "", CrmUnauthorized, set()),
            (403, "Max failed login attempts", CrmRateLimited, set()),
            (503, "", CrmUnavailable, {"k2"}),
        ],
    )
    def test_after_the_first_task_it_is_said_what_became_of_each(
        self,
        wire: Wire,
        status: int,
        reason: str,
        error: type[CrmError],
        unknown: set[str],
    ) -> None:
        """Only the one without an answer has to be looked for; the third was never sent."""
        plan(wire, "POST /Task", {"id": TASK})
        plan(wire, "POST /Task", status=status, headers=refusal(reason))

        created = session().create_tasks([draft("k1"), draft("k2"), draft("k3")])

        assert type(created.stopped) is error
        assert replace(created, stopped=None) == CreatedTasks(
            crm_ids={"k1": TASK}, unknown=frozenset(unknown)
        )
        assert len(wire.calls) == 2

    def test_of_several_only_the_one_without_an_answer_is_unknown(self, wire: Wire) -> None:
        """Even where it was the first."""
        plan(wire, "POST /Task", status=503)

        created = session().create_tasks([draft("k1"), draft("k2")])

        assert isinstance(created.stopped, CrmUnavailable)
        assert replace(created, stopped=None) == CreatedTasks(crm_ids={}, unknown=frozenset({"k1"}))

    @pytest.mark.parametrize(
        "reason",
        [
            "No foreign record access for link operation (Task:parent).",
            "No access for link operation (Task:parent).",
        ],
    )
    def test_a_contact_it_may_not_stand_on_refuses_that_task(self, wire: Wire, reason: str) -> None:
        """And no other."""
        plan(wire, "POST /Task", status=403, headers=refusal(reason))
        plan(wire, "POST /Task", {"id": TASK})

        created = session().create_tasks([draft("k1"), draft("k2")])

        assert ([one.item for one in created.failures], created.crm_ids) == (["k1"], {"k2": TASK})

    @pytest.mark.parametrize(
        ("status", "reason", "error"),
        [(401, "", CrmUnauthorized), (403, "Max failed login attempts", CrmRateLimited)],
    )
    def test_before_the_first_task_an_error_is_what_it_is(
        self, wire: Wire, status: int, reason: str, error: type[Exception]
    ) -> None:
        """Nothing was made."""
        plan(wire, "POST /Task", status=status, headers=refusal(reason))

        with pytest.raises(error):
            session().create_tasks([draft("k1"), draft("k2")])


class TestReading:
    def test_a_completed_task_says_when(self, wire: Wire) -> None:
        """A canceled one is as good as deleted; any other status is not done."""
        told = {"name": "Fragen", "description": MARKER, "createdAt": "2026-09-14 08:00:00"}
        done = {"status": "Completed", "dateCompleted": "2026-09-15 10:00:00"}
        tasks = [
            {**told, "id": TASK, **done, "modifiedAt": "2026-09-16 10:00:00"},
            {**told, "id": DEAL, "status": "Deferred", "modifiedAt": "2026-09-16 10:00:00"},
            {**told, "id": USER, "status": "Canceled"},
        ]
        plan(wire, "GET /Task", listed(*tasks))

        found = session().read_tasks([TASK, DEAL, HANS, USER])

        created_at = datetime(2026, 9, 14, 8, tzinfo=UTC)
        assert found == {
            TASK: CrmTask(
                crm_id=TASK,
                subject="Fragen",
                body=MARKER,
                done=True,
                done_at=datetime(2026, 9, 15, 10, tzinfo=UTC),
                created_at=created_at,
            ),
            DEAL: CrmTask(
                crm_id=DEAL, subject="Fragen", body=MARKER, done=False, created_at=created_at
            ),
        }

    def test_our_tasks_are_found_by_their_marker(self, wire: Wire) -> None:
        """One call; what only looks like a marker is not one."""
        tasks = [
            {"id": TASK, "description": f"Bitte.\n{MARKER}"},
            {"id": DEAL, "description": "what is [spiral: this?"},
        ]
        plan(wire, "GET /Task", listed(*tasks))

        found = session().find_tasks([ERIKA, HANS])

        assert [one.crm_id for one in found] == [TASK]
        query = wire.calls[0].query
        assert {k: v for k, v in query.items() if k.startswith("where")} == {
            "where[0][type]": "equals",
            "where[0][attribute]": "parentType",
            "where[0][value]": "Contact",
            "where[1][type]": "in",
            "where[1][attribute]": "parentId",
            "where[1][value][0]": ERIKA,
            "where[1][value][1]": HANS,
            "where[2][type]": "contains",
            "where[2][attribute]": "description",
            "where[2][value]": "[spiral:",
        }

    def test_the_whole_text_of_a_long_task_is_read(self, wire: Wire) -> None:
        """Lists cut it, and the marker stands at its end; one that goes meanwhile is gone."""
        text = "x" * 10_000
        plan(wire, "GET /Task", listed(*({"id": one, "description": text} for one in (TASK, DEAL))))
        plan(wire, f"GET /Task/{TASK}", {"id": TASK, "description": f"{text}\n{MARKER}"})
        plan(wire, f"GET /Task/{DEAL}", status=404)
        plan(wire, "GET /Task", listed({"id": TASK, "description": text}))
        plan(wire, f"GET /Task/{TASK}", {"id": TASK, "description": f"{text}\n{MARKER}"})

        found = session().find_tasks([ERIKA])
        read = session().read_tasks([TASK])

        assert [one.body for one in found] == [f"{text}\n{MARKER}"]
        assert [one.body for one in read.values()] == [f"{text}\n{MARKER}"]


class TestChanging:
    def test_only_what_is_to_change_is_written(self, wire: Wire) -> None:
        """One call per task; one that is gone is said."""
        plan(wire, f"PUT /Task/{TASK}", {})
        plan(wire, f"PUT /Task/{DEAL}", status=404)
        updates = [
            TaskUpdate(crm_id=TASK, done=True, body="Erledigt."),
            TaskUpdate(crm_id=TASK, due_at=DUE_AT, subject="Neu"),
            TaskUpdate(crm_id=DEAL, done=False),
            TaskUpdate(crm_id=HANS),
        ]

        failures = session().update_tasks(updates)

        assert wire.bodies(f"PUT {API}/Task/{TASK}") == [
            {
                "status": "Completed",
                "description": "Erledigt.",
                "dateEnd": "2026-09-18 15:00:00",
                "name": "Neu",
            }
        ]
        assert wire.bodies(f"PUT {API}/Task/{DEAL}") == [{"status": "Not Started"}]
        assert [(one.item, one.gone) for one in failures] == [(DEAL, True)]

    def test_deleting_what_is_gone_is_no_fault(self, wire: Wire) -> None:
        """Each is asked for once."""
        plan(wire, f"DELETE /Task/{TASK}", True)
        plan(wire, f"DELETE /Task/{DEAL}", status=404)

        session().delete_tasks([TASK, DEAL, TASK])

        assert wire.sent == [f"DELETE {API}/Task/{TASK}", f"DELETE {API}/Task/{DEAL}"]

    def test_a_task_that_may_not_be_deleted_does_not_spoil_the_others(self, wire: Wire) -> None:
        """It is said when they are done."""
        me = {"user": {"id": USER}, "settings": {}, "acl": {"table": {"Task": {"delete": "own"}}}}
        plan(wire, f"DELETE /Task/{TASK}", status=403, headers=refusal("No delete access."))
        plan(wire, "GET /App/user", me)
        plan(wire, f"DELETE /Task/{DEAL}", True)

        with pytest.raises(CrmRejected, match="may not do that to this record"):
            session().delete_tasks([TASK, DEAL])
        assert wire.sent[-1] == f"DELETE {API}/Task/{DEAL}"

    def test_a_role_that_may_delete_no_task_stops_the_account(self, wire: Wire) -> None:
        """It says which right is missing."""
        me = {"user": {"id": USER}, "settings": {}, "acl": {"table": {"Task": {"delete": "no"}}}}
        plan(wire, f"DELETE /Task/{TASK}", status=403, headers=refusal("No delete access."))
        plan(wire, "GET /App/user", me)

        with pytest.raises(CrmUnauthorized, match="does not allow to delete any Task"):
            session().delete_tasks([TASK])
