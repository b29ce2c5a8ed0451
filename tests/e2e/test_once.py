"""Every task exactly once per cause, whatever the line, the CRM or a rep does in between; and
nothing is written where nothing differs."""

from __future__ import annotations

from collections import Counter
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from plugin.sandbox.portal import CONTACTS
from plugin.storage.tables import task
from tests.e2e.plant import Plant

CREATE = "tasks/batch/create"
UPDATE = "tasks/batch/update"


@pytest.fixture
def anna(plant: Plant) -> str:
    """A contact who was there before."""
    contact_id = plant.contact("Anna", "Sommer", email="anna.sommer@example.com")
    plant.settle()
    return contact_id


def the_task(plant: Plant) -> str:
    """The id of the only task there is."""
    (task_id,) = plant.task_records()
    return task_id


def body_of(plant: Plant, task_id: str) -> str:
    return plant.task_records()[task_id].value("hs_task_body") or ""


def copy_of(plant: Plant, task_id: str) -> str:
    """The same task once more, as it appears when a lost call arrives late."""
    record = plant.task_records()[task_id]
    names = ("hs_task_subject", "hs_task_body", "hs_timestamp")
    with plant.crm.lock:
        on = [one.id for one, _ in plant.crm.linked(record, CONTACTS)]
        properties = {name: record.values[name] for name in names}
    made: str = plant.ui("POST", "tasks", properties=properties, contacts=on)["id"]
    return made


def finish(plant: Plant, task_id: str) -> None:
    """A rep completes this task."""
    plant.ui("POST", f"tasks/{task_id}/complete")


def write_note(plant: Plant, task_id: str, note: str) -> None:
    """A rep writes something above our words."""
    body = f"<p>{note}</p>{body_of(plant, task_id)}"
    plant.ui("PATCH", f"tasks/{task_id}", properties={"hs_task_body": body})


def known(plant: Plant) -> list[tuple[str, ...]]:
    """(kind, state) of the tasks as the plugin has them in its books."""
    return sorted(plant.rows("SELECT kind, state FROM task"))


def calls_since(plant: Plant, before: Counter[str]) -> dict[str, int]:
    """API calls by the last words of their path."""
    return {
        name.split("2026-09/")[1]: number for name, number in (plant.crm.calls - before).items()
    }


def look_again(plant: Plant, contact_id: str) -> None:
    """Something about the contact changes that decides nothing."""
    plant.change(contact_id, city=f"Ort {plant.present().timestamp()}")
    plant.settle()


def come_to_a_soft_ask(plant: Plant, contact_id: str, *, settled: bool = True) -> None:
    """Satisfied, and wanting more: the first suitable moment to ask."""
    plant.change(contact_id, spiral_origin="web_search")
    plant.bought(contact_id)
    plant.rate(contact_id, "satisfied")
    plant.travel(days=20)
    plant.lose(plant.deal(contact_id, name="Terrasse"))
    plant.settle()
    if not settled:
        return
    assert plant.open_tasks(contact_id) == ["ask_referral_soft"]
    assert plant.fields(contact_id, "readiness") == {"readiness": "first_moment"}


def come_to_an_ask(plant: Plant, contact_id: str) -> None:
    """Delighted twice: enthusiasm."""
    plant.rate(contact_id, "delighted")
    plant.travel(days=1)
    today = plant.present().astimezone(ZoneInfo(plant.crm.portal.time_zone)).date()
    plant.change(contact_id, spiral_rated_on=today.isoformat())


def hinder(plant: Plant, path: str) -> None:
    """The next call of this kind is refused for now, and nothing is done."""
    plant.fault(status=429, path=path)


def break_off(plant: Plant, path: str) -> None:
    """The next call of this kind is carried out, but its answer is lost."""
    plant.fault(drop=True, path=path)
    hinder(plant, path)  # its repetition


# ------------------------------------------------------------------- no answer to a creation


def test_a_task_whose_creation_got_no_answer_is_found_and_not_made_again(
    plant: Plant, anna: str
) -> None:
    """The call was carried out and its answer lost: the task is known by its marker."""
    plant.bought(anna)
    plant.fault(drop=True, path=CREATE)
    plant.settle()
    assert known(plant) == [("ask_origin", "sending")]

    before = plant.crm.calls.copy()
    plant.wait(minutes=1)
    plant.settle()

    assert plant.tasks() == [("ask_origin", "open")]
    assert known(plant) == [("ask_origin", "open")]
    calls = calls_since(plant, before)
    assert (calls.get("tasks/batch/create"), calls["contacts/tasks/batch/read"]) == (None, 1)


def test_a_task_that_was_never_made_is_looked_for_and_then_made(plant: Plant, anna: str) -> None:
    """The call failed before it did anything: first a look, then the same task, once."""
    plant.bought(anna)
    plant.fault(status=503, path=CREATE)
    plant.settle()
    assert (plant.tasks(), known(plant)) == ([], [("ask_origin", "sending")])

    before = plant.crm.calls.copy()
    plant.wait(minutes=1)
    plant.settle()

    assert plant.tasks() == [("ask_origin", "open")]
    calls = calls_since(plant, before)
    assert (calls["tasks/batch/create"], calls["contacts/tasks/batch/read"]) == (1, 1)


def test_a_double_that_shows_up_later_is_removed(plant: Plant, anna: str) -> None:
    """Made again because it could not be found, and then the first one appears after all."""
    plant.bought(anna)
    plant.fault(status=503, path=CREATE)
    plant.settle()
    plant.wait(minutes=1)
    plant.settle()
    ours = the_task(plant)

    copy_of(plant, ours)
    look_again(plant, anna)

    assert list(plant.task_records()) == [ours]
    assert known(plant) == [("ask_origin", "open")]


def test_of_two_the_one_a_rep_completed_is_kept(plant: Plant, anna: str) -> None:
    """Work that a person did is never thrown away: the done one counts, the other goes."""
    plant.fault(status=503, path=CREATE)
    come_to_a_soft_ask(plant, anna, settled=False)
    plant.wait(minutes=1)
    plant.settle()
    double = copy_of(plant, the_task(plant))
    finish(plant, double)
    look_again(plant, anna)

    assert list(plant.task_records()) == [double]
    assert known(plant) == [("ask_referral_soft", "done")]
    assert plant.fields(anna, "readiness") == {"readiness": "cooling_down"}


def test_of_two_the_one_a_rep_left_is_kept(plant: Plant, anna: str) -> None:
    """A rep who sees two and deletes one has deleted the double, not the task."""
    plant.bought(anna)
    plant.fault(drop=True, path=CREATE)
    plant.settle()
    plant.wait(minutes=1)
    plant.settle()
    ours = the_task(plant)
    double = copy_of(plant, ours)
    plant.delete(ours, "tasks")
    look_again(plant, anna)

    assert (list(plant.task_records()), known(plant)) == ([double], [("ask_origin", "open")])


@pytest.mark.parametrize("state", ["done", "deleted"])
def test_the_double_of_a_task_that_is_over_is_removed(plant: Plant, anna: str, state: str) -> None:
    """What a rep has completed or deleted does not come back by a call that was lost."""
    plant.bought(anna)
    plant.fault(status=503, path=CREATE)
    plant.settle()
    plant.wait(minutes=1)
    plant.settle()
    ours = the_task(plant)
    late = copy_of(plant, ours)
    plant.delete(late, "tasks")
    if state == "done":
        finish(plant, ours)
    else:
        plant.delete(ours, "tasks")
    look_again(plant, anna)
    assert known(plant) == [("ask_origin", state)]

    plant.restore(late, "tasks")
    look_again(plant, anna)

    assert late not in plant.task_records()
    assert known(plant) == [("ask_origin", state)]


def test_doubles_are_looked_for_by_the_hourly_reading_too(plant: Plant, anna: str) -> None:
    """Even if nothing is heard of the contact any more."""
    plant.bought(anna)
    plant.fault(drop=True, path=CREATE)
    plant.settle()
    plant.wait(minutes=1)
    plant.settle()
    ours = the_task(plant)
    copy_of(plant, ours)

    plant.wait(hours=1.1)
    plant.settle()

    assert list(plant.task_records()) == [ours]


def test_a_task_withdrawn_before_its_answer_came_is_closed_when_it_shows_up(
    plant: Plant, anna: str
) -> None:
    """Nobody is left with a task whose reason had gone before it could be found."""
    plant.bought(anna)
    plant.fault(drop=True, path=CREATE)
    plant.settle()
    hidden = the_task(plant)
    plant.delete(hidden, "tasks")  # not visible yet
    plant.change(anna, spiral_origin="web_search")
    plant.wait(minutes=1)
    plant.settle()
    assert known(plant) == [("ask_origin", "withdrawn")]

    plant.restore(hidden, "tasks")
    look_again(plant, anna)

    assert plant.tasks() == [("ask_origin", "done")]
    assert known(plant) == [("ask_origin", "withdrawn")]


def test_a_refusal_does_not_end_the_doubt_about_an_earlier_call(plant: Plant, anna: str) -> None:
    """Looked for, not found and made again, which the CRM refused for now: the first one may turn
    up all the same, and is closed then."""
    plant.bought(anna)
    plant.fault(drop=True, path=CREATE)
    plant.settle()
    hidden = the_task(plant)
    plant.delete(hidden, "tasks")  # not visible yet
    hinder(plant, CREATE)
    plant.wait(minutes=1)
    plant.settle()
    assert known(plant) == [("ask_origin", "sending")]
    plant.change(anna, spiral_origin="web_search")
    plant.wait(minutes=1)
    plant.settle()
    look_again(plant, anna)

    plant.restore(hidden, "tasks")
    look_again(plant, anna)

    assert plant.tasks() == [("ask_origin", "done")]
    assert known(plant) == [("ask_origin", "withdrawn")]


@pytest.mark.parametrize("state", ["sending", "withdrawing"])
def test_what_was_sent_while_the_clock_was_a_year_ahead_is_looked_for_at_once(
    plant: Plant, anna: str, state: str
) -> None:
    """Not in a year."""
    plant.bought(anna)
    plant.fault(drop=True, path=CREATE)
    plant.settle()
    with plant.parts.database.write() as connection:
        connection.execute(
            sa.update(task).values(
                state=state,
                reason="no_longer_wanted",
                sent_at=plant.now_ms() + 365 * 24 * 3_600_000,
            )
        )
    plant.wait(minutes=1)
    look_again(plant, anna)

    assert plant.tasks() == [("ask_origin", "open")]
    assert known(plant) == [("ask_origin", "open")]


def test_a_reason_that_comes_back_before_the_answer_did_makes_no_second_task(
    plant: Plant, anna: str
) -> None:
    """Withdrawn and wanted again while nobody knows whether it exists: it is looked for first."""
    plant.bought(anna)
    plant.fault(drop=True, path=CREATE)
    plant.settle()
    with plant.parts.database.write() as connection:  # as a reconcile in between would
        connection.exec_driver_sql(
            "UPDATE task SET state = 'withdrawing', reason = 'no_longer_wanted'"
        )
    plant.wait(minutes=1)
    look_again(plant, anna)

    assert plant.tasks() == [("ask_origin", "open")]
    assert known(plant) == [("ask_origin", "open")]


# ---------------------------------------------------------------------- what reps have done


def test_what_a_rep_has_done_is_not_made_again(plant: Plant, anna: str) -> None:
    """Done is done, although its reason is still there."""
    plant.bought(anna)
    plant.settle()
    plant.complete("ask_origin", anna)
    look_again(plant, anna)
    plant.wait(hours=2)
    plant.settle()
    look_again(plant, anna)

    assert plant.tasks() == [("ask_origin", "done")]
    assert known(plant) == [("ask_origin", "done")]


def test_what_a_rep_has_deleted_is_not_made_again(plant: Plant, anna: str) -> None:
    """Whoever deletes a task does not want it."""
    plant.bought(anna)
    plant.settle()
    plant.delete(the_task(plant), "tasks")
    look_again(plant, anna)
    plant.change(anna, spiral_origin="press")
    plant.settle()
    plant.change(anna, spiral_origin="")
    plant.settle()

    assert plant.tasks() == []
    assert known(plant) == [("ask_origin", "deleted")]


def test_a_withdrawn_task_is_reopened_when_its_reason_comes_back(plant: Plant, anna: str) -> None:
    """The same task once more, without the words that took it back."""
    plant.bought(anna)
    plant.settle()
    task_id = the_task(plant)
    as_made = body_of(plant, task_id)
    for _ in range(2):
        plant.change(anna, spiral_origin="press")
        plant.settle()
        assert plant.tasks() == [("ask_origin", "done")]
        assert known(plant) == [("ask_origin", "withdrawn")]
        assert body_of(plant, task_id).count("Zurückgezogen") == 1

        plant.change(anna, spiral_origin="")
        plant.settle()
        assert plant.tasks() == [("ask_origin", "open")]
        assert known(plant) == [("ask_origin", "open")]
        assert body_of(plant, task_id) == as_made

    assert list(plant.task_records()) == [task_id]


def test_a_rep_who_is_quicker_than_the_withdrawal_has_done_it(plant: Plant, anna: str) -> None:
    """Completed by a person after the decision and before the call: the ask was made, so the
    higher one that was to replace it goes as well."""
    come_to_a_soft_ask(plant, anna)
    come_to_an_ask(plant, anna)
    hinder(plant, UPDATE)
    plant.settle()
    assert known(plant) == [("ask_referral", "open"), ("ask_referral_soft", "withdrawing")]

    plant.complete("ask_referral_soft", anna)
    plant.wait(minutes=1)
    plant.settle()

    assert known(plant) == [("ask_referral", "withdrawn"), ("ask_referral_soft", "done")]
    assert plant.fields(anna, "readiness") == {"readiness": "cooling_down"}


def test_a_rep_who_is_quicker_than_a_second_withdrawal_has_done_it_too(
    plant: Plant, anna: str
) -> None:
    """That a task was withdrawn once before does not make a person's work ours."""
    plant.bought(anna)
    plant.settle()
    for origin in ("press", ""):
        plant.change(anna, spiral_origin=origin)
        plant.settle()
    hinder(plant, UPDATE)
    plant.change(anna, spiral_origin="press")
    plant.settle()
    assert known(plant) == [("ask_origin", "withdrawing")]

    plant.complete("ask_origin", anna)
    plant.wait(minutes=1)
    plant.settle()

    assert known(plant) == [("ask_origin", "done")]


def test_a_rep_who_completes_what_is_just_being_reopened_has_done_it(
    plant: Plant, anna: str
) -> None:
    """The reopening got no answer, a rep completed the task: it is not opened a second time."""
    plant.bought(anna)
    plant.settle()
    plant.change(anna, spiral_origin="press")
    plant.settle()
    break_off(plant, UPDATE)
    plant.change(anna, spiral_origin="")
    plant.settle()
    assert known(plant) == [("ask_origin", "reopening")]

    plant.complete("ask_origin", anna)
    plant.wait(minutes=1)
    plant.settle()

    assert (plant.tasks(), known(plant)) == ([("ask_origin", "done")], [("ask_origin", "done")])


def test_withdrawing_an_ask_never_counts_as_asking(plant: Plant, anna: str) -> None:
    """The plugin completing its own task is not a rep having asked, not even if the plugin dies
    between the call and its note of it."""
    come_to_a_soft_ask(plant, anna)
    break_off(plant, UPDATE)
    plant.change(anna, spiral_do_not_ask="true")
    plant.settle()
    assert (plant.tasks(), known(plant)) == (
        [("ask_referral_soft", "done")],
        [("ask_referral_soft", "withdrawing")],
    )
    plant.wait(minutes=1)
    plant.settle()
    assert known(plant) == [("ask_referral_soft", "withdrawn")]

    plant.change(anna, spiral_do_not_ask="")
    plant.settle()

    assert plant.fields(anna, "readiness") == {"readiness": "first_moment"}
    assert plant.tasks() == [("ask_referral_soft", "open")]


def test_what_a_rep_wrote_into_a_task_survives_its_withdrawal(plant: Plant, anna: str) -> None:
    """Ours is only the line that says why it was taken back."""
    plant.bought(anna)
    plant.settle()
    task_id = the_task(plant)
    write_note(plant, task_id, "Am Telefon: erst im Herbst fragen &amp; nichts schicken")
    plant.change(anna, spiral_origin="press")
    plant.settle()

    body = body_of(plant, task_id)
    assert body.startswith("Am Telefon: erst im Herbst fragen &amp; nichts schicken")
    assert "Zurückgezogen" in body
    plant.change(anna, spiral_origin="")
    plant.settle()
    body = body_of(plant, task_id)
    assert body.startswith("Am Telefon: erst im Herbst fragen &amp; nichts schicken")
    assert "Zurückgezogen" not in body


# ------------------------------------------------------------------- nothing that need not be


WRITES = ("batch/create", "batch/update", "batch/archive", "labels/archive")


def test_a_contact_that_is_as_it_should_be_costs_no_write(plant: Plant, anna: str) -> None:
    """Looked at again, with its fields, links and tasks as they should be: only read."""
    bernd = plant.contact("Bernd", "Keller", spiral_referrer_name="anna.sommer@example.com")
    plant.bought(bernd)
    plant.settle()

    before = plant.crm.calls.copy()
    for contact_id in (anna, bernd):
        plant.change(contact_id, city="Rosenheim")
    plant.settle()

    calls = calls_since(plant, before)
    assert calls["contacts/batch/read"] == 1
    assert [name for name in calls if name.endswith(WRITES)] == []


def field_calls(calls: dict[str, int]) -> int:
    """Calls that are not about tasks."""
    return sum(number for name, number in calls.items() if "tasks" not in name)


def test_a_hundred_contacts_cost_at_most_eight_calls(plant: Plant) -> None:
    """To read and write the fields of 100 dirty contacts with a deal and a referrer each, both
    when they are first seen, with their history, and later. Tasks come on top."""
    anna = plant.contact("Anna", "Sommer", email="anna.sommer@example.com")
    plant.settle()
    plant.steer("webhooks/hold")
    guests = [plant.contact("Gast", f"Nummer{n}", spiral_origin="event") for n in range(100)]
    for one in guests:
        plant.bought(one)
    plant.steer("webhooks/release")
    before = plant.crm.calls.copy()
    plant.settle()
    assert field_calls(calls_since(plant, before)) <= 8
    assert [plant.stage(one) for one in guests] == ["experience"] * 100

    for one in guests:
        plant.change(one, spiral_referrer_name="anna.sommer@example.com")
    plant.settle()
    assert plant.fields(anna, "referrals_won") == {"referrals_won": "100"}

    plant.steer("webhooks/hold")
    for one in guests:
        plant.change(one, spiral_rating="satisfied")
    plant.steer("webhooks/release")
    before = plant.crm.calls.copy()
    plant.settle()
    assert field_calls(calls_since(plant, before)) <= 8
    assert [plant.stage(one) for one in guests] == ["satisfaction"] * 100


def echo(plant: Plant, contact_id: str, **source: str) -> list[dict[str, object]]:
    """Events of all the fields on a contact, as if the app had subscribed to each."""
    record = plant.record(contact_id)
    return [
        {
            "subscriptionType": "object.propertyChange",
            "objectTypeId": "0-1",
            "objectId": int(contact_id),
            "propertyName": name,
            "propertyValue": value,
            **source,
        }
        for name, value in sorted(record.values.items())
        if name.startswith("spiral_")
    ]


def test_our_own_echo_dies_out(plant: Plant, anna: str) -> None:
    """What we wrote comes back as an event and causes nothing; where the CRM does not say who
    wrote it, it is read once and causes nothing either. Then there is silence."""
    plant.change(anna, spiral_origin="web_search")
    plant.bought(anna)
    plant.settle()
    before = plant.crm.calls.copy()

    ours = {"changeSource": "INTEGRATION", "sourceId": str(plant.crm.portal.app_id)}
    plant.tell(*echo(plant, anna, **ours))
    plant.settle()
    assert calls_since(plant, before) == {}

    plant.tell(*echo(plant, anna))
    plant.settle()
    calls = calls_since(plant, before)
    assert calls["contacts/batch/read"] == 1
    assert [name for name in calls if name.endswith(WRITES)] == []

    before, events = plant.crm.calls.copy(), plant.crm.outbox.status()["events"]
    plant.settle()
    assert calls_since(plant, before) == {}
    assert plant.crm.outbox.status()["events"] == events


# ---------------------------------------------------------------------------- shared deals


def test_two_contacts_of_one_deal_tell_its_outcome_once(plant: Plant, anna: str) -> None:
    """Whoever of them is said to be sent by the referrer later takes no second task along."""
    bernd = plant.contact("Bernd", "Keller", spiral_origin="other")
    carla = plant.contact("Carla", "Winter", spiral_origin="other")
    plant.win(plant.deal(bernd, carla))
    plant.settle()
    for contact_id in (carla, bernd):
        plant.change(contact_id, spiral_referrer_name="anna.sommer@example.com")
        plant.settle()
        assert [one for one in plant.open_tasks(anna) if one == "tell_outcome"] == ["tell_outcome"]


def test_the_task_about_a_deal_moves_on_when_its_contact_leaves(plant: Plant, anna: str) -> None:
    """It is always about a contact that is there, and always once."""
    bernd = plant.contact("Bernd", "Keller")
    plant.win(plant.deal(anna, bernd))
    plant.settle()
    assert (plant.open_tasks(anna), plant.open_tasks(bernd)) == (["ask_origin"], [])

    plant.delete(anna)
    plant.settle()

    assert plant.open_tasks() == ["ask_origin"]
    assert plant.open_tasks(bernd) == ["ask_origin"]


def test_a_task_the_crm_does_not_close_is_named_and_closed_at_the_next_look(plant: Plant) -> None:
    """It is not taken for withdrawn: `status` says so, and the next change tries again."""
    anna = plant.contact("Anna", "Sommer")
    plant.bought(anna)
    plant.rate(anna, "angry")
    plant.settle()
    assert "repair" in plant.open_tasks(anna)

    plant.fault(status=400, path="tasks/batch/update")
    plant.rate(anna, "satisfied")
    plant.settle()
    assert "repair" in plant.open_tasks(anna)
    assert "refused     task repair" in plant.call("status").stdout

    plant.change(anna, city="Rosenheim")
    plant.settle()
    assert "repair" not in plant.open_tasks(anna)


def test_uninstalling_keeps_the_fields_while_a_task_cannot_be_closed(plant: Plant) -> None:
    """No open task is left behind for the reps in silence."""
    anna = plant.contact("Anna", "Sommer")
    plant.bought(anna)
    plant.settle()

    plant.fault(status=400, path="tasks/batch/update")
    refused = plant.call("uninstall", "hubspot")
    assert (refused.returncode, plant.open_tasks(anna)) == (1, ["ask_origin"])
    assert "could not be closed" in refused.stderr
    assert plant.stage(anna) == "experience"

    assert plant.call("uninstall", "hubspot").returncode == 0
    assert plant.open_tasks(anna) == []


def test_uninstalling_keeps_the_fields_while_nobody_knows_whether_a_task_is_there(
    plant: Plant, anna: str
) -> None:
    """Its making had no answer: it is looked for as soon as the CRM must have it."""
    plant.bought(anna)
    plant.fault(drop=True, path=CREATE)
    plant.settle()

    early = plant.call("uninstall", "hubspot")
    assert (early.returncode, plant.open_tasks(anna)) == (1, ["ask_origin"])
    assert "not known yet whether it was made" in early.stderr

    plant.wait(minutes=1)
    assert plant.call("uninstall", "hubspot").returncode == 0
    assert plant.open_tasks(anna) == []
