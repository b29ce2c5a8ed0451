"""Custom properties over HubSpot's wire."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.conftest import Crm, MakeCrm

PATH = "/crm/properties/2026-09/contacts"
STAGE: dict[str, Any] = {
    "name": "spiral_stage",
    "label": "Stage",
    "type": "enumeration",
    "fieldType": "select",
    "groupName": "spiral",
    "options": [
        {"label": "Experience", "value": "experience", "displayOrder": 0, "hidden": False},
        {"label": "Loyalty", "value": "loyalty", "displayOrder": 1, "hidden": False},
    ],
}


@pytest.fixture
def staged(crm: Crm) -> Crm:
    """With a group and the property of stages."""
    group = {"name": "spiral", "label": "Spiral", "displayOrder": -1}
    assert crm.call("POST", f"{PATH}/groups", group).status == 201
    assert crm.call("POST", PATH, STAGE).status == 201
    return crm


def test_a_property_is_created_and_read(staged: Crm) -> None:
    """With its options, as custom and changeable."""
    body = staged.call("GET", f"{PATH}/spiral_stage").body
    assert body["options"] == STAGE["options"]
    assert (body["hubspotDefined"], body["archived"], body["groupName"]) == (False, False, "spiral")
    assert body["modificationMetadata"]["readOnlyDefinition"] is False


def test_a_property_is_listed(staged: Crm) -> None:
    """Among HubSpot's own."""
    names = {prop["name"] for prop in staged.call("GET", PATH).body["results"]}
    assert {"email", "spiral_stage"} <= names


def test_a_name_is_taken_once(staged: Crm) -> None:
    """409 with HubSpot's categories."""
    answer = staged.call("POST", PATH, STAGE)
    assert (answer.status, answer.body["category"], answer.body["subCategory"]) == (
        409,
        "OBJECT_ALREADY_EXISTS",
        "Properties.PROPERTY_WITH_NAME_EXISTS",
    )


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_an_unknown_property_is_not_found(crm: Crm, method: str) -> None:
    """404."""
    body = {"label": "x"} if method == "PATCH" else None
    assert crm.call(method, f"{PATH}/nope", body).status == 404


def test_options_of_a_patch_replace_the_list(staged: Crm) -> None:
    """Those left out are gone; without ``options`` the list stays."""
    kept = STAGE["options"][1:]
    assert staged.call("PATCH", f"{PATH}/spiral_stage", {"options": kept}).status == 200
    staged.call("PATCH", f"{PATH}/spiral_stage", {"label": "Stufe"})
    body = staged.call("GET", f"{PATH}/spiral_stage").body
    assert (body["options"], body["label"]) == (kept, "Stufe")


def test_a_value_must_be_an_option(staged: Crm) -> None:
    """``INVALID_OPTION``, with the options there are."""
    contact = staged.contact(firstname="Ana")
    path = f"/crm/objects/2026-09/contacts/{contact}"
    answer = staged.call("PATCH", path, {"properties": {"spiral_stage": "love"}})
    assert (answer.status, answer.body["errors"][0]["code"]) == (400, "INVALID_OPTION")


def test_several_options_are_separated_by_semicolons(crm: Crm) -> None:
    """A checkbox takes any of its options, and no other."""
    options = [{"label": word, "value": word, "displayOrder": 0, "hidden": False} for word in "ab"]
    crm.property("consent", type="enumeration", fieldType="checkbox", options=options)
    contact = crm.contact(consent="a;b")
    assert crm.read(f"contacts/{contact}", "consent")["consent"] == "a;b"
    path = f"/crm/objects/2026-09/contacts/{contact}"
    assert crm.call("PATCH", path, {"properties": {"consent": "a;c"}}).status == 400


def test_an_archived_property_is_out_of_sight(staged: Crm) -> None:
    """Not read, not written, but listed as archived."""
    contact = staged.contact(spiral_stage="loyalty")
    assert staged.call("DELETE", f"{PATH}/spiral_stage").status == 204
    archived = staged.call("GET", f"{PATH}?archived=true").body["results"]
    assert [(prop["name"], prop["archived"]) for prop in archived] == [("spiral_stage", True)]
    assert "spiral_stage" not in staged.read(f"contacts/{contact}", "spiral_stage")


def test_an_archived_name_may_be_created_again(staged: Crm) -> None:
    """With a new definition; what the records held is back."""
    contact = staged.contact(spiral_stage="loyalty")
    staged.call("DELETE", f"{PATH}/spiral_stage")
    assert staged.call("POST", PATH, {**STAGE, "label": "Again"}).status == 201
    assert staged.read(f"contacts/{contact}", "spiral_stage")["spiral_stage"] == "loyalty"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "9nine"},
        {"name": "Big"},
        {"fieldType": "date"},
        {"options": []},
        {"options": [STAGE["options"][0]] * 2},
        {"groupName": "nowhere"},
    ],
)
def test_a_definition_must_make_sense(staged: Crm, change: dict[str, Any]) -> None:
    """Names, types, options and groups are checked."""
    answer = staged.call("POST", PATH, {**STAGE, "name": "another", **change})
    assert answer.status == 400


@pytest.mark.parametrize("missing", ["name", "label", "type", "fieldType", "groupName"])
def test_a_definition_must_be_whole(staged: Crm, missing: str) -> None:
    """HubSpot requires five things."""
    whole = {**STAGE, "name": "another"}
    body = {key: value for key, value in whole.items() if key != missing}
    assert staged.call("POST", PATH, body, well_formed=False).status == 400


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_hubspots_own_properties_stay(crm: Crm, method: str) -> None:
    """They are neither changed nor archived."""
    body = {"label": "x"} if method == "PATCH" else None
    assert crm.call(method, f"{PATH}/email", body).status == 400


def test_a_group_in_use_stays(staged: Crm) -> None:
    """It can be archived once its properties are."""
    first = staged.call("DELETE", f"{PATH}/groups/spiral").status
    staged.call("DELETE", f"{PATH}/spiral_stage")
    second = staged.call("DELETE", f"{PATH}/groups/spiral").status
    assert (first, second, staged.call("GET", f"{PATH}/groups/spiral").status) == (400, 204, 404)


def test_a_group_is_created_once_and_renamed(staged: Crm) -> None:
    """409 for a name there is; PATCH changes the label."""
    group = {"name": "spiral", "label": "Other"}
    assert staged.call("POST", f"{PATH}/groups", group).status == 409
    staged.call("PATCH", f"{PATH}/groups/spiral", {"label": "Spirale"})
    assert staged.call("GET", f"{PATH}/groups/spiral").body["label"] == "Spirale"
    names = [one["name"] for one in staged.call("GET", f"{PATH}/groups").body["results"]]
    assert names == ["contactinformation", "spiral"]


def test_an_account_has_room_for_so_many(make_crm: MakeCrm) -> None:
    """The limits tell it, and creating one more is refused."""
    crm = make_crm(custom_properties=1)
    crm.property("first")
    limits = crm.call("GET", "/crm/limits/2026-09/custom-properties").body
    contacts = next(one for one in limits["byObjectType"] if one["objectTypeId"] == "0-1")
    assert (contacts["limit"], contacts["usage"], contacts["percentage"]) == (1, 1, 100.0)
    second = {**STAGE, "groupName": "contactinformation"}
    assert crm.call("POST", PATH, second).status == 400
    assert crm.call("POST", PATH, {**second, "name": "first"}).status == 409
