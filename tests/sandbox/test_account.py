"""The account over HubSpot's wire: what it is and who works in it."""

from __future__ import annotations

import pytest

from tests.sandbox.conftest import Crm, MakeCrm

OWNERS = "/crm/owners/2026-09"


@pytest.mark.parametrize(
    ("zone", "offset", "milliseconds"),
    [
        ("Europe/Berlin", "+01:00", 3_600_000),
        ("America/St_Johns", "-03:30", -12_600_000),
        ("UTC", "+00:00", 0),
    ],
)
def test_the_account_tells_what_it_is(
    make_crm: MakeCrm, zone: str, offset: str, milliseconds: int
) -> None:
    """Id, zone with its present offset, currencies."""
    crm = make_crm(time_zone=zone)
    crm.travel("2026-11-21T10:00:00Z")
    assert crm.call("GET", "/account-info/2026-09/details").body == {
        "portalId": 4711001,
        "accountType": "DEVELOPER_TEST",
        "timeZone": zone,
        "companyCurrency": "EUR",
        "additionalCurrencies": ["CHF", "USD"],
        "utcOffset": offset,
        "utcOffsetMilliseconds": milliseconds,
        "uiDomain": "localhost",
        "dataHostingLocation": "eu1",
    }


def test_owners_are_paged(crm: Crm) -> None:
    """By id; the last page names no next."""
    first = crm.call("GET", f"{OWNERS}?limit=1").body
    after = first["paging"]["next"]["after"]
    second = crm.call("GET", f"{OWNERS}?limit=1&after={after}").body
    assert [r["lastName"] for r in first["results"] + second["results"]] == ["Brandt", "Keller"]
    assert "paging" not in second


def test_who_left_is_listed_apart(crm: Crm) -> None:
    """``archived=true`` lists them, without an active user."""
    crm.ui("DELETE", "owners/64492918")
    (left,) = crm.call("GET", f"{OWNERS}?archived=true").body["results"]
    assert (left["id"], left["archived"], "userId" in left) == ("64492918", True, False)
    assert [r["id"] for r in crm.call("GET", OWNERS).body["results"]] == ["64492917"]


def test_an_owner_is_read(crm: Crm) -> None:
    """By owner id or user id; 404 for a stranger."""
    by_id = crm.call("GET", f"{OWNERS}/64492917").body
    by_user = crm.call("GET", f"{OWNERS}/882761034?idProperty=userId").body
    assert by_id == by_user
    assert crm.call("GET", f"{OWNERS}/1").status == 404


def test_who_joins_can_own(crm: Crm) -> None:
    """A new owner is listed and may be put on a contact."""
    new = {"id": "70", "user_id": 7, "first_name": "Kim", "email": "kim@firma.example.com"}
    crm.ui("POST", "owners", new)
    contact = crm.contact(hubspot_owner_id="70")
    assert crm.read(f"contacts/{contact}", "hubspot_owner_id")["hubspot_owner_id"] == "70"
    found = crm.call("GET", f"{OWNERS}?email=kim@firma.example.com").body["results"]
    assert [owner["id"] for owner in found] == ["70"]


def test_pipelines_tell_their_stages(crm: Crm) -> None:
    """Which stage is closed, and how likely a deal in it is won."""
    results = crm.call("GET", "/crm/pipelines/2026-09/deals").body["results"]
    stages = {
        stage["id"]: (stage["metadata"]["isClosed"], stage["metadata"]["probability"])
        for pipeline in results
        for stage in pipeline["stages"]
    }
    assert [pipeline["id"] for pipeline in results] == ["default", "renewals"]
    assert (stages["closedwon"], stages["closedlost"], stages["contractsent"]) == (
        ("true", "1.0"),
        ("true", "0.0"),
        ("false", "0.9"),
    )
    assert crm.call("GET", "/crm/pipelines/2026-09/contacts").body == {"results": []}
