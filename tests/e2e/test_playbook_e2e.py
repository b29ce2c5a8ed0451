"""Every task of the playbook comes about in the CRM, for the right person, and goes again."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from plugin.sandbox.portal import CONTACTS, DEALS, Portal
from tests.databases import Databases
from tests.e2e.plant import Plant, running

LENA = "64492917"
JONAS = "64492918"
WEDNESDAY = datetime(2027, 3, 3, 9, 0, tzinfo=ZoneInfo("Europe/Berlin"))
ASKS = {"ask_referral_soft", "ask_referral", "ask_referral_firm"}
REASON_GONE = "Zurückgezogen: Der Anlass besteht nicht mehr."
REPLACED = "Zurückgezogen: Eine andere Aufgabe ist an diese Stelle getreten."


@dataclass(frozen=True, kw_only=True)
class Made:
    """A task as the rep finds it, but for its words. ``due`` is in the account's own time."""

    owner: str | None
    due: str
    priority: str
    on: set[str]
    deals: set[str]


@dataclass(frozen=True, kw_only=True)
class Found:
    made: Made
    body: str
    done: bool


def find(plant: Plant, kind: str, *, zone: str = "Europe/Berlin") -> list[Found]:
    """All tasks of a kind, the oldest first."""
    found = []
    with plant.crm.lock:
        for record in plant.task_records().values():
            body = html.unescape(record.values["hs_task_body"]).replace("<br>", "\n")
            if f"[spiral:{kind}:" not in body:
                continue
            assert re.search(rf"\n\n\[spiral:{kind}:[a-z2-7]{{20}}\]\Z", body), body
            due = datetime.fromisoformat(record.values["hs_timestamp"]).astimezone(ZoneInfo(zone))
            found.append(
                Found(
                    made=Made(
                        owner=record.value("hubspot_owner_id"),
                        due=f"{due:%a %d %b %H:%M}",
                        priority=record.values["hs_task_priority"],
                        on={one.id for one, _ in plant.crm.linked(record, CONTACTS)},
                        deals={one.id for one, _ in plant.crm.linked(record, DEALS)},
                    ),
                    body=f"{record.values['hs_task_subject']}\n{body}",
                    done=record.values["hs_task_status"] == "COMPLETED",
                )
            )
    return found


def the(plant: Plant, kind: str) -> Found:
    (found,) = find(plant, kind)
    return found


def assert_withdrawn(plant: Plant, kind: str, note: str = REASON_GONE) -> None:
    task = the(plant, kind)
    assert (task.done, note in task.body) == (True, True)


@pytest.fixture
def office(plant: Plant) -> Plant:
    """A Wednesday morning in March; Lena is the fallback owner."""
    plant.set_clock(WEDNESDAY)
    return plant


def customer(plant: Plant, first: str, last: str, **more: str) -> str:
    return plant.contact(
        first, last, email=f"{first.lower()}@example.com", hubspot_owner_id=JONAS, **more
    )


# ---------------------------------------------------------------------- origin and referrer


def test_ask_origin(office: Plant) -> None:
    """Three working days after a first purchase, one of three questions; gone when answered."""
    anna = customer(office, "Anna", "Sommer")
    deal = office.bought(anna, hubspot_owner_id=LENA)
    office.settle()

    task = the(office, "ask_origin")
    assert task.made == Made(
        owner=JONAS, due="Mon 08 Mar 17:00", priority="MEDIUM", on={anna}, deals={deal}
    )
    assert "Anna Sommer" in task.body
    assert "ursprünglich" in task.body
    assert "zuallererst" in task.body
    office.change(anna, spiral_origin="press")
    office.settle()
    assert_withdrawn(office, "ask_origin")


def test_ask_referral_details(office: Plant) -> None:
    """Came by recommendation: who was it, and what was said? Both answers end it."""
    zoe = customer(office, "Zoe", "Winter")
    anna = customer(office, "Anna", "Sommer", spiral_origin="recommendation")
    office.settle()

    task = the(office, "ask_referral_details")
    assert task.made == Made(
        owner=JONAS, due="Mon 08 Mar 17:00", priority="MEDIUM", on={anna}, deals=set()
    )
    assert "Was hat man Ihnen von uns erzählt?" in task.body
    assert "Bei wem dürfen wir uns dafür bedanken?" in task.body
    office.change(anna, spiral_recommended_words="Die sind gut")
    office.settle()
    assert office.open_tasks(anna) == ["ask_referral_details"]
    office.change(anna, spiral_referrer_name="zoe@example.com")
    office.settle()
    assert_withdrawn(office, "ask_referral_details")
    assert office.open_tasks(zoe) == ["thank_referrer"]


def test_resolve_referrer(office: Plant) -> None:
    """A name that fits several: the candidates with their reasons; gone when it is settled."""
    customer(office, "Zoe", "Winter", company="Gärtnerei Winter", city="Kassel")
    office.contact("Zoë", "Winter", company="Hotel Krone")
    office.settle()
    anna = customer(office, "Anna", "Sommer", spiral_referrer_name="Zoe Winter")
    office.settle()

    task = the(office, "resolve_referrer")
    assert task.made == Made(
        owner=JONAS, due="Mon 08 Mar 17:00", priority="MEDIUM", on={anna}, deals=set()
    )
    for said in ("„Zoe Winter“", "Gärtnerei Winter", "Kassel", "Hotel Krone", "gleicher Nachname"):
        assert said in task.body
    office.change(anna, spiral_referrer_name="Zoe Winter, Gärtnerei Winter")
    office.settle()
    assert_withdrawn(office, "resolve_referrer")


def test_thank_referrer(office: Plant) -> None:
    """By the next working day, for the referrer's own rep, with the privacy notice."""
    zoe = office.contact("Zoe", "Winter", email="zoe@example.com", hubspot_owner_id=LENA)
    office.settle()
    anna = customer(office, "Anna", "Sommer", spiral_referrer_name="zoe@example.com")
    office.settle()

    task = the(office, "thank_referrer")
    assert task.made == Made(
        owner=LENA, due="Thu 04 Mar 17:00", priority="MEDIUM", on={zoe, anna}, deals=set()
    )
    for said in ("Zoe Winter", "Anna Sommer", "Gleich danken", "symbolisches", "Datenschutz"):
        assert said in task.body
    office.change(anna, spiral_referrer_name="")
    office.settle()
    assert_withdrawn(office, "thank_referrer")


@pytest.mark.parametrize(
    ("outcome", "said"),
    [("won", "wurde am 03.03.2027 gewonnen"), ("lost", "ging am 03.03.2027 verloren")],
)
def test_tell_outcome(office: Plant, outcome: str, said: str) -> None:
    """The referrer hears what came of it, as far as the referred person agreed."""
    zoe = office.contact("Zoe", "Winter", email="zoe@example.com", hubspot_owner_id=LENA)
    office.settle()
    anna = customer(office, "Anna", "Sommer", spiral_referrer_name="zoe@example.com")
    deal = office.deal(anna, name="Dach")
    (office.win if outcome == "won" else office.lose)(deal)
    office.settle()

    task = the(office, "tell_outcome")
    assert task.made == Made(
        owner=LENA, due="Mon 08 Mar 17:00", priority="MEDIUM", on={zoe, anna}, deals={deal}
    )
    assert f"Der Deal „Dach“ {said}." in task.body
    assert "was weitererzählt werden darf" in task.body
    office.ui("PATCH", f"deals/{deal}", properties={"dealstage": "contractsent"})
    office.settle()
    assert_withdrawn(office, "tell_outcome")


def test_later_business_is_no_news_for_the_referrer(office: Plant) -> None:
    """Lost before the first won: told; whatever comes after: not."""
    zoe = office.contact("Zoe", "Winter", email="zoe@example.com")
    office.settle()
    anna = customer(office, "Anna", "Sommer", spiral_referrer_name="zoe@example.com")
    office.lose(office.deal(anna))
    office.settle()
    office.travel(days=7)
    office.bought(anna)
    office.settle()
    office.travel(days=7)
    office.bought(anna)
    office.lose(office.deal(anna))
    office.settle()

    assert office.tasks(zoe).count(("tell_outcome", "open")) == 2


def test_mind_expectation(office: Plant) -> None:
    """For the deal's owner, when the first deal is opened and again when it is won."""
    office.contact("Zoe", "Winter", email="zoe@example.com")
    office.settle()
    anna = customer(
        office, "Anna", "Sommer",
        spiral_referrer_name="zoe@example.com",
        spiral_recommended_service="Innenausbau",
        spiral_recommended_words="Die sind pünktlich",
    )  # fmt: skip
    deal = office.deal(anna, hubspot_owner_id=LENA)
    office.settle()
    opened = the(office, "mind_expectation")
    office.travel(days=1)
    office.win(deal)
    office.settle()
    before, won = find(office, "mind_expectation")

    assert opened.made == Made(
        owner=LENA, due="Thu 04 Mar 17:00", priority="MEDIUM", on={anna}, deals={deal}
    )
    assert won.made == Made(
        owner=LENA, due="Fri 05 Mar 17:00", priority="MEDIUM", on={anna}, deals={deal}
    )
    for said in ("Zoe Winter", "„Innenausbau“", "„Die sind pünktlich“"):
        assert said in opened.body
        assert said in won.body
    assert "Früh nach der Lieferung nachfragen" in won.body
    assert (before.done, REASON_GONE in before.body, won.done) == (True, True, False)
    office.delete(deal, "deals")
    office.settle()
    assert [task.done for task in find(office, "mind_expectation")] == [True, True]


# -------------------------------------------------------------- experience, repair and care


def test_check_experience(office: Plant) -> None:
    """Two weeks after a first purchase nobody rated; a rating ends it."""
    anna = customer(office, "Anna", "Sommer", spiral_origin="press")
    deal = office.bought(anna)
    office.settle()
    office.travel(days=13)
    office.settle()
    assert find(office, "check_experience") == []
    office.travel(days=1)
    office.settle()

    task = the(office, "check_experience")
    assert task.made == Made(
        owner=JONAS, due="Wed 24 Mar 17:00", priority="MEDIUM", on={anna}, deals={deal}
    )
    for said in ("„Verärgert“", "„Begeistert“", "Zuhören"):
        assert said in task.body
    office.rate(anna, "satisfied")
    office.settle()
    assert_withdrawn(office, "check_experience")


@pytest.mark.parametrize(
    ("grade", "label"), [("angry", "Verärgert"), ("dissatisfied", "Unzufrieden")]
)
def test_repair(office: Plant, grade: str, label: str) -> None:
    """The same working day, urgent; made good by a better rating. A new spiral is a new cause."""
    anna = customer(office, "Anna", "Sommer", spiral_origin="press")
    office.bought(anna)
    office.travel(days=3)  # a Saturday
    office.rate(anna, grade)
    office.settle()

    task = the(office, "repair")
    assert task.made == Made(
        owner=JONAS, due="Mon 08 Mar 17:00", priority="HIGH", on={anna}, deals=set()
    )
    assert f"heute in Ordnung bringen („{label}“)" in task.body
    office.travel(days=2)
    office.rate(anna, "satisfied")
    office.settle()
    assert_withdrawn(office, "repair")
    office.travel(days=2)
    office.rate(anna, grade)
    office.settle()
    again = find(office, "repair")
    assert [(task.done, task.made.due) for task in again] == [
        (True, "Mon 08 Mar 17:00"),
        (False, "Wed 10 Mar 17:00"),
    ]


def test_protect_referrer_and_care_for_referred(office: Plant) -> None:
    """A disappointment falls back on the referrer; and those they sent stay as long as they do."""
    zoe = office.contact("Zoe", "Winter", email="zoe@example.com", hubspot_owner_id=LENA)
    office.settle()
    anna = customer(office, "Anna", "Sommer", spiral_referrer_name="zoe@example.com")
    bernd = customer(office, "Bernd", "Keller", spiral_referrer_name="anna@example.com")
    office.settle()
    office.rate(anna, "angry")
    office.settle()

    protect, care = the(office, "protect_referrer"), the(office, "care_for_referred")
    assert protect.made == Made(
        owner=LENA, due="Wed 03 Mar 17:00", priority="HIGH", on={zoe, anna}, deals=set()
    )
    assert "Heute mit Zoe Winter sprechen" in protect.body
    assert care.made == Made(
        owner=JONAS, due="Mon 08 Mar 17:00", priority="MEDIUM", on={bernd}, deals=set()
    )
    assert "Sich bei Bernd Keller melden" in care.body
    assert "Anna Sommer" in care.body
    office.rate(anna, "satisfied")
    office.settle()
    assert_withdrawn(office, "protect_referrer")
    assert_withdrawn(office, "care_for_referred")


def test_care_for_referred_when_the_referrer_leaves(office: Plant) -> None:
    """Deleted contacts and deactivated users leave; whoever comes back ends the worry."""
    zoe = office.contact("Zoe", "Winter", email="zoe@example.com")
    office.settle()
    anna = customer(office, "Anna", "Sommer", spiral_referrer_name="zoe@example.com")
    office.settle()
    office.delete(zoe)
    office.settle()

    task = the(office, "care_for_referred")
    assert task.made == Made(
        owner=JONAS, due="Mon 08 Mar 17:00", priority="MEDIUM", on={anna}, deals=set()
    )
    assert "nicht mehr" in task.body
    office.restore(zoe)
    office.settle()
    assert_withdrawn(office, "care_for_referred")


def test_care_super_referrer(office: Plant) -> None:
    """Three referrals, one of them won: care, and no ask."""
    zoe = customer(office, "Zoe", "Winter", spiral_stage="loyalty", spiral_stage_locked="true")
    office.settle()
    assert office.open_tasks(zoe) == ["ask_referral_firm"]
    sent = [customer(office, name, "Keller", spiral_referrer_name="zoe@example.com")
            for name in ("Anna", "Bernd", "Carla")]  # fmt: skip
    office.bought(sent[0])
    office.settle()

    task = the(office, "care_super_referrer")
    assert task.made == Made(
        owner=JONAS, due="Mon 08 Mar 17:00", priority="MEDIUM", on={zoe}, deals=set()
    )
    assert "3 Empfehlungen von Zoe Winter, 1 davon gewonnen." in task.body
    assert office.fields(zoe, "advocate_tier", "readiness") == {
        "advocate_tier": "super",
        "readiness": "cooling_down",
    }
    assert_withdrawn(office, "ask_referral_firm")
    office.change(sent[2], spiral_referrer_name="")
    office.settle()
    assert_withdrawn(office, "care_super_referrer")


# ------------------------------------------------------------------------------------- asks


def held(plant: Plant, name: str, stage: str, **more: str) -> str:
    """A contact whom a rep holds at a stage."""
    return plant.contact(
        name, "Sommer", spiral_stage=stage, spiral_stage_locked="true",
        hubspot_owner_id=more.pop("owner", JONAS), **more,
    )  # fmt: skip


def test_asks_follow_the_climb_and_a_higher_one_replaces_a_lower_one(office: Plant) -> None:
    """Soft at sympathy, plain at enthusiasm, firm at loyalty; one at a time."""
    anna = customer(
        office, "Anna", "Sommer",
        spiral_origin="recommendation", spiral_recommended_words="Die sind gut",
        spiral_referrer_name="Frau X",
    )  # fmt: skip
    office.bought(anna)
    office.rate(anna, "delighted")
    office.settle()
    assert ASKS.isdisjoint(office.open_tasks(anna))

    office.travel(days=14)
    office.bought(anna, name="Bad")
    office.settle()
    soft = the(office, "ask_referral_soft")
    assert soft.made == Made(
        owner=JONAS, due="Wed 24 Mar 17:00", priority="MEDIUM", on={anna}, deals=set()
    )
    assert "als Dank für den Auftrag" in soft.body
    assert "nicht um Telefonnummern" in soft.body

    office.travel(days=1)
    office.change(anna, spiral_rated_on="2027-03-18")
    office.settle()
    assert_withdrawn(office, "ask_referral_soft", REPLACED)
    plain = the(office, "ask_referral")
    assert plain.made == Made(
        owner=JONAS, due="Thu 25 Mar 17:00", priority="MEDIUM", on={anna}, deals=set()
    )

    office.travel(days=180)
    office.settle()
    assert_withdrawn(office, "ask_referral", REPLACED)
    firm = the(office, "ask_referral_firm")
    assert firm.made == Made(
        owner=JONAS, due="Tue 21 Sep 17:00", priority="HIGH", on={anna}, deals=set()
    )
    assert "spätestens jetzt fragen" in firm.body
    assert "Sie kamen ja selbst auf Empfehlung zu uns" in firm.body
    office.change(anna, spiral_do_not_ask="true")
    office.settle()
    assert_withdrawn(office, "ask_referral_firm")


def test_each_ask_names_the_channels_allowed(office: Plant) -> None:
    """Asking is advertising: a visit always, phone and mail only with consent on file."""
    people = {
        consent: held(office, "Anna", "sympathy", spiral_contact_consent=consent)
        for consent in ("", "phone", "phone;email")
    }
    office.settle()

    said = {
        consent: next(
            line
            for task in find(office, "ask_referral_soft")
            if task.made.on == {contact_id}
            for line in task.body.splitlines()
            if "§ 7 UWG" in line
        )
        for consent, contact_id in people.items()
    }
    assert "keine E-Mail" in said[""]
    assert "Besuch; Telefon, da eine Einwilligung eingetragen ist. Für E-Mail" in said["phone"]
    assert "Besuch; Telefon und E-Mail, da eine Einwilligung" in said["phone;email"]


def test_a_rep_gets_five_asks_a_week_and_the_rest_the_next(office: Plant) -> None:
    """The best first: came by referral, then the higher stage, then whoever waits longest."""
    kind = [held(office, f"Kind{n}", "sympathy") for n in range(2)]
    keen = [held(office, f"Keen{n}", "enthusiasm") for n in range(3)]
    loyal = held(office, "Loyal", "loyalty")
    told = held(office, "Told", "sympathy", spiral_origin="recommendation")
    ranked = [told, loyal, *keen, *kind]
    others = [held(office, f"Other{n}", "sympathy", owner=LENA) for n in range(2)]
    office.settle()

    def asked() -> list[bool]:
        return [not ASKS.isdisjoint(office.open_tasks(one)) for one in ranked]

    assert asked() == [True] * 5 + [False] * 2
    assert [len(office.open_tasks(one)) for one in others] == [1, 1]
    office.travel(days=4)  # Sunday
    office.settle()
    assert asked() == [True] * 5 + [False] * 2
    office.travel(days=1)
    office.settle()

    assert asked() == [True] * 7
    assert office.fields(ranked[-1], "readiness") == {"readiness": "first_moment"}


def test_a_place_that_becomes_free_is_given_to_the_next(office: Plant) -> None:
    """An ask withdrawn does not count; one made or deleted by the rep does."""
    people = [held(office, f"Anna{n}", "sympathy") for n in range(7)]
    office.settle()
    assert [len(office.open_tasks(one)) for one in people] == [1] * 5 + [0] * 2

    office.change(people[0], spiral_do_not_ask="true")
    office.complete("ask_referral_soft", people[1])
    office.wait(hours=1)
    office.settle()

    assert [len(office.open_tasks(one)) for one in people] == [0, 0, 1, 1, 1, 1, 0]


def ask(office: Plant, contact_id: str) -> str | None:
    return office.fields(contact_id, "readiness")["readiness"]


def complete(office: Plant, contact_id: str) -> None:
    office.complete("ask_referral_firm", contact_id)
    office.wait(hours=1)
    office.settle()


def pass_days(office: Plant, days: int) -> None:
    office.travel(days=days)
    office.settle()


def test_an_answered_ask_rests_ninety_days(office: Plant) -> None:
    """A referral by that contact after it was made is the answer."""
    anna = held(office, "Anna", "loyalty", email="anna@example.com")
    office.settle()
    assert ask(office, anna) == "ask_now"
    complete(office, anna)
    assert ask(office, anna) == "cooling_down"
    pass_days(office, 10)
    office.contact("Bernd", "Keller", spiral_referrer_name="anna@example.com")
    office.settle()

    pass_days(office, 79)
    assert ask(office, anna) == "cooling_down"
    pass_days(office, 1)

    assert ask(office, anna) == "ask_now"
    assert office.tasks(anna).count(("ask_referral_firm", "open")) == 1
    first, second = find(office, "ask_referral_firm")
    assert (first.done, first.made.priority, second.made.priority) == (True, "HIGH", "MEDIUM")


def test_two_asks_without_an_answer_are_enough(office: Plant) -> None:
    """One rests 180 days; after the second nobody asks until they refer somebody by themselves."""
    anna = held(office, "Anna", "loyalty", email="anna@example.com")
    office.settle()
    complete(office, anna)
    pass_days(office, 179)
    assert ask(office, anna) == "cooling_down"
    pass_days(office, 1)
    assert ask(office, anna) == "ask_now"
    complete(office, anna)
    pass_days(office, 400)
    assert ask(office, anna) == "cooling_down"
    assert office.open_tasks(anna) == []

    office.contact("Bernd", "Keller", spiral_referrer_name="anna@example.com")
    office.settle()
    pass_days(office, 1)

    assert ask(office, anna) == "ask_now"
    assert "ask_referral_firm" in office.open_tasks(anna)


def test_asks_wait_while_a_deal_or_a_complaint_is_open(office: Plant) -> None:
    """The same ask comes back afterwards; one that a rep deleted does not."""
    anna, bernd = (held(office, name, "loyalty") for name in ("Anna", "Bernd"))
    office.settle()
    deal = office.deal(anna)
    office.rate(bernd, "dissatisfied")
    office.settle()
    assert [ask(office, one) for one in (anna, bernd)] == ["cooling_down", "repair_first"]
    assert [office.open_tasks(one) for one in (anna, bernd)] == [[], ["repair"]]

    office.lose(deal)
    office.settle()
    assert ask(office, anna) == "ask_now"
    assert office.tasks(anna) == [("ask_referral_firm", "open")]

    (task_id,) = [
        record.id
        for record in office.task_records().values()
        if record.values["hs_task_status"] != "COMPLETED"
        and "ask_referral_firm" in record.values["hs_task_body"]
    ]
    office.delete(task_id, "tasks")
    office.wait(hours=1)
    office.settle()
    pass_days(office, 30)
    assert office.tasks(anna) == []


# -------------------------------------------------------------------------- time and policy


def test_days_are_days_of_the_accounts_own_time_zone(databases: Databases) -> None:
    """Late in the evening of New York it is tomorrow in Berlin, and no task is due then."""
    with running(databases, Portal(time_zone="America/New_York", rate_limit=100_000)) as plant:
        plant.connect("--fallback-owner", LENA)
        plant.set_clock(datetime(2027, 3, 5, 3, 30, tzinfo=UTC))  # Thursday 22:30
        anna = customer(plant, "Anna", "Sommer")
        plant.rate(anna, "angry")
        plant.bought(anna)
        plant.settle()

        dues = {
            kind: [one.made.due for one in find(plant, kind, zone="America/New_York")]
            for kind in ("repair", "ask_origin")
        }
        assert dues == {"repair": ["Thu 04 Mar 17:00"], "ask_origin": ["Tue 09 Mar 17:00"]}
        assert plant.fields(anna, "stage_since") == {"stage_since": "2027-03-04"}


def test_the_policy_switches_kinds_off_and_sets_limits(office: Plant, tmp_path: Path) -> None:
    """What an admin changes without touching code holds from the next decision on."""
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[tasks]\noff = ["ask_origin"]\ncheck_experience_after_days = 7\n'
        "[tasks.due]\nrepair = 2\n[asks]\nper_owner_and_week = 1\n",
        "utf-8",
    )
    anna = customer(office, "Anna", "Sommer")
    office.bought(anna)
    office.settle()
    assert office.open_tasks(anna) == ["ask_origin"]

    done = office.call("configure", "hubspot", "--policy", str(policy))
    assert done.returncode == 0, done.stderr
    keen = [held(office, f"Bernd{n}", "sympathy") for n in range(2)]
    angry = customer(office, "Carla", "Keller")
    office.rate(angry, "angry")
    office.settle()
    office.set_clock(office.present() + timedelta(days=7))
    office.settle()

    assert office.tasks(anna) == [("ask_origin", "done"), ("check_experience", "open")]
    assert the(office, "repair").made.due == "Fri 05 Mar 17:00"
    assert [len(office.open_tasks(one)) for one in keen] == [1, 1]  # one in either week
    dues = [task.made.due for task in find(office, "ask_referral_soft")]
    assert dues == ["Wed 10 Mar 17:00", "Wed 17 Mar 17:00"]
