"""Our tasks in Pipedrive, and our fields on persons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import requests

from plugin.errors import CrmRateLimited, CrmUnauthorized, CrmUnavailable
from plugin.ports import (
    CreatedTasks,
    CrmTask,
    FieldUpdate,
    LinkUpdate,
    Session,
    TaskDraft,
    TaskUpdate,
)
from plugin.referral.model import Priority
from tests.adapters.pipedrive import NOON, Company, Reply, company
from tests.payloads.pipedrive.company import Actor

CREATE = "POST /api/v2/activities"
MARKER = "[spiral:repair:1/a]"
DRAFT = TaskDraft(
    key="1/a",
    marker=MARKER,
    subject="In Ordnung bringen: Erika <Muster>",
    body=f"Zuerst <zuhören> & fragen.\n\n{MARKER}",
    contact_ids=("1041",),
    deal_id=None,
    owner_id="16219013",
    due_at=datetime(2026, 9, 18, 15, tzinfo=UTC),
    priority=Priority.HIGH,
)


@pytest.fixture
def acme() -> Iterator[Company]:
    """With two persons."""
    with company() as opened:
        for first in ("Erika", "Otto"):
            opened.crm.contact(first, "Muster")
        yield opened


@pytest.fixture
def session(acme: Company) -> Session:
    return acme.install()


# ---------------------------------------------------------------------------- creating


def test_a_task_is_an_activity_with_its_persons_as_participants(
    acme: Company, session: Session
) -> None:
    """The first one is primary; type and priority have the account's own names."""
    deal = acme.crm.deal("1041")
    draft = replace(DRAFT, contact_ids=("1041", "1042", "1041"), deal_id=deal)

    made = session.create_tasks([draft])

    assert made == CreatedTasks(crm_ids={"1/a": "5101"})
    assert acme.bodies(CREATE) == [
        {
            "subject": "In Ordnung bringen: Erika <Muster>",
            "type": "task",
            "note": f"Zuerst &lt;zuhören&gt; &amp; fragen.<br><br>{MARKER}",
            "done": False,
            "participants": [
                {"person_id": 1041, "primary": True}, {"person_id": 1042, "primary": False}
            ],
            "due_date": "2026-09-18",
            "due_time": "15:00",
            "owner_id": 16219013,
            "deal_id": int(deal),
            "priority": 263,
        }
    ]  # fmt: skip


def test_a_task_is_read_back_as_it_was_meant(acme: Company, session: Session) -> None:
    """The note has been HTML in between."""
    session.create_tasks([DRAFT])

    assert session.read_tasks(["5101", "9999"]) == {
        "5101": CrmTask(
            crm_id="5101", subject=DRAFT.subject, body=DRAFT.body, done=False, created_at=NOON
        )
    }


def test_a_refused_task_leaves_the_others_be(acme: Company, session: Session) -> None:
    """A person that is gone, an owner that left."""
    made = session.create_tasks(
        [
            replace(DRAFT, key="gone", contact_ids=("999",)),
            replace(DRAFT, key="left", owner_id="16219015"),
            DRAFT,
        ]
    )

    assert made.crm_ids == {"1/a": "5101"}
    assert [failure.item for failure in made.failures] == ["gone", "left"]
    assert all("ERR_" in failure.reason or "400" in failure.reason for failure in made.failures)


def test_a_lost_answer_leaves_it_open_which_exist(acme: Company, session: Session) -> None:
    """Nothing is sent again; the marker finds what was made."""
    acme.replies = [requests.ConnectionError()]

    with pytest.raises(CrmUnavailable) as caught:
        session.create_tasks([DRAFT])
    assert caught.value.outcome_unknown
    assert len(acme.bodies(CREATE)) == 1


@pytest.mark.parametrize("status", [429, 401])
def test_an_error_before_the_first_is_raised(acme: Company, session: Session, status: int) -> None:
    """None was made, and none will have to be looked for."""
    acme.replies = [Reply(on="activities", status=status)]

    with pytest.raises((CrmRateLimited, CrmUnauthorized)):
        session.create_tasks([DRAFT, replace(DRAFT, key="2")])
    assert len(acme.bodies(CREATE)) == 1


@pytest.mark.parametrize(("status", "error"), [(429, CrmRateLimited), (401, CrmUnauthorized)])
def test_an_error_after_the_first_tells_what_was_made(
    acme: Company, session: Session, status: int, error: type[Exception]
) -> None:
    """The others were not sent, and nothing has to be looked for."""
    acme.replies = [
        Reply(on="activities", body={"success": True, "data": {"id": 1}}),
        Reply(on="activities", status=status),
    ]
    made = session.create_tasks([DRAFT, replace(DRAFT, key="2"), replace(DRAFT, key="3")])

    assert made == CreatedTasks(crm_ids={"1/a": "1"}, stopped=made.stopped)
    assert isinstance(made.stopped, error)
    assert len(acme.bodies(CREATE)) == 2


def test_of_several_only_the_one_without_an_answer_is_unknown(
    acme: Company, session: Session
) -> None:
    """Wherever it stands among them."""
    drafts = [replace(DRAFT, key=key) for key in ("1", "2", "3")]
    made_one = Reply(on="activities", body={"success": True, "data": {"id": 1}})
    acme.replies = [made_one, Reply(on="activities", status=503)]
    second = session.create_tasks(drafts)
    acme.replies = [Reply(on="activities", status=503)]
    first = session.create_tasks(drafts)

    assert second == CreatedTasks(
        crm_ids={"1": "1"}, unknown=frozenset({"2"}), stopped=second.stopped
    )
    assert first == CreatedTasks(crm_ids={}, unknown=frozenset({"1"}), stopped=first.stopped)
    assert isinstance(first.stopped, CrmUnavailable)


def test_tasks_wait_where_the_tokens_do_not_suffice_for_all(acme: Company) -> None:
    """Then none of them is sent."""
    session = acme.install()
    used = acme.session().allowance.used  # type: ignore[union-attr]
    session = acme.session(rate_share=1.0, daily_budget=used + 9)

    with pytest.raises(CrmRateLimited):
        session.create_tasks([DRAFT, replace(DRAFT, key="2")])
    assert acme.asked == []


def test_before_installing_a_task_has_the_usual_type(acme: Company) -> None:
    """And no priority, whose numbers are not known."""
    acme.session().create_tasks([DRAFT])

    (body,) = acme.bodies(CREATE)
    assert (body["type"], body.get("priority")) == ("task", None)


# ------------------------------------------------------------------ finding and changing


def test_tasks_are_found_by_their_marker(acme: Company, session: Session) -> None:
    """On the person they stand on, and nobody else's."""
    session.create_tasks([DRAFT, replace(DRAFT, key="2", contact_ids=("1042", "1041"))])
    rep = Actor(user_id=16219013)
    acme.crm.company.add_activity(rep, person_id=1041, note="Anrufen")
    acme.calls.clear()

    assert [task.crm_id for task in session.find_tasks(["1041"])] == ["5101"]
    assert [call.query["person_id"] for call in acme.calls] == ["1041"]


def test_a_marker_is_found_in_what_a_rep_has_edited(acme: Company, session: Session) -> None:
    """Pipedrive's editor wraps lines into blocks."""
    session.create_tasks([DRAFT])
    note = f"<div>Angerufen</div><div><b>{MARKER}</b></div>"
    acme.crm.company.records["activities"][5101]["note"] = note

    assert [task.body for task in session.find_tasks(["1041"])] == [f"Angerufen\n{MARKER}"]


def test_a_task_is_done_and_opened_again(acme: Company, session: Session) -> None:
    """With the time at which it was done."""
    session.create_tasks([DRAFT])
    acme.later(hours=1)

    assert session.update_tasks([TaskUpdate(crm_id="5101", done=True)]) == ()
    done = session.read_tasks(["5101"])["5101"]
    assert session.update_tasks([TaskUpdate(crm_id="5101", done=False)]) == ()

    assert (done.done, done.done_at) == (True, acme.now)
    assert not session.read_tasks(["5101"])["5101"].done
    assert acme.bodies("PATCH") == [{"done": True}, {"done": False}]


def test_all_of_a_task_can_be_changed(acme: Company, session: Session) -> None:
    """In one call; a change of nothing is none."""
    session.create_tasks([DRAFT])
    update = TaskUpdate(crm_id="5101", subject="Neu", body="a\nb", due_at=NOON)

    assert session.update_tasks([update, TaskUpdate(crm_id="5101")]) == ()
    assert acme.bodies("PATCH") == [
        {"subject": "Neu", "note": "a<br>b", "due_date": "2026-09-14", "due_time": "12:00"}
    ]


def test_a_task_that_is_gone_is_said_to_be(acme: Company, session: Session) -> None:
    """Changing tells it, deleting does not mind."""
    session.create_tasks([DRAFT])
    session.delete_tasks(["5101"])
    session.delete_tasks(["5101"])

    (failure,) = session.update_tasks([TaskUpdate(crm_id="5101", done=True)])
    assert (failure.item, failure.gone) == ("5101", True)
    assert session.read_tasks(["5101"]) == {}


# ----------------------------------------------------------------------------- writing


def test_values_go_out_as_the_api_wants_them(acme: Company, session: Session) -> None:
    """Options as numbers, numbers as numbers, nothing as null."""
    update = FieldUpdate(
        contact_id="1041",
        values={
            "spiral_stage": "loyalty", "spiral_stage_since": "2026-09-13",
            "spiral_referrals_given": "3", "spiral_referral_value": "1000.50",
            "spiral_explanation": "", "spiral_contact_consent": "phone;email",
            "spiral_referrer": "Otto Muster (1042)",
        },
    )  # fmt: skip

    assert session.write_fields([update]) == ()

    option = acme.facts
    assert acme.bodies("PATCH /api/v2/persons/1041") == [
        {
            "custom_fields": {
                acme.code("spiral_stage"): int(option["option:spiral_stage:loyalty"]),
                acme.code("spiral_stage_since"): "2026-09-13",
                acme.code("spiral_referrals_given"): 3,
                acme.code("spiral_referral_value"): 1000.5,
                acme.code("spiral_explanation"): None,
                acme.code("spiral_contact_consent"): [
                    int(option["option:spiral_contact_consent:phone"]),
                    int(option["option:spiral_contact_consent:email"]),
                ],
            }
        }
    ]
    assert acme.cost == 5


PATCH = "PATCH /api/v2/persons/1041"
SEVERAL = {"spiral_stage": "loyalty", "spiral_referrals_given": "3", "spiral_advocate_tier": "none"}


def test_a_field_that_is_gone_does_not_stop_the_others(
    acme: Company, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    """Found out once, and not written any more; the log says which."""
    acme.crm.take_field_away("spiral_advocate_tier")
    updates = [FieldUpdate(contact_id=one, values=SEVERAL) for one in ("1041", "1042")]

    assert session.write_fields(updates) == ()
    assert session.write_fields(updates[:1]) == ()

    assert acme.crm.value("1042", "spiral_stage") == "loyalty"
    assert acme.asked == [PATCH, "GET /api/v2/personFields", PATCH, PATCH[:-1] + "2", PATCH]
    assert "spiral_advocate_tier" in caplog.text


def test_an_option_that_is_gone_does_not_stop_the_other_fields(
    acme: Company, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor do others' values of that field suffer."""
    option = int(acme.facts["option:spiral_stage:loyalty"])
    del acme.crm.company.fields[acme.code("spiral_stage")].options[option]
    other = {**SEVERAL, "spiral_stage": "negative"}

    updates = [
        FieldUpdate(contact_id=one, values=values)
        for one, values in (("1041", SEVERAL), ("1042", other))
    ]
    assert session.write_fields(updates) == ()

    assert acme.crm.value("1041", "spiral_referrals_given") == "3"
    assert acme.crm.value("1042", "spiral_stage") == "negative"
    assert caplog.messages == ["spiral_stage has lost an option in Pipedrive: install again"]


def test_an_option_that_was_never_there_is_left_out(acme: Company) -> None:
    """Until the fields are installed again."""
    acme.install()
    del acme.facts["option:spiral_stage:loyalty"]

    assert acme.session().write_fields([FieldUpdate(contact_id="1041", values=SEVERAL)]) == ()
    assert acme.crm.value("1041", "spiral_referrals_given") == "3"


def test_a_link_field_that_is_gone_is_written_no_more(acme: Company, session: Session) -> None:
    """Nobody is linked, and nobody is parked for it."""
    acme.crm.take_field_away("spiral_referrer")
    update = LinkUpdate(contact_id="1041", referrer_id="1042")

    assert [session.link_referrers([update]) for _ in range(2)] == [(), ()]
    assert acme.asked == [PATCH, "GET /api/v2/personFields"]


def test_what_is_refused_for_another_reason_fails_that_contact(
    acme: Company, session: Session
) -> None:
    """The list of fields is read once an hour at most."""
    acme.replies = [Reply(on="PATCH", status=400), Reply(on="PATCH", status=400)]
    update = FieldUpdate(contact_id="1041", values=SEVERAL)

    for _ in range(2):
        (failure,) = session.write_fields([update])
        assert failure.item == "1041"
    assert acme.asked == [PATCH, "GET /api/v2/personFields", PATCH]


def test_foreign_fields_are_never_written(acme: Company, session: Session) -> None:
    """Not even by mistake."""
    with pytest.raises(ValueError, match="not fields of ours"):
        session.write_fields([FieldUpdate(contact_id="1041", values={"email": "x"})])
    assert acme.asked == []


def test_a_contact_that_is_gone_fails_alone(acme: Company, session: Session) -> None:
    """The next one is written."""
    values = {"spiral_stage": "loyalty"}
    failures = session.write_fields(
        [FieldUpdate(contact_id=one, values=values) for one in ("999", "1041")]
    )

    assert [(failure.item, failure.gone) for failure in failures] == [("999", True)]
    assert acme.crm.value("1041", "spiral_stage") == "loyalty"


def test_a_referrer_is_linked_and_taken_away(acme: Company, session: Session) -> None:
    """A field that leads to one person."""
    session.link_referrers([LinkUpdate(contact_id="1041", referrer_id="1042", remove=("7",))])
    linked = acme.crm.referrer("1041")
    session.link_referrers([LinkUpdate(contact_id="1041", referrer_id=None, remove=("1042",))])

    assert (linked, acme.crm.referrer("1041")) == ("1042", None)
    code = acme.code("spiral_referrer")
    assert acme.bodies("PATCH") == [
        {"custom_fields": {code: 1042}}, {"custom_fields": {code: None}}
    ]  # fmt: skip


def test_without_the_field_nobody_is_linked(acme: Company) -> None:
    """Nothing is asked, either."""
    update = LinkUpdate(contact_id="1041", referrer_id="1042")

    assert acme.session().link_referrers([update]) == ()
    assert acme.asked == []
