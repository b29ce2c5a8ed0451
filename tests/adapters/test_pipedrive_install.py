"""Our fields in Pipedrive: found by label and type, remembered by code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.pipedrive.install import name_of
from plugin.errors import CrmRejected
from plugin.manifest import Direction, manifest
from plugin.ports import PlanAction, PlanStep
from tests.adapters.pipedrive import Company, Reply, company

ALL = frozenset(field.key for field in manifest().fields)
REFUSED = {"success": False, "error": "Usage limit reached", "code": "ERR_LIMIT"}


@pytest.fixture
def acme() -> Iterator[Company]:
    with company() as opened:
        yield opened


def actions(steps: tuple[PlanStep, ...]) -> dict[str, PlanAction]:
    return {step.what: step.action for step in steps}


def kept() -> dict[str, PlanAction]:
    return dict.fromkeys(ALL, PlanAction.KEEP)


def test_every_field_is_made_once(acme: Company) -> None:
    """With our label in the account's language, and the nearest type there is."""
    session = acme.session(language="de")
    session.install(session.plan_install())

    made = {body["field_name"]: body["field_type"] for body in acme.bodies("POST /api/v2/person")}
    assert made == {
        name_of(field, "de"): "people" if field.key == "spiral_referrer" else {
            "enum": "enum", "bool": "enum", "multi_enum": "set", "text": "text",
            "line": "varchar", "date": "date", "number": "double", "money": "double",
        }[field.type]
        for field in manifest().fields
    }  # fmt: skip
    assert session.installed_fields() == ALL
    assert actions(acme.session().plan_install()) == kept()


def test_installing_costs_few_tokens(acme: Company) -> None:
    """A field five; to look, before and after, forty-two more beside types and priorities."""
    session = acme.session()
    steps = session.plan_install()
    acme.calls.clear()

    session.install(steps)

    assert acme.cost == len(ALL) * 5 + 10 + 10 + 2 + 20 + 10


def test_facts_say_what_the_account_calls_things(acme: Company) -> None:
    """Codes, options, whose token it is, the type of tasks and their priorities."""
    acme.install()

    fields = acme.crm.company.fields
    assert fields[acme.facts["field:spiral_referrer"]].type == "people"
    stage = fields[acme.facts["field:spiral_stage"]]
    assert stage.options[int(acme.facts["option:spiral_stage:negative"])] == "Negative spiral"
    others = {k: v for k, v in acme.facts.items() if not k.startswith(("field:", "option:"))}
    assert others == {
        "user": "12941358",
        "activity_type": "task",
        "priority:high": "263",
        "priority:medium": "264",
        "priority:low": "265",
    }


def test_a_field_may_be_renamed(acme: Company) -> None:
    """It is known by its code, and its options by their numbers."""
    acme.install()
    field = acme.crm.company.fields[acme.code("spiral_stage")]
    field.name = "Wo steht der Kunde?"
    number = int(acme.facts["option:spiral_stage:loyalty"])
    field.options[number] = "Ganz treu"

    session = acme.session()
    assert actions(session.plan_install()) == kept()
    assert session.install(()) == acme.facts


def test_a_renamed_field_is_never_taken_for_another(acme: Company) -> None:
    """Even where its new name is that of one of ours which is gone."""
    acme.install()
    acme.crm.take_field_away("spiral_readiness")
    renamed = acme.crm.company.fields[acme.code("spiral_stage")]
    renamed.name = name_of(manifest().field("spiral_readiness"), "en")

    found = actions(acme.session().plan_install())
    assert found == kept() | {"spiral_readiness": PlanAction.CREATE}


def test_without_facts_fields_are_found_by_label(acme: Company) -> None:
    """In either language, however written: an account that is connected anew."""
    session = acme.session(language="de")
    facts = session.install(session.plan_install())
    field = acme.crm.company.fields[facts["field:spiral_rating"]]
    field.name = f" {field.name.upper()} "

    again = acme.session(language="en")
    assert actions(again.plan_install()) == kept()
    assert again.install(()) == facts


def test_of_several_with_our_label_the_one_of_our_type_is_ours(acme: Company) -> None:
    """The other one is left alone."""
    acme.crm.make_foreign_field("spiral_stage")
    made = acme.crm.company.add_field("Referral spiral: stage", "enum", ["Expectation"])

    assert actions(acme.session().plan_install())["spiral_stage"] is PlanAction.REPAIR
    acme.install()
    assert acme.code("spiral_stage") == made.code


def test_a_field_of_the_companys_own_is_never_taken(acme: Company) -> None:
    """A person field called "Referrer" was there before us: ours has our title in front."""
    theirs = acme.crm.company.add_field("Referrer", "people")
    acme.install()

    assert acme.code("spiral_referrer") != theirs.code
    assert acme.crm.company.fields[acme.code("spiral_referrer")].name == "Referral spiral: Referrer"


def test_a_field_of_another_type_is_foreign(acme: Company) -> None:
    """It is neither filled nor removed."""
    acme.crm.make_foreign_field("spiral_stage")
    acme.install()

    step = next(s for s in acme.session().plan_install() if s.what == "spiral_stage")
    assert step == PlanStep(
        action=PlanAction.FOREIGN,
        what="spiral_stage",
        why="A field of this name exists with another type (varchar).",
    )
    assert acme.fields == ALL - {"spiral_stage"}
    removal = acme.session().plan_uninstall(delete_data=True)
    assert actions(removal)["spiral_stage"] is PlanAction.FOREIGN


def test_lost_options_come_back_and_others_stay(acme: Company) -> None:
    """Only what is missing is added."""
    acme.install()
    field = acme.crm.company.fields[acme.code("spiral_rating")]
    field.options[999] = "Sprachlos"
    del field.options[int(acme.facts["option:spiral_rating:angry"])]
    session = acme.session()
    steps = session.plan_install()

    facts = session.install(steps)

    assert [step for step in steps if step.action is not PlanAction.KEEP] == [
        PlanStep(action=PlanAction.REPAIR, what="spiral_rating", why="It has lost options: Angry.")
    ]
    assert acme.bodies("options") == [[{"label": "Angry"}]]
    assert field.options[int(facts["option:spiral_rating:angry"])] == "Angry"
    assert field.options[999] == "Sprachlos"


def test_a_field_that_is_refused_is_left_out(acme: Company) -> None:
    """The next plan shows it; all others are made."""
    session = acme.session()
    steps = session.plan_install()
    acme.replies = [Reply(on="POST", status=422, body=REFUSED)]

    session.install(steps)

    assert session.installed_fields() == ALL - {manifest().fields[0].key}


def test_where_all_are_refused_that_is_said(acme: Company) -> None:
    """With Pipedrive's own word."""
    session = acme.session()
    steps = session.plan_install()
    acme.replies = [Reply(on="POST", status=422, body=REFUSED) for _ in ALL]

    with pytest.raises(CrmRejected, match="ERR_LIMIT"):
        session.install(steps)


@pytest.mark.parametrize(
    ("active", "expected"),
    [({"task", "call"}, "task"), ({"call", "lunch"}, "call"), (set(), None)],
)
def test_tasks_get_a_type_that_is_on(acme: Company, active: set[str], expected: str | None) -> None:
    """Admins may switch types off, the usual one too."""
    acme.crm.api.activity_types = active
    acme.install()

    assert acme.facts.get("activity_type") == expected


def test_what_tasks_would_like_to_know_is_no_condition(acme: Company) -> None:
    """Without the right to see types and priorities the fields are there all the same."""
    forbidden = {"success": False, "error": "Forbidden"}
    acme.replies = [
        Reply(on="activityTypes", status=403, body=forbidden),
        Reply(on="activityFields", status=403, body=forbidden),
    ]
    acme.install()

    assert acme.fields == ALL
    assert {k for k in acme.facts if not k.startswith(("field:", "option:"))} == {"user"}


def test_people_keep_what_they_typed(acme: Company) -> None:
    """Unless told otherwise; what we filled goes."""
    session = acme.install()
    typed = {f.key for f in manifest().fields if f.direction is Direction.IN}

    session.uninstall(session.plan_uninstall(delete_data=False))
    assert session.installed_fields() == typed
    session.uninstall(session.plan_uninstall(delete_data=True))
    assert acme.crm.schema() == {}


def test_removing_goes_on_past_a_refusal(acme: Company) -> None:
    """And ends with it; one that is gone meanwhile is no fault."""
    session = acme.install()
    steps = session.plan_uninstall(delete_data=True)
    acme.replies = [
        Reply(on="DELETE", status=404, body=REFUSED),
        Reply(on="DELETE", status=422, body=REFUSED),
    ]

    with pytest.raises(CrmRejected):
        session.uninstall(steps)
    assert len(acme.crm.schema()) == 2
