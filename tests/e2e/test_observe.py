"""What an admin decides: watching first, pausing, installing, and leaving no trace."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from plugin.manifest import manifest
from plugin.sandbox.portal import CONTACTS, Portal
from tests.databases import Databases
from tests.e2e.plant import Plant, running

READS = ("/batch/read", "/search")


def writes(plant: Plant) -> Counter[str]:
    """The calls that could have changed something in the CRM."""
    return Counter(
        {
            call: n
            for call, n in plant.crm.calls.items()
            if not call.startswith("GET ") and not call.endswith(READS)
        }
    )


def plan(said: str) -> dict[str, str]:
    """What a plan says of each thing: ``create``, ``keep`` …"""
    rows = [line.split("  ", 1) for line in said.splitlines()]
    return {
        row[0].strip(): row[1].strip()
        for row in rows
        if len(row) == 2 and row[0].startswith(("spiral_", "label:"))
    }


def fields_there(plant: Plant) -> set[str]:
    with plant.crm.lock:
        everything = plant.crm.properties.all(CONTACTS.plural, archived=False)
    return {one.name for one in everything if one.name.startswith("spiral_")}


def foreign(plant: Plant, name: str, kind: str = "string", field_type: str = "text") -> None:
    """A property that somebody else made under a name of ours."""
    with plant.crm.lock:
        plant.crm.properties.create(
            CONTACTS.plural,
            {
                "name": name,
                "label": "Something else",
                "groupName": "contactinformation",
                "type": kind,
                "fieldType": field_type,
            },
        )


def customers(plant: Plant) -> tuple[str, str, str]:
    """(a referrer who complains, somebody they sent, somebody to be asked)"""
    anna = plant.contact("Anna", "Sommer", email="anna@example.com")
    plant.settle()
    bernd = plant.contact("Bernd", "Keller", spiral_referrer_name="anna@example.com")
    plant.bought(bernd)
    carla = plant.contact("Carla", "Winter", spiral_stage="loyalty", spiral_stage_locked="true")
    plant.rate(anna, "angry")
    plant.settle()
    return anna, bernd, carla


# ------------------------------------------------------------------------------ observing


def test_observing_writes_nothing_and_shows_everything(plant: Plant) -> None:
    """No call but reading ones; ``explain`` says what would be written and made."""
    assert plant.call("configure", "hubspot", "--mode", "observe").returncode == 0
    plant.crm.calls.clear()

    anna, bernd, carla = customers(plant)

    assert writes(plant) == {}
    assert [plant.stage(one) for one in (anna, bernd, carla)] == [None, None, "loyalty"]
    explained = [plant.call("explain", "hubspot", one).stdout for one in (anna, bernd, carla)]
    assert explained[0].startswith(f"Anna Sommer · {anna}\n\nStufe „Negative Spirale“ seit ")
    assert "Would make: Anna Sommer: heute in Ordnung bringen („Verärgert“)" in explained[0]
    assert f"Referrer told: 'anna@example.com' → linked {anna}" in explained[1]
    for said in (
        "Would make: Anna Sommer: danken, Bernd Keller kam auf Empfehlung",
        "Would make: Bernd Keller: sich kümmern, Anna Sommer ist enttäuscht",
        "Would make: Bernd Keller: bald nachfragen, die Erwartung ist hoch",
    ):
        assert said in explained[1]
    assert "Would make: Carla Winter: jetzt um eine Empfehlung bitten" in explained[2]
    assert "observing, nothing is written" in plant.call("status").stdout


def test_switching_to_write_does_what_was_shown(plant: Plant) -> None:
    """Everybody decided about is looked at again; exactly the tasks that were announced come."""
    plant.call("configure", "hubspot", "--mode", "observe")
    people = customers(plant)
    announced = Counter(
        line.removeprefix("Would make: ").rsplit(" (on ", 1)[0]
        for one in people
        for line in plant.call("explain", "hubspot", one).stdout.splitlines()
        if line.startswith("Would make: ")
    )

    said = plant.call("configure", "hubspot", "--mode", "write").stdout
    plant.settle()

    assert said == "Configured account 4711001; 3 contacts are looked at again.\n"
    made = Counter(r.values["hs_task_subject"] for r in plant.task_records().values())
    assert made == announced
    assert made.total() == 6
    assert [plant.stage(one) for one in people] == ["negative", "experience", "loyalty"]
    assert "Would make" not in plant.call("explain", "hubspot", people[0]).stdout


def test_an_account_can_be_observed_before_anything_is_installed(bare: Plant) -> None:
    """With what the CRM has anyway: deals. Not a single property is made for it."""
    assert bare.call("connect", "hubspot", "--mode", "observe").returncode == 0
    anna = bare.contact("Anna", "Sommer")
    bare.bought(anna)
    bare.settle()

    assert writes(bare) == {}
    explained = bare.call("explain", "hubspot", anna).stdout
    assert "Stufe „Erfahrung“ seit" in explained
    assert "Would make: Anna Sommer: fragen, was ursprünglich zu uns führte" in explained


def test_pausing_keeps_deliveries_until_resumed(plant: Plant) -> None:
    """Nothing is called meanwhile; afterwards nothing is missing."""
    plant.settle()
    assert plant.call("pause", "hubspot").returncode == 0
    plant.crm.calls.clear()
    anna = plant.contact("Anna", "Sommer")
    plant.bought(anna)
    plant.rate(anna, "satisfied")
    plant.rate(anna, "delighted")
    plant.settle()
    assert plant.crm.calls.total() == 0
    assert "state       paused" in plant.call("status").stdout

    assert plant.call("resume", "hubspot").stdout == "Resumed account 4711001.\n"
    plant.settle()

    assert plant.stage(anna) == "satisfaction"
    assert plant.open_tasks(anna) == ["ask_origin"]


# -------------------------------------------------------------------------- what is old


def test_connecting_reads_the_directory_and_writes_nothing(bare: Plant) -> None:
    """Customers of old are known from then on; whom nobody touches is left alone."""
    anna = bare.contact("Anna", "Sommer", email="anna@example.com")
    bare.bought(anna)
    bare.settle()  # the events of old are dropped
    bare.connect()
    bare.crm.calls.clear()
    bare.settle()

    assert writes(bare) == {}
    assert "1 known, 0 decided" in bare.call("status").stdout
    bernd = bare.contact("Bernd", "Keller", spiral_referrer_name="Anna Sommer")
    bare.settle()
    assert bare.fields(bernd, "referrer") == {"referrer": f"Anna Sommer ({anna})"}


def test_what_is_old_stays_quiet(bare: Plant) -> None:
    """More than ninety days past when first seen: no questions about it. Thanks, repairs and
    asks follow the present state."""
    today = bare.present()
    bare.set_clock(today - timedelta(days=200))
    zoe = bare.contact("Zoe", "Winter", email="zoe@example.com")
    old = bare.contact("Anna", "Sommer", email="anna@example.com")
    lost = bare.contact("Bernd", "Keller")
    bare.bought(old)
    bare.lose(bare.deal(lost))
    recent = bare.contact("Carla", "Herbst")
    bare.set_clock(today - timedelta(days=80))
    bare.bought(recent)
    bare.settle()  # the events of old are dropped
    bare.set_clock(today)
    bare.connect()
    bare.settle()

    for one in (old, lost, recent):
        bare.change(one, spiral_referrer_name="zoe@example.com")
    bare.settle()
    bare.travel(days=60)
    bare.settle()

    kinds = {one: Counter(kind for kind, _ in bare.tasks(one)) for one in (old, lost, recent)}
    assert kinds[old] == {"thank_referrer": 1}
    assert kinds[lost] == {"thank_referrer": 1}
    assert kinds[recent] == {
        "thank_referrer": 1, "tell_outcome": 1, "mind_expectation": 1, "check_experience": 1,
    }  # fmt: skip
    assert bare.stage(old) == "experience"
    assert bare.fields(zoe, "referrals_won") == {"referrals_won": "2"}
    bare.rate(old, "angry")
    bare.settle()
    assert ("repair", "open") in bare.tasks(old)


# --------------------------------------------------------------------------------- words


def test_another_language_rewrites_what_the_plugin_wrote(plant: Plant) -> None:
    """Explanations at once, tasks from then on."""
    anna = plant.contact("Anna", "Sommer")
    plant.bought(anna)
    plant.settle()
    german = plant.fields(anna, "explanation")["explanation"] or ""

    plant.call("configure", "hubspot", "--language", "en")
    plant.rate(anna, "angry")
    plant.settle()

    english = plant.fields(anna, "explanation")["explanation"] or ""
    assert (german[:18], english[:23]) == ("Stufe „Erfahrung“ ", "Stage “Negative spiral”")
    subjects = sorted(r.values["hs_task_subject"] for r in plant.task_records().values())
    assert subjects == [
        "Anna Sommer: fragen, was ursprünglich zu uns führte",
        "Anna Sommer: put things right today (“Angry”)",
    ]


# ---------------------------------------------------------------------------- installing


def test_installing_is_planned_first_and_done_once(bare: Plant) -> None:
    """A dry run changes nothing; a second run finds nothing to do."""
    bare.call("connect", "hubspot")

    dry = bare.call("install", "hubspot", "--dry-run")
    assert dry.stdout.endswith("Dry run: nothing was changed.\n")
    assert plan(dry.stdout) == {
        **dict.fromkeys((field.key for field in manifest().fields), "create"),
        "label:spiral_referral": "create",
    }
    assert (writes(bare), fields_there(bare)) == ({}, set())
    assert "not installed yet" in bare.call("status").stdout

    first = bare.call("install", "hubspot")
    assert first.stdout.endswith("Installed: 19 of 19 fields are there.\n")
    assert fields_there(bare) == {field.key for field in manifest().fields}
    bare.crm.calls.clear()
    second = bare.call("install", "hubspot")

    assert set(plan(second.stdout).values()) == {"keep"}
    assert writes(bare) == {}


def test_where_not_all_fields_fit_the_plan_says_which(databases: Databases) -> None:
    """The most important come first, and the plugin works with those."""
    with running(databases, Portal(custom_properties=5)) as plant:
        plant.call("connect", "hubspot")
        done = plant.call("install", "hubspot", COLUMNS="200")

        first = [field.key for field in manifest().fields[:5]]
        planned = plan(done.stdout)
        created = [key for key, what in planned.items() if what == "create"]
        assert created == [*first, "label:spiral_referral"]
        assert len([what for what in planned.values() if what.startswith("does not fit")]) == 14
        assert "The account has no room for more custom properties." in done.stdout
        assert done.stdout.endswith("Installed: 5 of 19 fields are there.\n")
        anna = plant.contact("Anna", "Sommer")
        plant.bought(anna)
        plant.rate(anna, "satisfied")
        plant.settle()
        assert plant.fields(anna, "stage", "readiness", "advocate_tier") == {
            "stage": "satisfaction",
            "readiness": "not_yet",
            "advocate_tier": None,
        }


def test_a_foreign_property_of_our_name_is_left_alone(bare: Plant) -> None:
    """Neither installed over, nor written, nor read, nor removed."""
    theirs = {"spiral_stage_since", "spiral_do_not_ask", "spiral_recommended_service"}
    for name in sorted(theirs):
        foreign(bare, name)
    bare.call("connect", "hubspot")
    done = bare.call("install", "hubspot", COLUMNS="200")
    planned = plan(done.stdout)
    assert {key for key, what in planned.items() if what.startswith("left alone")} == theirs
    why = "A property of this name lies in the group contactinformation, not in ours."
    assert why in done.stdout
    other_type = "A property of this name exists with another type (string)."
    assert other_type in done.stdout
    anna = bare.contact(
        "Anna", "Sommer", spiral_stage_since="ours, not yours", spiral_do_not_ask="true"
    )
    bare.bought(anna)
    bare.settle()

    assert bare.fields(anna, "stage", "stage_since") == {
        "stage": "experience",
        "stage_since": "ours, not yours",
    }
    assert bare.call("uninstall", "hubspot", "--delete-data").returncode == 0
    assert fields_there(bare) == theirs


def test_uninstalling_keeps_what_people_typed(plant: Plant) -> None:
    """Our tasks are closed with a word why, our fields go, the account rests."""
    anna = plant.contact("Anna", "Sommer", spiral_recommended_words="Die sind gut")
    plant.bought(anna)
    plant.settle()
    before = fields_there(plant)

    dry = plant.call("uninstall", "hubspot", "--dry-run")
    assert dry.stdout.endswith("Open tasks to close: 1\nDry run: nothing was changed.\n")
    planned = plan(dry.stdout)
    kept = {key for key, what in planned.items() if what.startswith("left alone")}
    assert kept == set(manifest().keys_in)
    assert {key for key, what in planned.items() if what == "remove"} == {
        *before - kept,
        "label:spiral_referral",
    }
    assert (fields_there(plant), plant.open_tasks(anna)) == (before, ["ask_origin"])

    done = plant.call("uninstall", "hubspot")
    assert done.stdout.endswith("Uninstalled; account 4711001 is paused.\n")
    assert fields_there(plant) == kept
    assert plant.tasks(anna) == [("ask_origin", "done")]
    (task,) = plant.task_records().values()
    assert "Zurückgezogen: Das Plugin wurde entfernt." in task.values["hs_task_body"]
    plant.crm.calls.clear()
    plant.rate(anna, "angry")
    plant.settle()
    assert plant.crm.calls.total() == 0

    plant.call("resume", "hubspot")
    assert plant.call("install", "hubspot").returncode == 0
    plant.settle()
    assert plant.stage(anna) == "negative"
    assert plant.open_tasks(anna) == ["ask_origin", "repair"]
    assert plant.fields(anna, "recommended_words") == {"recommended_words": "Die sind gut"}


def test_uninstalling_with_data_leaves_nothing_of_ours(plant: Plant) -> None:
    """All fields, the label and the group."""
    plant.contact("Anna", "Sommer", spiral_recommended_words="Die sind gut")
    plant.settle()

    assert plant.call("uninstall", "hubspot", "--delete-data").returncode == 0

    with plant.crm.lock:
        groups = {one.name for one in plant.crm.properties.groups(CONTACTS.plural)}
        types = plant.crm.associations.types((CONTACTS.plural, CONTACTS.plural))
    assert fields_there(plant) == set()
    assert manifest().group_key not in groups
    assert [kind.label for kind in types if kind.label] == []


@pytest.mark.parametrize("mapped", [True, False])
def test_the_app_project_is_written_for_this_installation(
    bare: Plant, tmp_path: Path, mapped: bool
) -> None:
    """What HubSpot's own command line uploads: address, scopes, events, mapped property too."""
    if mapped:
        foreign(bare, "nps", "number", "number")
        bare.connect("--rating-from", "nps:nps")
    folder = tmp_path / "project"

    done = bare.call("hubspot-project", str(folder))

    files = ["hsproject.json", "src/app/app-hsmeta.json", "src/app/webhooks/webhooks-hsmeta.json"]
    assert done.stdout.splitlines() == [str(folder / name) for name in files]
    app, webhooks = (json.loads((folder / name).read_text("utf-8")) for name in files[1:])
    crm = manifest().crms["hubspot"]
    assert app["config"]["auth"]["requiredScopes"] == list(crm.scopes)
    settings = webhooks["config"]["settings"]
    assert settings["targetUrl"] == bare.environ["PUBLIC_URL"] + "/webhooks/hubspot"
    told = [one for part in webhooks["config"]["subscriptions"].values() for one in part]
    names = {one.get("propertyName") for one in told if one.get("objectType") == "contact"}
    assert set(manifest().keys_in) <= names
    assert ("nps" in names) is mapped
