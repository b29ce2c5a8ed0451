"""The plugin's custom fields in BottleCRM: made, switched on again, emptied, switched off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from adapters.bottlecrm.values import from_custom_field, to_custom_field
from plugin.errors import CrmRejected
from plugin.manifest import Direction, manifest
from plugin.ports import FieldUpdate, PlanAction, PlanStep, Session
from tests.adapters.bottlecrm import Connected
from tests.payloads.bottlecrm.stand_in import Crm
from tests.stand_in import Fault

LISTED = "custom-fields/?target_model=Contact&include_counts=false"


@pytest.fixture
def there() -> Iterator[Connected]:
    crm = Crm()
    with crm.serving():
        yield Connected(crm)


def definitions(there: Connected) -> Mapping[str, Mapping[str, Any]]:
    return {one["key"]: one for one in there.does("GET", LISTED)["definitions"]}


def step(session: Session, key: str) -> PlanStep:
    return next(one for one in session.plan_install() if one.what == key)


def test_several_choices_at_once_become_a_dropdown_of_each_combination(there: Connected) -> None:
    """BottleCRM has no field that takes several."""
    there.install()

    found = definitions(there)["spiral_contact_consent"]

    assert found["field_type"] == "dropdown"
    assert [(one["value"], one["label"]) for one in found["options"]] == [
        ("phone", "Phone"),
        ("email", "E-mail"),
        ("phone;email", "Phone + E-mail"),
    ]


@pytest.mark.parametrize(
    ("key", "ours", "theirs"),
    [
        ("spiral_contact_consent", "email;phone", "phone;email"),
        ("spiral_do_not_ask", "false", False),
        ("spiral_do_not_ask", "true", True),
        ("spiral_referrals_given", "3", 3.0),
        ("spiral_referral_value", "1234.50", 1234.5),
        ("spiral_stage_since", "2026-09-14", "2026-09-14"),
        ("spiral_explanation", "Zeile 1\nZeile 2", "Zeile 1\nZeile 2"),
        ("spiral_stage", "", None),
    ],
)
def test_values_have_the_form_of_their_field(key: str, ours: str, theirs: object) -> None:
    """Empty ones are null, which empties there."""
    assert to_custom_field(manifest().field(key), ours) == theirs


@pytest.mark.parametrize(
    ("key", "theirs", "ours"),
    [
        ("spiral_contact_consent", "email; phone", "phone;email"),
        ("spiral_contact_consent", "fax;email", "email;fax"),
        ("spiral_do_not_ask", False, "false"),
        ("spiral_referrals_given", 3.0, "3"),
        ("spiral_referrals_given", 0.0, "0"),
        ("spiral_referral_value", 1e16, "10000000000000000"),
        ("spiral_stage", None, ""),
        ("spiral_stage", "of theirs", "of theirs"),
        ("spiral_explanation", "a\0b", "ab"),
    ],
)
def test_values_are_read_in_our_form(key: str, theirs: object, ours: str) -> None:
    """Options that people added pass as they are."""
    assert from_custom_field(manifest().field(key), theirs) == ours


def test_a_field_that_was_deleted_is_switched_on_again(there: Connected) -> None:
    """Its key stays taken, so it cannot be made anew; what it held is there again."""
    session = there.install()
    erika = there.crm.contact("Erika", "Muster")
    session.write_fields([FieldUpdate(contact_id=erika, values={"spiral_stage": "loyalty"})])
    there.crm.take_field_away("spiral_stage")

    planned = step(session, "spiral_stage")
    session.install([planned])

    assert planned.action is PlanAction.CREATE
    assert "switched on again" in planned.why
    assert definitions(there)["spiral_stage"]["is_active"]
    assert there.crm.value(erika, "spiral_stage") == "loyalty"


def test_lost_options_come_back_and_added_ones_stay(there: Connected) -> None:
    """BottleCRM replaces the whole list, so theirs are sent along; their wording stays."""
    session = there.install()
    rating = definitions(there)["spiral_rating"]
    theirs = [{"value": "delighted", "label": "Hin und weg"}, {"value": "other", "label": "Sonst"}]
    there.does("PUT", f"custom-fields/{rating['id']}/", {"options": theirs})

    planned = step(session, "spiral_rating")
    session.install([planned])

    assert planned.action is PlanAction.REPAIR
    assert [one["value"] for one in definitions(there)["spiral_rating"]["options"]] == [
        "delighted", "other", "angry", "dissatisfied", "satisfied",
    ]  # fmt: skip
    assert definitions(there)["spiral_rating"]["options"][:2] == theirs
    assert step(session, "spiral_rating").action is PlanAction.KEEP


def test_a_field_made_meanwhile_is_no_fault(there: Connected) -> None:
    """Somebody else installs at the same time."""
    there.install()

    with_refusal = there.session().install(
        [PlanStep(action=PlanAction.CREATE, what="spiral_stage")]
    )

    assert with_refusal == {"time_zone": "Europe/Berlin"}


def test_one_refused_field_does_not_stop_the_others(there: Connected) -> None:
    """It is left out, as the next plan shows; where all are refused, that is said."""
    no = b'{"error":true,"errors":{"label":["This field may not be blank."]}}'
    there.crm.faults.append(Fault(on="^POST /api/custom-fields/", status=400, body=no))
    session = there.session()

    session.install(session.plan_install())
    left = [one.what for one in session.plan_install() if one.action is PlanAction.CREATE]
    there.crm.faults.append(Fault(on="^POST /api/custom-fields/", status=400, body=no))

    assert left == ["spiral_stage"]
    with pytest.raises(CrmRejected, match="label required"):
        session.install(session.plan_install())


def test_uninstalling_empties_before_it_switches_off(there: Connected) -> None:
    """Switched-off fields keep their values for good; what people typed stays, unless told."""
    session = there.install()
    erika, otto = there.crm.contact("Erika", "Muster"), there.crm.contact("Otto", "Beispiel")
    there.crm.change(erika, spiral_rating="delighted")
    session.write_fields([FieldUpdate(contact_id=erika, values={"spiral_stage": "loyalty"})])
    there.crm.calls.clear()

    session.uninstall(session.plan_uninstall(delete_data=False))

    writes = [one for one in there.asked() if one.startswith("PATCH")]
    assert writes == [f"PATCH /api/contacts/{erika}/"]
    assert there.crm.value(erika, "spiral_stage") == ""
    assert there.crm.value(erika, "spiral_rating") == "delighted"
    assert there.crm.value(otto, "spiral_stage") == ""
    assert {one["key"] for one in definitions(there).values() if one["is_active"]} == {
        field.key for field in manifest().fields if field.direction is Direction.IN
    }


def test_uninstalling_with_data_leaves_no_value(there: Connected) -> None:
    """Not even a hidden one; and again there is nothing left to do."""
    session = there.install()
    erika = there.crm.contact("Erika", "Muster")
    there.crm.change(erika, spiral_rating="delighted", spiral_recommended_words="Sehr gut")

    session.uninstall(session.plan_uninstall(delete_data=True))

    assert there.does("GET", f"contacts/{erika}/")["contact_obj"]["custom_fields"] == {}
    assert session.plan_uninstall(delete_data=True) == ()


def test_the_base_url_may_end_with_api(there: Connected) -> None:
    """People copy it from where they find it."""
    told = there.session(base_url=f"{there.crm.url}/api/").account()

    assert told.crm_id == there.crm.account_crm_id
