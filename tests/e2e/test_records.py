"""Records come late, merge, vanish, change hands: the plugin follows, each time to the end."""

from __future__ import annotations

from typing import Any

import pytest

from plugin.sandbox.portal import CONTACTS, Portal
from tests.databases import Databases
from tests.e2e.plant import Plant, merge_of, running

LENA = "64492917"
JONAS = "64492918"


def gone(contact_id: str) -> dict[str, Any]:
    return {
        "subscriptionType": "object.deletion",
        "objectTypeId": "0-1",
        "objectId": int(contact_id),
    }


def referred(plant: Plant, name: str, by: str, **more: str) -> str:
    """A new contact who says who sent them."""
    return plant.contact(name, "Keller", spiral_referrer_name=by, **more)


# --------------------------------------------------------------------------- deals, late


def test_a_deal_whose_contacts_come_later_is_a_purchase_all_the_same(plant: Plant) -> None:
    """HubSpot tells of the deal first, and of its contacts a little later."""
    anna = plant.contact("Anna", "Sommer")
    deal = plant.deal(later=True, dealstage="closedwon")
    plant.settle()
    assert plant.stage(anna) == "expectation"

    plant.join(deal, anna)
    plant.settle()

    assert plant.stage(anna) == "experience"


def test_a_deal_without_contacts_is_looked_at_again(plant: Plant) -> None:
    """Where the event of the association is lost, half a minute or five minutes later."""
    anna, bernd = plant.contact("Anna", "Sommer"), plant.contact("Bernd", "Keller")
    first = plant.deal(later=True, dealstage="closedwon")
    second = plant.deal(later=True, dealstage="closedwon")
    plant.settle()
    plant.unheard()

    plant.join(first, anna)
    plant.wait(minutes=1)
    plant.settle()
    assert (plant.stage(anna), plant.stage(bernd)) == ("experience", "expectation")
    plant.join(second, bernd)
    plant.wait(minutes=5)
    plant.settle()

    assert (plant.stage(anna), plant.stage(bernd)) == ("experience", "experience")
    assert plant.count("SELECT count(*) FROM hint") == 0


def test_a_deal_that_is_no_longer_won_takes_its_evidence_with_it(plant: Plant) -> None:
    """Reopened, deleted or taken from the contact: stage and tasks are as if it had not been."""
    people = [plant.contact(name, "Sommer") for name in ("Anna", "Bernd", "Carla")]
    deals = [plant.bought(one) for one in people]
    plant.settle()
    assert [plant.stage(one) for one in people] == ["experience"] * 3

    plant.ui("PATCH", f"deals/{deals[0]}", properties={"dealstage": "contractsent"})
    plant.delete(deals[1], "deals")
    plant.part(deals[2], people[2])
    plant.settle()

    assert [plant.stage(one) for one in people] == ["expectation"] * 3
    assert [plant.tasks(one) for one in people] == [[("ask_origin", "done")]] * 3
    bodies = [r.value("hs_task_body") or "" for r in plant.task_records().values()]
    assert all("Zurückgezogen: Der Anlass besteht nicht mehr." in body for body in bodies)
    plant.restore(deals[1], "deals")
    plant.settle()
    assert plant.stage(people[1]) == "experience"
    assert plant.tasks(people[1]) == [("ask_origin", "open")]


def test_a_deal_with_several_contacts_counts_once(plant: Plant) -> None:
    """It is evidence for each of them; its tasks are made once, and so is its sum."""
    anna = plant.contact("Anna", "Sommer", email="anna.sommer@example.com")
    plant.settle()
    bernd = referred(plant, "Bernd", "anna.sommer@example.com")
    carla = referred(plant, "Carla", "anna.sommer@example.com")
    deal = plant.deal(carla, bernd, amount="2500")
    plant.settle()
    plant.win(deal)
    plant.settle()
    plant.travel(days=14)
    plant.settle()

    assert (plant.stage(bernd), plant.stage(carla)) == ("experience", "experience")
    assert plant.fields(anna, "referrals_given", "referrals_won", "referral_value") == {
        "referrals_given": "2",
        "referrals_won": "2",
        "referral_value": "2500",
    }
    about_deal = ("mind_expectation", "check_experience", "tell_outcome", "ask_origin")
    made = [one for one in plant.tasks() if one[0] in about_deal]
    assert made == [
        ("check_experience", "open"),
        ("mind_expectation", "done"),  # when the deal was opened
        ("mind_expectation", "open"),
        ("tell_outcome", "open"),
    ]
    assert plant.open_tasks(bernd) == [  # created before Carla
        "check_experience", "mind_expectation", "tell_outcome", "thank_referrer",
    ]  # fmt: skip
    assert plant.open_tasks(carla) == ["thank_referrer"]


# -------------------------------------------------------------------------------- merging


def test_a_merge_carries_a_referrer_to_the_surviving_record(plant: Plant) -> None:
    """The result has a new id; referrals, evidence and open tasks are its own now."""
    anna = plant.contact("Anna", "Sommer", email="anna@example.com")
    double = plant.contact("Anna", "Sommer-Roth")
    plant.bought(anna)
    plant.settle()
    bernd = referred(plant, "Bernd", "anna@example.com")
    plant.bought(bernd)
    plant.rate(anna, "delighted")
    plant.settle()
    before = plant.keys()

    new = plant.merge(double, anna)
    plant.settle()

    assert plant.stage(new) == "satisfaction"
    assert plant.fields(new, "referrals_given", "referrals_won", "referral_value") == {
        "referrals_given": "1",
        "referrals_won": "1",
        "referral_value": "1000",
    }
    assert plant.fields(bernd, "referrer") == {"referrer": f"Anna Sommer-Roth ({new})"}
    assert plant.open_tasks(new) == ["ask_origin", "tell_outcome", "thank_referrer"]
    assert plant.keys() == before
    assert f"{anna} was merged into {new}." in plant.call("explain", "hubspot", anna).stdout


def test_a_merged_referred_contact_keeps_its_referrer(plant: Plant) -> None:
    """Counts of the referrer stay what they were; nothing is thanked for twice."""
    anna = plant.contact("Anna", "Sommer", email="anna@example.com")
    plant.settle()
    bernd = referred(plant, "Bernd", "anna@example.com")
    double = referred(plant, "Berndt", "anna@example.com")
    plant.settle()
    assert plant.fields(anna, "referrals_given") == {"referrals_given": "2"}

    plant.merge(bernd, double)
    plant.settle()

    assert plant.fields(anna, "referrals_given") == {"referrals_given": "1"}
    assert plant.open_tasks(anna) == ["thank_referrer"]
    assert plant.tasks(anna) == [("thank_referrer", "done"), ("thank_referrer", "open")]


def test_two_tasks_of_one_kind_become_one_when_their_contacts_merge(plant: Plant) -> None:
    """The same cause is open once, and so is the first purchase of the merged customer."""
    anna = plant.contact("Anna", "Sommer", spiral_origin="recommendation")
    double = plant.contact("Anna", "Sommer", spiral_origin="recommendation")
    plant.settle()
    bernd, other = plant.contact("Bernd", "Keller"), plant.contact("Bernd", "Keller")
    plant.bought(bernd)
    plant.bought(other)
    plant.settle()
    assert plant.tasks() == [
        ("ask_origin", "open"),
        ("ask_origin", "open"),
        ("ask_referral_details", "open"),
        ("ask_referral_details", "open"),
    ]

    anna, bernd = plant.merge(anna, double), plant.merge(bernd, other)
    plant.settle()
    plant.change(bernd, city="Kassel")
    plant.change(anna, city="Kassel")
    plant.settle()

    assert plant.tasks(anna) == [("ask_referral_details", "done"), ("ask_referral_details", "open")]
    assert plant.tasks(bernd) == [("ask_origin", "done"), ("ask_origin", "open")]


def test_ratings_of_merged_contacts_are_one_history(plant: Plant) -> None:
    """What customers said under either record counts, each once."""
    anna, double = plant.contact("Anna", "Sommer"), plant.contact("Anna", "Sommer")
    plant.bought(anna)
    plant.rate(anna, "delighted")
    plant.settle()
    plant.travel(days=20)
    plant.rate(double, "delighted")
    plant.settle()
    assert (plant.stage(anna), plant.stage(double)) == ("satisfaction", "expectation")

    new = plant.merge(anna, double)
    plant.settle()

    assert plant.stage(new) == "enthusiasm"


def test_a_merge_nobody_told_of_is_found_by_the_sweep(plant: Plant) -> None:
    """HubSpot keeps the old ids on the record that results."""
    anna = plant.contact("Anna", "Sommer", email="anna@example.com")
    double = plant.contact("Anna", "Sommer")
    plant.bought(anna)
    plant.settle()
    bernd = referred(plant, "Bernd", "anna@example.com")
    plant.settle()
    plant.unheard()

    new = plant.merge(double, anna)
    plant.wait(hours=1)
    plant.settle()

    assert plant.stage(new) == "experience"
    assert plant.fields(new, "referrals_given") == {"referrals_given": "1"}
    assert plant.fields(bernd, "referrer") == {"referrer": f"Anna Sommer ({new})"}
    assert plant.open_tasks(new) == ["ask_origin", "thank_referrer"]
    assert plant.open_tasks(bernd) == ["thank_referrer"]  # and nobody left


@pytest.mark.parametrize("order", ["deletion first", "deletion last", "one delivery"])
def test_merge_and_deletion_may_come_in_any_order(plant: Plant, order: str) -> None:
    """The deletion of a merged record is no departure: nobody needs care, the tasks stay."""
    anna = plant.contact("Anna", "Sommer", email="anna@example.com")
    double = plant.contact("Anna", "Sommer")
    plant.settle()
    bernd = referred(plant, "Bernd", "anna@example.com")
    plant.settle()
    plant.unheard()
    new = plant.merge(double, anna)
    merge = merge_of(double, anna, into=new)

    match order:
        case "deletion first":
            plant.tell(gone(anna), gone(double))
            plant.settle()
            plant.tell(merge)
        case "deletion last":
            plant.tell(merge)
            plant.settle()
            plant.tell(gone(anna), gone(double))
        case _:
            plant.tell(gone(anna), merge, gone(double))
    plant.settle()

    assert plant.fields(bernd, "referrer") == {"referrer": f"Anna Sommer ({new})"}
    assert plant.fields(new, "referrals_given") == {"referrals_given": "1"}
    assert plant.open_tasks(bernd) == ["thank_referrer"]
    assert plant.open_tasks(new) == ["thank_referrer"]


class Leaving:
    """Anna, who sent Bernd, and doubles of hers; nothing that happens to them is heard."""

    def __init__(self, plant: Plant, *, doubles: int) -> None:
        self.plant = plant
        self.anna = plant.contact("Anna", "Sommer", email="anna@example.com")
        self.doubles = [plant.contact("Anna", "Sommer") for _ in range(doubles)]
        plant.settle()
        self.bernd = referred(plant, "Bernd", "anna@example.com")
        plant.bought(self.anna)
        plant.settle()
        plant.rate(self.anna, "angry")
        plant.settle()
        assert plant.open_tasks(self.anna) == ["ask_origin", "repair", "thank_referrer"]
        plant.unheard()

    def tell(self, *events: dict[str, Any]) -> None:
        self.plant.tell(*events)
        self.plant.settle()

    def is_over(self, left: str) -> None:
        """All of them went as ``left``: nothing waits for them, and Bernd is looked after."""
        plant = self.plant
        for _ in range(3):  # what was not told to be deleted has a grace
            plant.wait(minutes=2)
            plant.settle()
        gone = plant.rows("SELECT crm_id, first_name FROM contact WHERE gone_at IS NOT NULL")
        assert gone == [(left, "")]
        assert plant.count("SELECT count(*) FROM contact") == 2
        assert plant.open_tasks() == plant.open_tasks(self.bernd) == ["care_for_referred"]
        assert plant.fields(self.bernd, "referrer") == {"referrer": None}
        assert plant.count("SELECT count(*) FROM hint WHERE kind = 'contact'") == 0


@pytest.mark.parametrize("order", ["merge first", "deletion first", "one delivery", "not told"])
def test_a_merged_contact_that_is_deleted_unseen_is_let_go(plant: Plant, order: str) -> None:
    """Nobody looked at it in between: all that belonged to its former ids goes with it."""
    leaving = Leaving(plant, doubles=1)
    (double,) = leaving.doubles
    left = plant.merge(double, leaving.anna)
    plant.delete(left)
    merge, deletion = merge_of(double, leaving.anna, into=left), gone(left)

    match order:
        case "merge first":
            leaving.tell(merge)
            leaving.tell(deletion)
        case "deletion first":
            leaving.tell(deletion)
            leaving.tell(merge)
        case "one delivery":
            leaving.tell(deletion, merge)
        case _:
            leaving.tell(merge)

    leaving.is_over(left)
    plant.unheard(on=False)
    plant.rate(leaving.bernd, "delighted")
    plant.settle()
    assert "parked" not in plant.call("status").stdout


@pytest.mark.parametrize("order", ["as it was", "backwards", "one delivery"])
def test_a_chain_of_merges_that_ends_in_a_deletion_is_let_go(plant: Plant, order: str) -> None:
    """Whichever of the merges is heard of first."""
    leaving = Leaving(plant, doubles=2)
    first, second = leaving.doubles
    between = plant.merge(first, leaving.anna)
    left = plant.merge(second, between)
    plant.delete(left)
    told = [
        merge_of(first, leaving.anna, into=between),
        merge_of(second, between, into=left),
        gone(left),
    ]

    if order == "one delivery":
        leaving.tell(*told)
    else:
        for one in told if order == "as it was" else reversed(told):
            leaving.tell(one)

    leaving.is_over(left)
    for old in (leaving.anna, first, between):
        assert f"{old} was merged into {left}." in plant.call("explain", "hubspot", old).stdout


@pytest.mark.parametrize("first", ["there", "back", "neither"])
def test_merges_in_a_circle_are_not_believed(plant: Plant, first: str) -> None:
    """Nobody becomes themselves: who is there stays, and the looking comes to an end."""
    anna = plant.contact("Anna", "Sommer", email="anna@example.com")
    carla = plant.contact("Carla", "Sommer")
    plant.settle()
    bernd = referred(plant, "Bernd", "anna@example.com")
    plant.bought(anna)
    plant.settle()
    plant.unheard()
    plant.delete(carla)
    there, back = merge_of(anna, carla, into=anna), merge_of(carla, anna, into=carla)

    for events in {"there": [[there], [back]], "back": [[back], [there]]}.get(
        first, [[there, back]]
    ):
        plant.tell(*events)
        plant.settle()
    for _ in range(2):
        plant.wait(minutes=2)
        plant.settle()

    assert plant.count("SELECT count(*) FROM hint WHERE kind = 'contact'") == 0
    left = plant.rows("SELECT crm_id FROM contact WHERE gone_at IS NULL ORDER BY crm_id")
    assert left == [(anna,), (bernd,)]
    assert plant.stage(anna) == "experience"
    assert plant.fields(bernd, "referrer") == {"referrer": f"Anna Sommer ({anna})"}


# ------------------------------------------------------------------------------- deleting


def test_a_referrer_who_leaves_is_missed_and_may_come_back(plant: Plant) -> None:
    """Those they sent need care; their tasks go; the counts stay, without the name."""
    zoe = plant.contact("Zoe", "Winter", email="zoe@example.com")
    anna = plant.contact("Anna", "Sommer", email="anna@example.com")
    plant.settle()
    plant.change(anna, spiral_referrer_name="zoe@example.com")
    bernd = referred(plant, "Bernd", "anna@example.com")
    plant.bought(anna)
    plant.settle()
    before = plant.fields(anna, "stage", "referrals_given", "advocate_tier")
    tasks = plant.open_tasks(anna)
    assert tasks == ["mind_expectation", "tell_outcome", "thank_referrer", "thank_referrer"]

    plant.delete(anna)
    plant.settle()

    assert plant.fields(zoe, "referrals_given", "referrals_won") == {
        "referrals_given": "1",
        "referrals_won": "1",
    }
    assert plant.fields(bernd, "referrer") == {"referrer": None}
    assert plant.open_tasks(bernd) == ["care_for_referred"]
    assert plant.open_tasks(anna) == []
    kept = plant.rows("SELECT first_name, email, outcome FROM contact WHERE crm_id = :id", id=anna)
    assert kept == [("", "", None)]

    plant.restore(anna)
    plant.settle()

    assert plant.fields(anna, "stage", "referrals_given", "advocate_tier") == before
    assert plant.fields(bernd, "referrer") == {"referrer": f"Anna Sommer ({anna})"}
    assert plant.open_tasks(bernd) == ["thank_referrer"]
    assert plant.open_tasks(anna) == tasks


def test_a_contact_that_vanishes_without_a_word_is_missed_within_a_week(plant: Plant) -> None:
    """Whatever of it is looked at first finds out; a grace leaves time for a merge."""
    anna = plant.contact("Anna", "Sommer", email="anna@example.com")
    plant.settle()
    bernd = referred(plant, "Bernd", "anna@example.com")
    plant.settle()
    plant.unheard()
    plant.delete(anna)
    plant.unheard(on=False)

    plant.wait(hours=2)
    plant.settle()
    assert plant.open_tasks(bernd) == ["thank_referrer"]
    plant.wait(hours=24 * 7)
    plant.settle()
    assert plant.open_tasks(bernd) == ["thank_referrer"]  # still the grace
    plant.wait(minutes=2)
    plant.settle()

    assert plant.open_tasks(bernd) == ["care_for_referred"]
    assert f"{anna}\nNot in the CRM any more" in plant.call("explain", "hubspot", anna).stdout


# ------------------------------------------------------------------------------ referrers


def test_the_present_text_is_the_truth_about_the_referrer(plant: Plant) -> None:
    """Corrected, then several, then emptied: links, counts and thanks follow."""
    anna = plant.contact("Anna", "Sommer", email="anna@example.com")
    zoe = plant.contact("Zoe", "Winter", email="zoe@example.com")
    plant.settle()
    bernd = referred(plant, "Bernd", "Anna Sommer")
    plant.settle()
    assert plant.fields(bernd, "referrer") == {"referrer": f"Anna Sommer ({anna})"}

    plant.change(bernd, spiral_referrer_name="Zoe Winter")
    plant.settle()
    assert plant.fields(bernd, "referrer") == {"referrer": f"Zoe Winter ({zoe})"}
    assert plant.fields(anna, "referrals_given") == {"referrals_given": "0"}
    assert plant.tasks(anna) == [("thank_referrer", "done")]
    assert plant.tasks(zoe) == [("thank_referrer", "open")]

    plant.change(bernd, spiral_referrer_name="Zoe Winter; anna@example.com")
    plant.settle()
    assert plant.fields(bernd, "referrer") == {"referrer": f"Zoe Winter ({zoe})"}
    assert plant.fields(anna, "referrals_given", "advocate_tier") == {
        "referrals_given": "1",
        "advocate_tier": "one_time",
    }
    assert plant.tasks(anna) == [("thank_referrer", "open")]  # the same one again

    plant.change(bernd, spiral_referrer_name="")
    plant.settle()
    assert plant.fields(bernd, "referrer") == {"referrer": None}
    assert [plant.fields(one, "referrals_given")["referrals_given"] for one in (anna, zoe)] == [
        "0",
        "0",
    ]
    assert plant.open_tasks() == []


def test_a_name_is_tried_again_when_such_a_contact_appears(plant: Plant) -> None:
    """Until then a task asks who it is; a link once made stays, whoever is created later."""
    bernd = referred(plant, "Bernd", "Frau Zoe Winter von der Gärtnerei Winter")
    plant.settle()
    assert plant.tasks(bernd) == [("resolve_referrer", "open")]

    zoe = plant.contact("Zoe", "Winter", company="Gärtnerei Winter")
    plant.settle()
    plant.contact("Zoe", "Winter", company="Gärtnerei Winter")
    plant.settle()
    plant.change(bernd, city="Kassel")
    plant.settle()

    assert plant.fields(bernd, "referrer") == {"referrer": f"Zoe Winter ({zoe})"}
    assert plant.tasks(bernd) == [("resolve_referrer", "done"), ("thank_referrer", "open")]


def test_several_who_may_be_meant_are_a_question_and_no_guess(plant: Plant) -> None:
    """The task names the candidates; the rep's answer by record id settles it."""
    one = plant.contact("Zoe", "Winter", company="Gärtnerei Winter")
    plant.contact("Zoe", "Winter", company="Hotel Winter")
    plant.settle()
    bernd = referred(plant, "Bernd", "Zoe Winter")
    plant.settle()
    assert plant.fields(bernd, "referrer") == {"referrer": None}
    assert plant.open_tasks(bernd) == ["resolve_referrer"]
    body = next(iter(plant.task_records().values())).value("hs_task_body") or ""
    assert "Gärtnerei Winter" in body
    assert "Hotel Winter" in body

    plant.change(bernd, spiral_referrer_name=one)
    plant.settle()

    assert plant.fields(bernd, "referrer") == {"referrer": f"Zoe Winter ({one})"}
    assert plant.tasks(bernd) == [("resolve_referrer", "done"), ("thank_referrer", "open")]


def test_nobody_refers_themselves_and_no_chain_bites_its_tail(plant: Plant) -> None:
    """What was said first stands; the link that would close the circle is refused, with why."""
    anna = plant.contact("Anna", "Sommer", email="anna@example.com")
    bernd = plant.contact("Bernd", "Keller", email="bernd@example.com")
    carla = plant.contact("Carla", "Winter", email="carla@example.com")
    self_made = plant.contact("Dora", "Herbst", email="dora@example.com")
    plant.settle()

    plant.change(self_made, spiral_referrer_name="dora@example.com")
    plant.change(bernd, spiral_referrer_name="anna@example.com")
    plant.change(carla, spiral_referrer_name="bernd@example.com")
    plant.change(anna, spiral_referrer_name="carla@example.com")
    plant.settle()

    assert plant.fields(self_made, "referrer", "referrals_given") == {
        "referrer": None,
        "referrals_given": "0",
    }
    assert [plant.fields(one, "referrer")["referrer"] for one in (anna, bernd, carla)] == [
        None,
        f"Anna Sommer ({anna})",
        f"Bernd Keller ({bernd})",
    ]
    assert plant.open_tasks(self_made) == ["resolve_referrer"]
    assert plant.open_tasks(anna) == ["resolve_referrer", "thank_referrer"]
    subjects = {
        record.id: record.value("hs_task_body") or "" for record in plant.task_records().values()
    }
    assert sum("niemand empfiehlt sich selbst" in body for body in subjects.values()) == 1
    assert sum("Damit schlösse sich ein Kreis" in body for body in subjects.values()) == 1

    plant.change(bernd, spiral_referrer_name="")
    plant.settle()
    assert plant.fields(anna, "referrer") == {"referrer": f"Carla Winter ({carla})"}
    assert plant.open_tasks(anna) == ["thank_referrer"]  # for sending Bernd: withdrawn; her own


def test_the_referrer_is_linked_where_the_account_has_labels(plant: Plant) -> None:
    """As an association both ways, which follows when the referrer changes."""
    anna = plant.contact("Anna", "Sommer", email="anna@example.com")
    zoe = plant.contact("Zoe", "Winter", email="zoe@example.com")
    plant.settle()
    bernd = referred(plant, "Bernd", "anna@example.com")
    plant.settle()

    def labels(of: str) -> dict[str, list[str | None]]:
        with plant.crm.lock:
            found = plant.crm.associations.of((CONTACTS.plural, of), CONTACTS.plural)
            return {
                end: labelled
                for end, kinds in found
                if (labelled := [kind.label for kind in kinds if kind.label])
            }

    assert labels(bernd) == {anna: ["Empfehlungsgeber"]}
    assert labels(anna) == {bernd: ["Empfohlen"]}
    plant.change(bernd, spiral_referrer_name="zoe@example.com")
    plant.settle()
    assert (labels(bernd), labels(anna)) == ({zoe: ["Empfehlungsgeber"]}, {})
    plant.change(bernd, spiral_referrer_name="")
    plant.settle()
    assert (labels(bernd), labels(zoe)) == ({}, {})


def test_without_labels_the_referrer_is_kept_as_text(databases: Databases) -> None:
    """Smaller plans have none: everything else works."""
    with running(databases, Portal(labels=False)) as plant:
        plant.connect()
        anna = plant.contact("Anna", "Sommer", email="anna@example.com")
        plant.settle()
        bernd = referred(plant, "Bernd", "anna@example.com")
        plant.settle()

        assert plant.fields(bernd, "referrer") == {"referrer": f"Anna Sommer ({anna})"}
        assert plant.fields(anna, "referrals_given") == {"referrals_given": "1"}
        assert plant.open_tasks(anna) == ["thank_referrer"]
        assert "labels" not in " ".join(plant.crm.calls).split("/associations/")[-1]


# ------------------------------------------------------------------------ owners, employees


def owners(plant: Plant, contact_id: str) -> dict[str, str | None]:
    """Kind → who should do it, of the open tasks on this contact."""
    return {
        (record.value("hs_task_body") or "").rsplit("[spiral:", 1)[1].split(":")[0]: record.value(
            "hubspot_owner_id"
        )
        for record in plant.task_records().values()
        if contact_id in plant._on(record) and record.value("hs_task_status") != "COMPLETED"
    }


def test_tasks_of_an_owner_who_left_go_to_the_fallback_owner(plant: Plant) -> None:
    """Known within the hour; tasks made before keep whoever they were given to."""
    early = plant.contact("Anna", "Sommer", hubspot_owner_id=JONAS)
    plant.bought(early)
    plant.settle()
    plant.ui("DELETE", f"owners/{JONAS}")
    plant.wait(hours=1)
    late = plant.contact("Bernd", "Keller", hubspot_owner_id=JONAS)
    nobodys = plant.contact("Carla", "Winter")
    plant.bought(late)
    plant.bought(nobodys)
    plant.settle()

    assert [owners(plant, one) for one in (early, late, nobodys)] == [
        {"ask_origin": JONAS},
        {"ask_origin": LENA},
        {"ask_origin": LENA},
    ]


def test_tasks_without_any_owner_are_made_and_status_says_so(bare: Plant) -> None:
    """No fallback owner is set: unassigned, but not lost."""
    bare.connect()
    anna = bare.contact("Anna", "Sommer")
    bare.bought(anna)
    bare.settle()

    assert owners(bare, anna) == {"ask_origin": None}
    assert "unassigned  1 open tasks have no owner" in bare.call("status").stdout


def test_an_employee_is_no_customer_and_may_be_a_referrer(plant: Plant) -> None:
    """A contact with a CRM user's e-mail is not scored; a user who refers is thanked on the
    referred contact, and missed when deactivated."""
    lena = plant.contact("Lena", "Brandt", email="Lena.Brandt@firma.example.com")
    plant.bought(lena)
    bernd = referred(plant, "Bernd", "Jonas Keller", hubspot_owner_id=LENA)
    plant.settle()

    assert plant.fields(lena, "stage", "readiness") == {"stage": None, "readiness": None}
    assert plant.tasks(lena) == []
    assert plant.fields(bernd, "referrer") == {"referrer": f"Jonas Keller ({JONAS})"}
    assert owners(plant, bernd) == {"thank_referrer": LENA}

    plant.ui("DELETE", f"owners/{JONAS}")
    plant.wait(hours=1)
    plant.settle()
    assert owners(plant, bernd) == {"care_for_referred": LENA}


# ------------------------------------------------------------------------- switches, NPS


def nps_in(plant: Plant) -> None:
    """The CRM gets a property of its own that holds ratings."""
    with plant.crm.lock:
        plant.crm.properties.create(
            CONTACTS.plural,
            {
                "name": "nps",
                "label": "NPS",
                "groupName": "contactinformation",
                "type": "number",
                "fieldType": "number",
            },
        )


def test_ratings_may_come_from_a_mapped_property(bare: Plant) -> None:
    """An NPS field of the account counts like the plugin's own, from events and histories."""
    nps_in(bare)
    bare.connect("--rating-from", "nps:nps")
    anna, bernd = bare.contact("Anna", "Sommer"), bare.contact("Bernd", "Keller")
    bare.bought(anna)
    bare.bought(bernd)
    bare.settle()

    bare.change(anna, nps="9")
    bare.tell(
        {
            "subscriptionType": "object.propertyChange",
            "objectTypeId": "0-1",
            "objectId": int(anna),
            "propertyName": "nps",
            "propertyValue": "9",
        },
    )
    bare.change(bernd, nps="3")  # nobody tells of this one
    bare.settle()
    assert (bare.stage(anna), bare.stage(bernd)) == ("satisfaction", "experience")
    bare.wait(hours=1)
    bare.settle()

    assert bare.stage(bernd) == "negative"
    assert bare.open_tasks(bernd) == ["ask_origin", "repair"]


@pytest.mark.parametrize("command", ["connect", "configure"])
def test_ratings_of_a_property_that_is_mapped_no_more_do_not_count(
    bare: Plant, command: str
) -> None:
    """Mapping it to nothing is a change like any other: everybody is looked at again."""
    nps_in(bare)
    bare.connect("--rating-from", "nps:nps")
    anna = bare.contact("Anna", "Sommer", nps="3")
    bare.bought(anna)
    bare.settle()
    assert bare.stage(anna) == "negative"

    done = bare.call(command, "hubspot", "--rating-from", "")
    assert done.returncode == 0, done.stderr
    bare.settle()
    assert bare.stage(anna) == "experience"


def test_a_locked_stage_is_left_alone_and_still_explained(plant: Plant) -> None:
    """What the plugin would say stands in the explanation; asks follow the lock."""
    anna = plant.contact("Anna", "Sommer", spiral_origin="web_search")
    plant.bought(anna)
    plant.settle()
    since = plant.fields(anna, "stage_since")

    plant.change(anna, spiral_stage="loyalty", spiral_stage_locked="true")
    plant.settle()
    assert plant.fields(anna, "stage", "readiness") == {"stage": "loyalty", "readiness": "ask_now"}
    assert plant.fields(anna, "stage_since") == since
    told = plant.fields(anna, "explanation")["explanation"] or ""
    assert told.startswith("Von Hand auf „Verbundenheit“ festgehalten; das Plugin würde")
    assert plant.open_tasks(anna) == ["ask_referral_firm"]

    plant.change(anna, spiral_stage_locked="false")
    plant.settle()
    assert plant.fields(anna, "stage", "readiness") == {
        "stage": "experience",
        "readiness": "not_yet",
    }
    assert plant.open_tasks(anna) == []


def test_do_not_ask_clears_the_stage_and_keeps_complaints(plant: Plant) -> None:
    """No ask, no stage; thanks and repairs go on."""
    anna = plant.contact("Anna", "Sommer", email="anna@example.com")
    plant.bought(anna)
    plant.settle()
    assert plant.open_tasks(anna) == ["ask_origin"]

    plant.change(anna, spiral_do_not_ask="true")
    referred(plant, "Bernd", "anna@example.com")
    plant.settle()
    plant.rate(anna, "angry")
    plant.settle()

    assert plant.fields(anna, "stage", "stage_since", "readiness", "referrals_given") == {
        "stage": None,
        "stage_since": None,
        "readiness": "do_not_ask",
        "referrals_given": "1",
    }
    assert plant.open_tasks(anna) == ["repair", "thank_referrer"]


def test_a_rating_corrected_within_seconds_is_what_counts(plant: Plant) -> None:
    """Satisfied, by a slip angry, satisfied again: nobody falls into the negative spiral."""
    anna = plant.contact("Anna", "Sommer")
    plant.bought(anna)
    plant.settle()
    for value in ("satisfied", "angry", "satisfied"):
        plant.rate(anna, value)
        plant.deliver()
    plant.settle()

    assert plant.stage(anna) == "satisfaction"
    assert "repair" not in plant.open_tasks(anna)


def test_a_text_no_database_takes_keeps_no_other_delivery_waiting(plant: Plant) -> None:
    """Odd characters in one event: everybody else's are worked on."""
    anna = plant.contact("Anna", "Sommer")
    bernd = plant.contact(
        "Bernd", "Keller", spiral_referrer_name="Anna\x00 Sommer \ud83d" + "漢" * 900
    )
    plant.bought(anna)
    plant.settle()

    assert plant.stage(anna) == "experience"
    assert plant.stage(bernd) == "expectation"
