"""HubSpot's search: what is found, in which order, how far."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.conftest import Crm

PATH = "/crm/objects/2026-09/contacts/search"


def _found(crm: Crm, **body: Any) -> list[str]:
    """First names of what a search answers."""
    answer = crm.call("POST", PATH, {"properties": ["firstname"], **body})
    assert answer.status == 200, answer.body
    return [record["properties"]["firstname"] for record in answer.body["results"]]


def _where(name: str, operator: str, **values: Any) -> dict[str, Any]:
    return {"propertyName": name, "operator": operator, **values}


@pytest.fixture
def people(crm: Crm) -> Crm:
    """Three contacts, created a day apart."""
    crm.property("score", type="number", fieldType="number")
    for day, name, city, score in (
        ("2026-01-01", "Ana", "Kiel", "9"),
        ("2026-01-02", "Bo", "Bremen", "10"),
        ("2026-01-03", "Cem", "", ""),
    ):
        crm.travel(f"{day}T10:00:00Z")
        values = {"firstname": name, "city": city, "score": score, "email": f"{name}@example.com"}
        crm.contact(**values)
    return crm


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (_where("city", "EQ", value="kiel"), ["Ana"]),
        (_where("city", "NEQ", value="Kiel"), ["Bo", "Cem"]),
        (_where("city", "IN", values=["Kiel", "Bremen"]), ["Ana", "Bo"]),
        (_where("city", "NOT_IN", values=["Kiel"]), ["Bo", "Cem"]),
        (_where("city", "HAS_PROPERTY"), ["Ana", "Bo"]),
        (_where("city", "NOT_HAS_PROPERTY"), ["Cem"]),
        (_where("score", "GT", value="9"), ["Bo"]),
        (_where("score", "GTE", value="9"), ["Ana", "Bo"]),
        (_where("score", "LT", value="10"), ["Ana"]),
        (_where("score", "LTE", value="10"), ["Ana", "Bo"]),
        (_where("score", "BETWEEN", value="9.5", highValue="11"), ["Bo"]),
        (_where("email", "CONTAINS_TOKEN", value="b*"), ["Bo"]),
        (_where("email", "NOT_CONTAINS_TOKEN", value="bo"), ["Ana", "Cem"]),
        (_where("lastmodifieddate", "GTE", value="1767348000000"), ["Bo", "Cem"]),
        (_where("createdate", "LT", value="2026-01-02T10:00:00Z"), ["Ana"]),
    ],
)
def test_a_filter_finds(people: Crm, wanted: dict[str, Any], names: list[str]) -> None:
    """Numbers are compared as numbers, instants as instants, texts without case."""
    assert _found(people, filterGroups=[{"filters": [wanted]}]) == names


def test_groups_are_or_and_filters_are_and(people: Crm) -> None:
    """A record is found if all filters of any group meet it."""
    groups = [
        {"filters": [_where("city", "EQ", value="Kiel"), _where("score", "EQ", value="9")]},
        {"filters": [_where("city", "EQ", value="Bremen"), _where("score", "EQ", value="9")]},
        {"filters": [_where("firstname", "EQ", value="Cem")]},
    ]
    assert _found(people, filterGroups=groups) == ["Ana", "Cem"]


def test_words_are_searched(people: Crm) -> None:
    """``query`` looks into names, e-mail, phone and company."""
    assert _found(people, query="bo@EXAMPLE") == ["Bo"]


@pytest.mark.parametrize(("direction", "names"), [("ASCENDING", "CAB"), ("DESCENDING", "BAC")])
def test_results_are_sorted(people: Crm, direction: str, names: str) -> None:
    """By value; what is empty comes before everything."""
    sorts = [{"propertyName": "score", "direction": direction}]
    assert "".join(name[0] for name in _found(people, sorts=sorts)) == names


def test_deals_are_found_by_contact(people: Crm) -> None:
    """``associations.contact`` filters by a joined record."""
    first, second = people.contact(firstname="Dora"), people.contact(firstname="Eli")
    deal = people.deal(first, dealname="Roof")
    people.deal(second, dealname="Door")
    groups = [{"filters": [_where("associations.contact", "EQ", value=first)]}]
    answer = people.call("POST", PATH.replace("contacts", "deals"), {"filterGroups": groups})
    assert [record["id"] for record in answer.body["results"]] == [deal]


def test_archived_records_are_not_found(people: Crm) -> None:
    """The recycling bin is not searched."""
    people.ui("DELETE", f"contacts/{people.contact(firstname='Dora')}")
    assert _found(people) == ["Ana", "Bo", "Cem"]


def test_pages_follow_each_other(people: Crm) -> None:
    """``after`` is where the last page ended."""
    first = people.call("POST", PATH, {"limit": 2}).body
    second = people.call("POST", PATH, {"limit": 2, "after": first["paging"]["next"]["after"]}).body
    assert (first["total"], len(first["results"])) == (3, 2)
    assert (len(second["results"]), "paging" in second) == (1, False)


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 201},
        {"limit": 100, "after": "9901"},
        {"after": "x"},
        {"filterGroups": [{"filters": []}] * 6},
        {"filterGroups": [{"filters": [_where("city", "HAS_PROPERTY")] * 7}]},
        {"filterGroups": [{"filters": [_where("city", "HAS_PROPERTY")] * 4}] * 5},
        {"filterGroups": [{"filters": [_where("planet", "EQ", value="x")]}]},
        {"filterGroups": [{"filters": [_where("score", "EQ", value="x")]}]},
        {"sorts": [{"propertyName": "planet"}]},
        {"sorts": [{"propertyName": "city"}, {"propertyName": "score"}]},
        {"query": "x" * 3000},
    ],
)
def test_a_search_has_limits(people: Crm, body: dict[str, Any]) -> None:
    """200 a page, 10 000 in all, 5 groups of 6 filters, 18 filters, one sort, 3000 characters."""
    assert people.call("POST", PATH, body).status == 400
