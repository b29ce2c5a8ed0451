"""Tasks are made once, found again, and only our own are touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from plugin.errors import CrmError, CrmRateLimited, CrmUnauthorized, CrmUnavailable
from plugin.ports import CreatedTasks, CrmTask, Failure, Session, TaskDraft, TaskUpdate
from tests.conformance.account import DUE_ON, Account, draft
from tests.conformance.promise import Promise
from tests.stand_in import Fault

NO_TASKS = ("no-such-task", "../users", "")
"""Ids that no task has."""


class TestTasks(Promise):
    @pytest.fixture
    def session(self, account: Account) -> Session:
        return account.install()

    @pytest.fixture
    def contact(self, account: Account) -> str:
        return account.crm.contact("Erika", "Muster")

    def test_a_task_is_made_as_it_was_meant(
        self, account: Account, session: Session, contact: str
    ) -> None:
        """Subject, words, day, owner, contact: as people see it, and as it is read back."""
        wanted = draft("k1", contact, owner_id=account.crm.owner_id)

        created = session.create_tasks([wanted])

        (seen,) = account.crm.tasks()
        read = session.read_tasks([seen.crm_id])[seen.crm_id]
        assert (created.crm_ids, created.failures) == ({"k1": seen.crm_id}, ())
        assert (seen.subject, _lines(seen.body)) == (wanted.subject, _lines(wanted.body))
        assert (seen.contact_ids, seen.owner_id) == ((contact,), account.crm.owner_id)
        assert (seen.due_on, seen.done) == (DUE_ON, False)
        assert (read.crm_id, read.subject, read.done) == (seen.crm_id, wanted.subject, False)
        assert _lines(read.body) == _lines(wanted.body)
        assert read.done_at is None
        assert read.created_at is None or (
            abs(read.created_at - account.crm.clock()) < timedelta(minutes=1)
        )

    def test_several_tasks_are_made_at_once(
        self, account: Account, session: Session, contact: str
    ) -> None:
        """Of several contacts, about several and about a deal; each id belongs to its key."""
        other = account.crm.contact("Otto", "Beispiel")
        deal = account.crm.deal(contact)
        drafts = [
            draft("k1", contact, deal_id=deal),
            draft("k2", contact, other),
            draft("k3", other, owner_id=account.crm.other_owner_id),
        ]

        created = session.create_tasks(drafts)

        seen = {one.crm_id: one for one in account.crm.tasks()}
        by_key = {key: seen[crm_id] for key, crm_id in created.crm_ids.items()}
        assert created.failures == ()
        assert len(seen) == 3
        assert {key: one.subject for key, one in by_key.items()} == {
            one.key: one.subject for one in drafts
        }
        assert [contact in by_key[key].contact_ids for key in ("k1", "k2", "k3")] == [
            True, True, False,
        ]  # fmt: skip
        assert other in by_key["k3"].contact_ids
        assert by_key["k3"].owner_id == account.crm.other_owner_id
        assert session.create_tasks([]).crm_ids == {}

    def test_a_lost_answer_makes_no_second_task(
        self, account: Account, session: Session, contact: str
    ) -> None:
        """It is sent once; nobody knows what became of it, so it is looked for and found."""
        account.crm.faults.append(Fault(on="^POST ", lost=True))

        created = _created(session, [draft("k1", contact, owner_id=account.crm.owner_id)])
        found = session.find_tasks([contact])

        assert created.unknown == {"k1"}
        assert created.crm_ids == {}
        assert isinstance(created.stopped, CrmUnavailable)
        (seen,) = account.crm.tasks()
        assert [one.crm_id for one in found] == [seen.crm_id]
        assert draft("k1", contact).marker in found[0].body

    @pytest.mark.parametrize("keys", [("k1",), ("k1", "k2")], ids=["one", "two"])
    def test_an_odd_answer_makes_no_second_task(
        self, account: Account, session: Session, contact: str, keys: Sequence[str]
    ) -> None:
        """What was made is not refused because the CRM told it oddly: it is looked for."""
        owner = account.crm.owner_id
        account.crm.faults.append(Fault(on="^POST ", odd=True, times=9))

        created = _created(session, [draft(key, contact, owner_id=owner) for key in keys])
        account.crm.faults.clear()
        found = session.find_tasks([contact])

        assert created.failures == ()
        seen = {one.subject: one.crm_id for one in account.crm.tasks()}
        made = {key for key in keys if draft(key).subject in seen}
        assert made
        assert made <= created.unknown | created.crm_ids.keys()
        assert sorted(one.crm_id for one in found) == sorted(seen.values())
        assert len(account.crm.tasks()) == len(seen)

    def test_a_request_that_never_arrived_is_made_up_for(
        self, account: Account, session: Session, contact: str
    ) -> None:
        """Looked for and not found, it is created again: then there is one."""
        account.crm.faults.append(Fault(on="^POST ", status=503, times=9))

        first = _created(session, [draft("k1", contact, owner_id=account.crm.owner_id)])
        sent = [call for call in account.crm.calls if call.method == "POST" and call.status == 503]
        account.crm.faults.clear()
        found = session.find_tasks([contact])
        created = session.create_tasks([draft("k1", contact)])

        assert first.unknown == {"k1"}
        assert first.crm_ids == {}
        assert len(sent) == 1
        assert found == ()
        assert [one.crm_id for one in account.crm.tasks()] == list(created.crm_ids.values())

    @pytest.mark.parametrize(
        ("fault", "error", "is_unknown"),
        [
            (Fault(on="^POST ", lost=True), CrmUnavailable, True),
            (Fault(on="^POST ", status=503), CrmUnavailable, True),
            (Fault(on="^POST ", status=429), CrmRateLimited, False),
            (Fault(on="^POST ", status=401), CrmUnauthorized, False),
        ],
        ids=["lost", "503", "429", "401"],
    )
    def test_of_a_batch_that_stopped_every_task_is_accounted_for(
        self,
        account: Account,
        session: Session,
        contact: str,
        fault: Fault,
        error: type[CrmError],
        is_unknown: bool,
    ) -> None:
        """Made, unknown or not sent: whoever comes back makes each once. Where the CRM makes all of
        them by one call, all are unknown, or none was made."""
        owner = account.crm.owner_id
        drafts = [draft(key, contact, owner_id=owner) for key in ("k1", "k2", "k3")]
        account.crm.calls.clear()
        session.create_tasks([draft(key, contact, owner_id=owner) for key in ("x1", "x2")])
        one_by_one = sum(call.method == "POST" for call in account.crm.calls) > 1
        account.crm.faults.append(replace(fault, spared=int(one_by_one)))

        created = _created(session, drafts)

        sent = ["k1", "k2"] if one_by_one else ["k1", "k2", "k3"]
        made = sent[:1] if one_by_one else []
        unknown = set(sent) - set(made) if is_unknown else set()
        assert type(created.stopped) is error
        assert set(created.crm_ids) == set(made)
        assert created.unknown == unknown
        assert created.failures == ()
        there = {one.subject: one.crm_id for one in account.crm.tasks()}
        assert {key: there[draft(key).subject] for key in made} == created.crm_ids
        left = [one for one in drafts if draft(one.key).subject not in there]
        assert [one.key for one in left] == (
            [key for key in ("k1", "k2", "k3") if key not in (sent if fault.lost else made)]
        )
        session.create_tasks(left)
        assert sorted(one.subject for one in account.crm.tasks()) == sorted(
            draft(key).subject for key in ("x1", "x2", "k1", "k2", "k3")
        )

    def test_a_refused_task_does_not_spoil_the_others(
        self, account: Account, session: Session, contact: str
    ) -> None:
        """Every key comes back once, made or refused; what is made is there."""
        gone = account.crm.contact("Otto", "Fort")
        account.crm.delete(gone)
        drafts = [draft("k1", contact), draft("k2", gone), draft("k3", contact)]

        created = session.create_tasks(drafts)

        refused = [failure.item for failure in created.failures]
        assert sorted([*created.crm_ids, *refused]) == ["k1", "k2", "k3"]
        assert set(refused) <= {"k2"}
        assert {one.crm_id for one in account.crm.tasks()} == set(created.crm_ids.values())

    # ------------------------------------------------------------------------ reading back

    def test_what_a_rep_did_is_read(self, account: Account, session: Session, contact: str) -> None:
        """Completed, with the day; deleted ones are absent, and no id is a fault."""
        ids = session.create_tasks([draft(k, contact) for k in ("k1", "k2", "k3")]).crm_ids
        account.later()
        account.crm.complete(ids["k1"])
        session.delete_tasks([ids["k2"]])

        read = session.read_tasks([*ids.values(), *NO_TASKS])

        assert read.keys() == {ids["k1"], ids["k3"]}
        assert [read[ids["k1"]].done, read[ids["k3"]].done] == [True, False]
        done_at = read[ids["k1"]].done_at
        assert done_at is not None
        assert abs(done_at - account.crm.clock()) < timedelta(days=1)
        assert session.read_tasks([]) == {}

    def test_a_task_tells_when_it_was_completed(
        self, account: Account, session: Session, contact: str
    ) -> None:
        """Neither when it was made nor when somebody looked; nor, where the CRM tells it by itself,
        when it was changed afterwards."""
        ids = session.create_tasks([draft("k1", contact)]).crm_ids
        now = datetime.now(UTC)
        with time_machine.travel(now + timedelta(days=3)) as traveller:
            completed = account.crm.clock()
            account.crm.complete(ids["k1"])
            found = []
            for hours, subject in ((1, ""), (49, "Neu gefasst"), (97, "")):
                traveller.move_to(completed + timedelta(hours=hours))
                if subject and account.crm.tells_completion:
                    session.update_tasks([TaskUpdate(crm_id=ids["k1"], subject=subject)])
                found.append(account.session().read_tasks([ids["k1"]])[ids["k1"]])

        assert [one.done for one in found] == [True] * 3
        assert [one.done_at for one in found if not _near(one.done_at, completed)] == []

    def test_tasks_are_found_by_their_marker(
        self, account: Account, session: Session, contact: str
    ) -> None:
        """On these contacts, done or not; not those of other contacts, nor those without a
        marker."""
        other = account.crm.contact("Otto", "Beispiel")
        ids = session.create_tasks(
            [draft("k1", contact), draft("k2", contact), draft("k3", other)]
        ).crm_ids
        foreign = draft("k4", contact, body="Von Hand gemacht", marker="")
        session.update_tasks([TaskUpdate(crm_id=ids["k2"], done=True)])
        # Where new tasks are only found again by their marker, we cannot make one without.
        if account.declaration.tells_task_ids:
            session.create_tasks([foreign])

        found = session.find_tasks([contact])

        assert {one.crm_id: (one.done, one.body.splitlines()[-1]) for one in found} == {
            ids["k1"]: (False, draft("k1").marker),
            ids["k2"]: (True, draft("k2").marker),
        }
        assert session.find_tasks([]) == ()
        assert session.find_tasks([account.crm.contact("Nie", "Gefragt")]) == ()

    def test_a_contact_that_is_gone_has_no_tasks(
        self, account: Account, session: Session, contact: str
    ) -> None:
        """Looking there is no fault, and the others' tasks are found all the same."""
        gone = account.crm.contact("Otto", "Fort")
        session.create_tasks([draft("k1", contact)])
        account.crm.delete(gone)

        assert len(session.find_tasks([gone, contact])) == 1

    # ---------------------------------------------------------------------------- changing

    def test_tasks_are_completed_and_reopened(
        self, account: Account, session: Session, contact: str
    ) -> None:
        """With a word in their text; what is not named stays, and other tasks do, too."""
        ids = session.create_tasks([draft("k1", contact), draft("k2", contact)]).crm_ids
        before = {one.crm_id: one for one in account.crm.tasks()}
        body = f"Hat sich erledigt.\n\n{draft('k1').marker}"
        account.later()

        closed = session.update_tasks([TaskUpdate(crm_id=ids["k1"], done=True, body=body)])
        after_closing = {one.crm_id: one for one in account.crm.tasks()}
        account.later()
        opened = session.update_tasks([TaskUpdate(crm_id=ids["k1"], done=False)])
        after_opening = {one.crm_id: one for one in account.crm.tasks()}

        assert (closed, opened) == ((), ())
        assert [after_closing[ids["k1"]].done, after_opening[ids["k1"]].done] == [True, False]
        assert _lines(after_opening[ids["k1"]].body) == _lines(body)
        assert after_opening[ids["k1"]].subject == draft("k1").subject
        assert after_opening[ids["k1"]].due_on == DUE_ON
        assert after_opening[ids["k1"]].contact_ids == before[ids["k1"]].contact_ids
        assert after_opening[ids["k2"]] == after_closing[ids["k2"]] == before[ids["k2"]]
        read = session.read_tasks([ids["k1"]])[ids["k1"]]
        assert (read.done, read.done_at) == (False, None)

    def test_subject_and_day_can_be_changed(
        self, account: Account, session: Session, contact: str
    ) -> None:
        """And nothing else changes with them; no change at all is no fault."""
        ids = session.create_tasks([draft("k1", contact)]).crm_ids
        moved = draft("k1").due_at + timedelta(days=3)

        failures = session.update_tasks(
            [TaskUpdate(crm_id=ids["k1"], subject="Neu gefasst", due_at=moved)]
        )

        (seen,) = account.crm.tasks()
        assert failures == ()
        assert (seen.subject, seen.due_on, seen.done) == ("Neu gefasst", "2026-09-21", False)
        assert _lines(seen.body) == _lines(draft("k1").body)
        assert session.update_tasks([TaskUpdate(crm_id=ids["k1"])]) == ()
        assert session.update_tasks([]) == ()

    def test_a_task_that_is_gone_is_said_to_be(
        self, account: Account, session: Session, contact: str
    ) -> None:
        """The others are changed all the same; deleting twice is no fault."""
        ids = session.create_tasks([draft("k1", contact), draft("k2", contact)]).crm_ids
        session.delete_tasks([ids["k1"]])

        failures = session.update_tasks(
            [TaskUpdate(crm_id=one, done=True) for one in (ids["k1"], ids["k2"])]
        )
        session.delete_tasks([ids["k1"]])
        session.delete_tasks([])

        (failure,) = failures
        assert failure == Failure(item=ids["k1"], reason=failure.reason, gone=True)
        assert [(one.crm_id, one.done) for one in account.crm.tasks()] == [(ids["k2"], True)]
        session.delete_tasks([ids["k1"], ids["k2"]])
        assert account.crm.tasks() == []

    def test_a_reading_is_a_whole_task(self, account: Account, session: Session) -> None:
        """Found and read by id it is the same."""
        contact = account.crm.contact("Erika", "Muster")
        ids = session.create_tasks([draft("k1", contact)]).crm_ids

        (found,) = session.find_tasks([contact])

        assert isinstance(found, CrmTask)
        assert session.read_tasks([ids["k1"]]) == {ids["k1"]: found}


def _near(at: datetime | None, wanted: datetime) -> bool:
    return at is not None and abs(at - wanted) < timedelta(days=1)


def _created(session: Session, drafts: Sequence[TaskDraft]) -> CreatedTasks:
    """What became of them; where it raises, nothing was made, or nobody knows."""
    try:
        return session.create_tasks(drafts)
    except CrmError as error:
        is_unknown = isinstance(error, CrmUnavailable) and error.outcome_unknown
        unknown = frozenset(one.key for one in drafts) if is_unknown else frozenset()
        return CreatedTasks(crm_ids={}, unknown=unknown, stopped=error)


def _lines(text: str) -> list[str]:
    """Lines that say something: CRMs treat empty ones as they like."""
    return [line.strip() for line in text.splitlines() if line.strip()]
