"""Tasks: created once, found again by their marker, read as people left them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from adapters.markers import last_marker
from adapters.rich_text import to_html, to_text
from plugin.errors import CrmRateLimited, CrmRejected, CrmUnavailable
from plugin.ports import CreatedTasks, CrmTask, Failure, TaskDraft, TaskUpdate
from plugin.referral.model import Priority
from tests.adapters.conftest import (
    Connect,
    Reply,
    Wire,
    associated,
    batch,
    part_error,
    problem,
    record,
)

CREATE = "POST /crm/objects/2026-09/tasks/batch/create"
UPDATE = "POST /crm/objects/2026-09/tasks/batch/update"
READ = "POST /crm/objects/2026-09/tasks/batch/read"
ARCHIVE = "POST /crm/objects/2026-09/tasks/batch/archive"
TASKS_OF_CONTACTS = "POST /crm/associations/2026-09/contacts/tasks/batch/read"
DUE = datetime(2026, 9, 15, 17, tzinfo=timezone(timedelta(hours=2)))


def draft(key: str, **more: Any) -> TaskDraft:
    marker = f"[spiral:thank_referrer:{key}]"
    settings: dict[str, Any] = {
        "key": key,
        "marker": marker,
        "subject": "Für die Empfehlung danken",
        "body": f"Danken & grüßen <heute>.\n\n{marker}",
        "contact_ids": ("1",),
        "deal_id": None,
        "owner_id": "64492917",
        "due_at": DUE,
        "priority": Priority.MEDIUM,
    }
    return TaskDraft(**{**settings, **more})


def created(body: Any, *, traced: bool = True) -> Any:
    """HubSpot gives each task an id; its results come in any order."""
    return Reply(
        201,
        batch(
            [
                record(
                    f"70{at}",
                    one["properties"],
                    **({"objectWriteTraceId": one["objectWriteTraceId"]} if traced else {}),
                )
                for at, one in reversed(list(enumerate(body["inputs"])))
            ]
        ),
    )


# ------------------------------------------------------------------------------- creating


def test_a_task_carries_everything(wire: Wire, connect: Connect) -> None:
    """Due date, owner, priority, body as HTML, and all records it stands on."""
    wire.answers(CREATE, created)

    result = connect().create_tasks(
        [draft("k1", contact_ids=("1", "2", "1"), deal_id="9", priority=Priority.HIGH)]
    )

    assert result == CreatedTasks(crm_ids={"k1": "700"})
    assert wire.bodies(CREATE) == [
        {
            "inputs": [
                {
                    "objectWriteTraceId": "k1",
                    "properties": {
                        "hs_timestamp": "2026-09-15T15:00:00.000Z",
                        "hs_task_subject": "Für die Empfehlung danken",
                        "hs_task_body": "Danken &amp; grüßen &lt;heute&gt;.<br><br>"
                        "[spiral:thank_referrer:k1]",
                        "hs_task_status": "NOT_STARTED",
                        "hs_task_priority": "HIGH",
                        "hs_task_type": "TODO",
                        "hubspot_owner_id": "64492917",
                    },
                    "associations": [
                        {"to": {"id": record_id}, "types": [association_type(type_id)]}
                        for record_id, type_id in (("1", 204), ("2", 204), ("9", 216))
                    ],
                }
            ]
        }
    ]


def association_type(type_id: int) -> Any:
    return {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_id}


def test_a_task_without_owner_is_unassigned(wire: Wire, connect: Connect) -> None:
    """No owner is no property, not an empty one."""
    wire.answers(CREATE, created)

    connect().create_tasks([draft("k1", owner_id=None)])

    assert "hubspot_owner_id" not in wire.bodies(CREATE)[0]["inputs"][0]["properties"]


@pytest.mark.parametrize("traced", [True, False])
def test_answers_find_their_drafts(wire: Wire, connect: Connect, traced: bool) -> None:
    """By trace id, and where HubSpot leaves it out by the marker; never by order."""
    wire.answers(CREATE, lambda body: created(body, traced=traced))

    result = connect().create_tasks([draft("a"), draft("b"), draft("c")])

    assert result == CreatedTasks(crm_ids={"a": "700", "b": "701", "c": "702"})


def test_a_partial_answer_names_who_failed(wire: Wire, connect: Connect) -> None:
    """207: what was made has an id, what was refused a reason."""
    made = created({"inputs": [{"objectWriteTraceId": "a", "properties": {}}]}).body
    errors = [part_error("OBJECT_NOT_FOUND", {"objectWriteTraceId": ["b"]})]
    wire.answers(CREATE, made | {"numErrors": 1, "errors": errors}, status=207)

    assert connect().create_tasks([draft("a"), draft("b")]) == CreatedTasks(
        crm_ids={"a": "700"},
        failures=(Failure(item="b", reason="OBJECT_NOT_FOUND", gone=True),),
    )


def test_an_error_without_a_name_falls_on_who_is_left(wire: Wire, connect: Connect) -> None:
    """Who has no id and is not named was refused for the reason given."""
    made = created({"inputs": [{"objectWriteTraceId": "a", "properties": {}}]}).body
    errors = [part_error("VALIDATION_ERROR", {})]
    wire.answers(CREATE, made | {"numErrors": 1, "errors": errors}, status=207)

    assert connect().create_tasks([draft("a"), draft("b")]) == CreatedTasks(
        crm_ids={"a": "700"}, failures=(Failure(item="b", reason="VALIDATION_ERROR"),)
    )


def poisoned(body: Any) -> Any:
    if any(one["objectWriteTraceId"] == "k42" for one in body["inputs"]):
        return Reply(400, problem("VALIDATION_ERROR"))
    answer = created(body)
    for made, one in zip(answer.body["results"], reversed(body["inputs"]), strict=True):
        made["id"] = one["objectWriteTraceId"].replace("k", "70")
    return answer


def test_one_bad_draft_does_not_spoil_ninety_nine(wire: Wire, connect: Connect) -> None:
    """Refused batches are halved; every good draft is made exactly once."""
    wire.answers(CREATE, poisoned, always=True)
    drafts = [draft(f"k{n}") for n in range(100)]

    result = connect().create_tasks(drafts)

    assert result.crm_ids == {f"k{n}": f"70{n}" for n in range(100) if n != 42}
    assert [failure.item for failure in result.failures] == ["k42"]


def test_a_lost_answer_is_never_repeated(wire: Wire, connect: Connect) -> None:
    """Nobody knows whether the task exists: it is said, and not sent again."""
    wire.answers(CREATE, requests.ReadTimeout(), always=True)

    with pytest.raises(CrmUnavailable) as caught:
        connect().create_tasks([draft("a")])

    assert caught.value.outcome_unknown
    assert len(wire.calls) == 1


def test_a_refused_connection_is_a_known_outcome(wire: Wire, connect: Connect) -> None:
    """Where no connection was made there is no task."""
    wire.answers(CREATE, requests.ConnectTimeout())

    with pytest.raises(CrmUnavailable) as caught:
        connect().create_tasks([draft("a")])

    assert not caught.value.outcome_unknown


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (429, problem("RATE_LIMITS", errorType="RATE_LIMIT", policyName="SECONDLY")),
        (401, problem("INVALID_AUTHENTICATION")),
        (423, problem("LOCKED")),
    ],
)
def test_an_error_after_a_part_leaves_the_outcome_open(
    wire: Wire, connect: Connect, status: int, answer: Any
) -> None:
    """The first hundred exist and the caller does not know their ids: it has to look."""
    wire.answers(CREATE, created)
    wire.answers(CREATE, answer, status=status)

    with pytest.raises(CrmUnavailable) as caught:
        connect().create_tasks([draft(f"k{n}") for n in range(101)])

    assert caught.value.outcome_unknown


def test_an_error_before_any_part_is_what_it_is(wire: Wire, connect: Connect) -> None:
    """Nothing was made, so the rate limit is just the rate limit."""
    limited = problem("RATE_LIMITS", errorType="RATE_LIMIT", policyName="SECONDLY")
    wire.answers(CREATE, limited, status=429)

    with pytest.raises(CrmRateLimited):
        connect().create_tasks([draft("a")])


@pytest.mark.parametrize(
    "answer",
    [
        batch([]),
        batch([record("700", {"hs_task_body": "somebody else's"})]),
        batch([record("700", objectWriteTraceId="x")]),
    ],
)
def test_an_answer_that_does_not_say_which_leaves_the_outcome_open(
    wire: Wire, connect: Connect, answer: Any
) -> None:
    """Silence about a draft, or a task nobody asked for, is not guessed at."""
    wire.answers(CREATE, answer, status=201)

    with pytest.raises(CrmUnavailable) as caught:
        connect().create_tasks([draft("a")])

    assert caught.value.outcome_unknown


# ------------------------------------------------------------------- changing and deleting


def test_updates_change_only_what_is_said(wire: Wire, connect: Connect) -> None:
    """None leaves as it is; two changes of one task are one."""
    wire.answers(UPDATE, lambda body: batch([record(one["id"]) for one in body["inputs"]]))

    failures = connect().update_tasks(
        [
            TaskUpdate(crm_id="1", done=True, body="Erledigt <sich>\nvon selbst"),
            TaskUpdate(crm_id="2", done=False, subject="Neu", due_at=DUE),
            TaskUpdate(crm_id="1", subject="Alt"),
            TaskUpdate(crm_id="3"),
        ]
    )

    assert failures == ()
    assert wire.bodies(UPDATE)[0]["inputs"] == [
        {
            "id": "1",
            "objectWriteTraceId": "1",
            "properties": {
                "hs_task_status": "COMPLETED",
                "hs_task_body": "Erledigt &lt;sich&gt;<br>von selbst",
                "hs_task_subject": "Alt",
            },
        },
        {
            "id": "2",
            "objectWriteTraceId": "2",
            "properties": {
                "hs_task_status": "NOT_STARTED",
                "hs_task_subject": "Neu",
                "hs_timestamp": "2026-09-15T15:00:00.000Z",
            },
        },
    ]


def test_a_task_somebody_deleted_is_gone(wire: Wire, connect: Connect) -> None:
    """The failure says so."""
    wire.answers(UPDATE, batch([], [part_error("OBJECT_NOT_FOUND", {"ids": ["1"]})]), status=207)

    assert connect().update_tasks([TaskUpdate(crm_id="1", done=True)]) == (
        Failure(item="1", reason="OBJECT_NOT_FOUND", gone=True),
    )


def test_deleting_is_archiving_in_batches(wire: Wire, connect: Connect) -> None:
    """A hundred at a time, each once."""
    wire.answers(ARCHIVE, status=204, always=True)

    connect().delete_tasks([*(str(n) for n in range(1000, 1150)), "1000"])

    assert [len(body["inputs"]) for body in wire.bodies(ARCHIVE)] == [100, 50]


def test_what_is_gone_already_does_not_stop_the_deleting(wire: Wire, connect: Connect) -> None:
    """One that is not there any more is no fault; the others go."""

    def respond(body: Any) -> Any:
        gone = any(one["id"] == "2" for one in body["inputs"])
        return Reply(404, problem("OBJECT_NOT_FOUND")) if gone else Reply(204, None)

    wire.answers(ARCHIVE, respond, always=True)

    connect().delete_tasks(["1", "2", "3"])

    assert [{"id": "3"}] in [body["inputs"] for body in wire.bodies(ARCHIVE)]
    assert [{"id": "1"}] in [body["inputs"] for body in wire.bodies(ARCHIVE)]


def test_a_refusal_to_delete_is_raised(wire: Wire, connect: Connect) -> None:
    """It cannot be told in any other way."""
    wire.answers(ARCHIVE, problem("VALIDATION_ERROR"), status=400)

    with pytest.raises(CrmRejected):
        connect().delete_tasks(["1"])


# -------------------------------------------------------------------------------- reading


def task(crm_id: str, **properties: str | None) -> Any:
    return record(
        crm_id,
        {
            "hs_task_subject": "Danken",
            "hs_task_body": "Bitte danken<br>[spiral:thank_referrer:k1]",
            "hs_task_status": "NOT_STARTED",
            "hs_task_completion_date": None,
            "hs_lastmodifieddate": "2026-09-14T08:00:00Z",
            "hs_createdate": "2026-09-10T08:00:00Z",
            **properties,
        },
    )


def test_tasks_are_read_by_id(wire: Wire, connect: Connect) -> None:
    """Open ones without a day of completion, those that are gone not at all."""
    gone = part_error("OBJECT_NOT_FOUND", {"ids": ["2"]})
    wire.answers(READ, batch([task("1")], [gone]), status=207)

    assert connect().read_tasks(["1", "2"]) == {
        "1": CrmTask(
            crm_id="1",
            subject="Danken",
            body="Bitte danken\n[spiral:thank_referrer:k1]",
            done=False,
            created_at=datetime(2026, 9, 10, 8, tzinfo=UTC),
        )
    }


@pytest.mark.parametrize(
    ("completed", "done_at"),
    [
        ("2026-09-13T09:00:00Z", datetime(2026, 9, 13, 9, tzinfo=UTC)),
        (None, datetime(2026, 9, 14, 8, tzinfo=UTC)),
    ],
)
def test_a_completed_task_has_its_day(
    wire: Wire, connect: Connect, completed: str | None, done_at: datetime
) -> None:
    """The day of completion, else that of the last change."""
    done = task("1", hs_task_status="COMPLETED", hs_task_completion_date=completed)
    wire.answers(READ, batch([done]))

    found = connect().read_tasks(["1"])["1"]

    assert (found.done, found.done_at) == (True, done_at)


def test_our_tasks_are_found_by_their_marker(wire: Wire, connect: Connect) -> None:
    """All tasks on these contacts are looked at; only those with a marker are ours."""
    wire.answers(TASKS_OF_CONTACTS, associated({"1": ["7", "8"], "2": ["8", "9"]}, type_id=203))
    wire.answers(
        READ,
        batch(
            [
                task("7"),
                task("8", hs_task_body="Call about [spiral] staircase"),
                task("9", hs_task_body="<p>Notiz</p><p>&#91;spiral:repair:x&#93;</p>"),
            ]
        ),
    )

    found = connect().find_tasks(["1", "2"])

    assert [one.crm_id for one in found] == ["7", "9"]
    assert [one["id"] for one in wire.bodies(READ)[0]["inputs"]] == ["7", "8", "9"]


def test_contacts_without_tasks_cost_one_call(wire: Wire, connect: Connect) -> None:
    """No task, no reading."""
    wire.answers(TASKS_OF_CONTACTS, associated({}))

    assert connect().find_tasks(["1"]) == ()
    assert wire.sent == [TASKS_OF_CONTACTS]


# --------------------------------------------------------------------------------- bodies


LINES = st.lists(
    st.text(st.characters(exclude_categories=("C", "Z"))).map(str.strip), max_size=4
).map("\n".join)


@given(LINES)
def test_a_body_survives_the_round_trip(body: str) -> None:
    """Whatever the text looks like, it comes back as it was, marker and all."""
    sent = f"{body}\n[spiral:ask_origin:a1b2]".strip()

    assert to_text(to_html(sent)) == sent
    assert last_marker(to_text(to_html(sent))) == "[spiral:ask_origin:a1b2]"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain\nlines", "plain\nlines"),
        ("<p>Eins</p><p>Zwei &amp; drei&nbsp;vier</p>", "Eins\nZwei & drei vier"),
        ('<div style="x"><div>a<br/>b</div></div><ul><li>c</li><li>d</li></ul>', "a\nb\nc\nd"),
        ("rep: <b>war nett</b>, <a href='https://example.com'>Link</a>", "rep: war nett, Link"),
        ("", ""),
        ("<", "<"),
        ("&", "&"),
    ],
)
def test_what_reps_wrote_is_read_as_text(html: str, text: str) -> None:
    """HubSpot's editor makes HTML of it; paragraphs and list entries are lines."""
    assert to_text(html) == text


def test_html_that_python_gives_up_on_is_still_read() -> None:
    """Pasted declarations make the standard parser stop; the words are kept."""
    assert to_text("<p>a</p><![pasted from nowhere]>b &amp; c").split() == ["a", "b", "&", "c"]


@given(st.text("<>&;!-[]/?abc='\" \n#x19"))
def test_no_html_raises(body: str) -> None:
    """However broken, it is read somehow."""
    assert isinstance(to_text(body), str)
