"""Joining records over HubSpot's wire, and the labels of joining."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.conftest import Crm, MakeCrm

LABELS = "/crm/associations/2026-09/contacts/contacts/labels"
PAIRS = "/crm/associations/2026-09/contacts/contacts/batch"
REFERRAL = {"name": "spiral_referral", "label": "Referrer", "inverseLabel": "Referred"}
PLAIN = {"category": "HUBSPOT_DEFINED", "typeId": 449, "label": None}
FORTH = {"category": "USER_DEFINED", "typeId": 37, "label": "Referrer"}
BACK = {"category": "USER_DEFINED", "typeId": 38, "label": "Referred"}


def _spec(type_id: int, category: str = "USER_DEFINED") -> dict[str, Any]:
    return {"associationCategory": category, "associationTypeId": type_id}


def _types(crm: Crm, start: str, end: str = "contacts") -> dict[str, list[dict[str, Any]]]:
    """Joined id → its types."""
    body = crm.call("GET", f"/crm/objects/2026-09/{start}/associations/{end}").body
    return {link["toObjectId"]: link["associationTypes"] for link in body["results"]}


@pytest.fixture
def pair(crm: Crm) -> tuple[Crm, str, str]:
    """A referred contact, its referrer, and the label to join them."""
    answer = crm.call("POST", LABELS, REFERRAL)
    assert (answer.status, answer.body) == (200, {"results": [FORTH, BACK]})
    return crm, crm.contact(firstname="Ana"), crm.contact(firstname="Maren")


def test_a_label_pair_is_listed(pair: tuple[Crm, str, str]) -> None:
    """With the plain type, each direction its own id."""
    crm, _, _ = pair
    listed = crm.call("GET", LABELS).body["results"]
    assert sorted(listed, key=lambda kind: kind["typeId"]) == [FORTH, BACK, PLAIN]


def test_a_label_is_not_made_twice(pair: tuple[Crm, str, str]) -> None:
    """400 where name or label is taken."""
    assert pair[0].call("POST", LABELS, REFERRAL).status == 400


def test_labels_may_not_be_part_of_the_tier(make_crm: MakeCrm) -> None:
    """403 on creation, no limit told, the plain type still there."""
    crm = make_crm(labels=False)
    assert crm.call("POST", LABELS, REFERRAL).status == 403
    limits = crm.call("GET", "/crm/limits/2026-09/associations/labels")
    assert limits.body == {"results": []}
    assert crm.call("GET", LABELS).body == {"results": [PLAIN]}


def test_a_single_label_goes_both_ways(crm: Crm) -> None:
    """Without inverse both contacts bear the same label."""
    made = crm.call("POST", LABELS, {"name": "friend", "label": "Friend"}).body["results"]
    ana, bo = crm.contact(firstname="Ana"), crm.contact(firstname="Bo")
    path = f"/crm/objects/2026-09/contacts/{ana}/associations/contacts/{bo}"
    crm.call("PUT", path, [_spec(made[0]["typeId"])])
    assert _types(crm, f"contacts/{ana}") == {bo: [PLAIN, *made]}
    assert _types(crm, f"contacts/{bo}") == {ana: [PLAIN, *made]}


def test_a_put_joins_both_ways(pair: tuple[Crm, str, str]) -> None:
    """A labelled association comes with the plain one, and its inverse at the other end."""
    crm, ana, maren = pair
    path = f"/crm/objects/2026-09/contacts/{ana}/associations/contacts/{maren}"
    answer = crm.call("PUT", path, [_spec(37)])
    assert (answer.status, answer.body) == (
        201,
        {
            "fromObjectTypeId": "0-1",
            "fromObjectId": ana,
            "toObjectTypeId": "0-1",
            "toObjectId": maren,
            "labels": ["Referrer"],
        },
    )
    assert _types(crm, f"contacts/{ana}") == {maren: [PLAIN, FORTH]}
    assert _types(crm, f"contacts/{maren}") == {ana: [PLAIN, BACK]}


def test_a_put_without_types_does_nothing(pair: tuple[Crm, str, str]) -> None:
    """201 all the same, as HubSpot answers."""
    crm, ana, maren = pair
    path = f"/crm/objects/2026-09/contacts/{ana}/associations/contacts/{maren}"
    answer = crm.call("PUT", path, [])
    assert (answer.status, answer.body["labels"], _types(crm, f"contacts/{ana}")) == (201, [], {})


def test_a_delete_parts(pair: tuple[Crm, str, str]) -> None:
    """All types between the two go; parting strangers is no fault."""
    crm, ana, maren = pair
    path = f"/crm/objects/2026-09/contacts/{ana}/associations/contacts/{maren}"
    crm.call("PUT", path, [_spec(37)])
    assert [crm.call("DELETE", path).status for _ in range(2)] == [204, 204]
    assert (_types(crm, f"contacts/{ana}"), _types(crm, f"contacts/{maren}")) == ({}, {})


def test_a_batch_joins_what_it_can(pair: tuple[Crm, str, str]) -> None:
    """207: good pairs are joined, each bad one is an error."""
    crm, ana, maren = pair
    inputs = [
        {"from": {"id": ana}, "to": {"id": maren}, "types": [_spec(37)]},
        {"from": {"id": ana}, "to": {"id": "9"}, "types": [_spec(37)]},
        {"from": {"id": ana}, "to": {"id": maren}, "types": [_spec(99)]},
    ]
    answer = crm.call("POST", f"{PAIRS}/create", {"inputs": inputs})
    assert (answer.status, [r["labels"] for r in answer.body["results"]]) == (207, [["Referrer"]])
    assert [error["category"] for error in answer.body["errors"]] == [
        "OBJECT_NOT_FOUND",
        "VALIDATION_ERROR",
    ]


def test_a_label_is_taken_off(pair: tuple[Crm, str, str]) -> None:
    """The plain association stays, at both ends."""
    crm, ana, maren = pair
    link = {"from": {"id": ana}, "to": {"id": maren}, "types": [_spec(37)]}
    assert crm.call("POST", f"{PAIRS}/create", {"inputs": [link]}).status == 201
    assert crm.call("POST", f"{PAIRS}/labels/archive", {"inputs": [link]}).status == 200
    assert _types(crm, f"contacts/{ana}") == {maren: [PLAIN]}
    assert _types(crm, f"contacts/{maren}") == {ana: [PLAIN]}


def test_a_batch_parts(pair: tuple[Crm, str, str]) -> None:
    """One record from several."""
    crm, ana, maren = pair
    link = {"from": {"id": ana}, "to": {"id": maren}, "types": [_spec(37)]}
    crm.call("POST", f"{PAIRS}/create", {"inputs": [link]})
    apart = {"from": {"id": ana}, "to": [{"id": maren}, {"id": "9"}]}
    assert crm.call("POST", f"{PAIRS}/archive", {"inputs": [apart]}).status == 200
    assert _types(crm, f"contacts/{ana}") == {}


def test_a_label_deleted_is_gone_everywhere(pair: tuple[Crm, str, str]) -> None:
    """Both directions, also from the records that bore it."""
    crm, ana, maren = pair
    link = {"from": {"id": ana}, "to": {"id": maren}, "types": [_spec(37)]}
    crm.call("POST", f"{PAIRS}/create", {"inputs": [link]})
    assert crm.call("DELETE", f"{LABELS}/38").status == 204
    assert crm.call("GET", LABELS).body == {"results": [PLAIN]}
    assert _types(crm, f"contacts/{ana}") == {maren: [PLAIN]}
    assert crm.call("DELETE", f"{LABELS}/38").status == 400


def test_a_batch_read_names_who_is_alone(crm: Crm) -> None:
    """207 with an error for every record without associations."""
    ana = crm.contact(firstname="Ana")
    deal, alone = crm.deal(ana, dealname="Roof"), crm.deal(dealname="Alone")
    answer = crm.call(
        "POST",
        "/crm/associations/2026-09/deals/contacts/batch/read",
        {"inputs": [{"id": deal}, {"id": alone}]},
    )
    kinds = [{"category": "HUBSPOT_DEFINED", "typeId": 3, "label": None}]
    assert answer.status == 207
    assert answer.body["results"] == [
        {"from": {"id": deal}, "to": [{"toObjectId": ana, "associationTypes": kinds}]}
    ]
    (error,) = answer.body["errors"]
    assert error["context"] == {
        "fromObjectId": [alone],
        "fromObjectType": ["deal"],
        "toObjectType": ["contact"],
    }


def test_a_batch_read_is_paged_per_record(make_crm: MakeCrm) -> None:
    """What does not fit is fetched with ``after`` beside that record's id."""
    crm = make_crm(association_page=2)
    people = [crm.contact(firstname=str(n)) for n in range(3)]
    deal = crm.deal(*people, dealname="Roof")
    path = "/crm/associations/2026-09/deals/contacts/batch/read"
    (first,) = crm.call("POST", path, {"inputs": [{"id": deal}]}).body["results"]
    after = first["paging"]["next"]["after"]
    (second,) = crm.call("POST", path, {"inputs": [{"id": deal, "after": after}]}).body["results"]
    assert [link["toObjectId"] for link in first["to"] + second["to"]] == people
    assert "paging" not in second


def test_an_associations_batch_has_a_size(crm: Crm) -> None:
    """1000 inputs to read, 2000 to write."""
    many = [{"id": str(n)} for n in range(1001)]
    path = "/crm/associations/2026-09/deals/contacts/batch"
    assert crm.call("POST", f"{path}/read", {"inputs": many}).status == 400
    apart = [{"from": {"id": "1"}, "to": [{"id": "2"}]}] * 2001
    assert crm.call("POST", f"{path}/archive", {"inputs": apart}).status == 400


def test_some_types_cannot_be_joined(crm: Crm) -> None:
    """Deals are not joined to deals here."""
    assert crm.call("GET", "/crm/associations/2026-09/deals/deals/labels").status == 400


def test_label_limits_are_told(make_crm: MakeCrm) -> None:
    """How many labels there may be, and are; past that none is made."""
    crm = make_crm(label_limit=2)
    crm.call("POST", LABELS, REFERRAL)
    (told,) = crm.call("GET", "/crm/limits/2026-09/associations/labels").body["results"]
    assert (told["limit"], told["usage"], sorted(told["allLabels"])) == (
        2,
        2,
        ["Referred", "Referrer"],
    )
    assert crm.call("POST", LABELS, {"name": "x", "label": "X"}).status == 400
