"""What stands between a call and the work: token, scopes, rate limits, planned faults."""

from __future__ import annotations

import time
from typing import Any

import pytest

from plugin.sandbox.portal import CONTACTS as KIND
from plugin.sandbox.portal import Portal
from tests.sandbox.conftest import Crm, MakeCrm

CONTACTS = "/crm/objects/2026-09/contacts"


def _plan(crm: Crm, *faults: dict[str, Any]) -> int:
    return int(crm.client.post("/sandbox/faults", json=list(faults)).get_json()["planned"])


def test_a_wrong_token_is_refused(crm: Crm) -> None:
    """401 with HubSpot's category."""
    answer = crm.call("GET", CONTACTS, token="wrong")
    assert (answer.status, answer.body["category"]) == (401, "INVALID_AUTHENTICATION")


def test_only_granted_scopes_open(make_crm: MakeCrm) -> None:
    """403 that names what is missing; the manifest grants deals to be read only."""
    crm = make_crm(scopes=Portal().scopes)
    deal = crm.deal(dealname="Roof")
    path = f"/crm/objects/2026-09/deals/{deal}"
    assert crm.call("GET", path).status == 200
    refused = crm.call("PATCH", path, {"properties": {"amount": "1"}})
    assert (refused.status, refused.body["category"]) == (403, "MISSING_SCOPES")
    assert refused.body["errors"][0]["context"] == {
        "requiredGranularScopes": ["crm.objects.deals.write"]
    }


@pytest.mark.parametrize(
    ("scope", "method", "path", "body"),
    [
        ("crm.objects.contacts.read", "GET", CONTACTS, None),
        ("crm.objects.contacts.read", "GET", "/crm/objects/2026-09/tasks", None),
        ("crm.objects.deals.read", "GET", "/crm/pipelines/2026-09/deals", None),
        ("crm.schemas.contacts.read", "GET", "/crm/properties/2026-09/contacts", None),
        ("crm.objects.contacts.read", "GET", "/crm/properties/2026-09/contacts", None),
        ("crm.objects.owners.read", "GET", "/crm/owners/2026-09", None),
        (
            "crm.objects.deals.read",
            "POST",
            "/crm/associations/2026-09/deals/contacts/batch/read",
            {"inputs": []},
        ),
    ],
)
def test_one_scope_is_enough(
    make_crm: MakeCrm, scope: str, method: str, path: str, body: Any
) -> None:
    """Each call has the scopes HubSpot's files list for it; without any of them it is 403."""
    assert make_crm(scopes=frozenset({scope})).call(method, path, body).status == 200
    assert make_crm(scopes=frozenset()).call(method, path, body).status == 403


def test_the_burst_limit_is_told(crm: Crm) -> None:
    """In headers that count down."""
    told = [crm.call("GET", CONTACTS).headers["X-HubSpot-RateLimit-Remaining"] for _ in range(2)]
    headers = crm.call("GET", CONTACTS).headers
    assert told == ["99", "98"]
    assert (
        headers["X-HubSpot-RateLimit-Max"],
        headers["X-HubSpot-RateLimit-Interval-Milliseconds"],
        headers["X-HubSpot-RateLimit-Daily-Remaining"],
    ) == ("100", "10000", "249997")


def test_the_burst_limit_is_enforced_where_asked(make_crm: MakeCrm) -> None:
    """429 with the policy's name; associations batches are exempt."""
    crm = make_crm(rate_limit=2, enforce_rate=True)
    answers = [crm.call("GET", CONTACTS) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].body["policyName"] == "TEN_SECONDLY_ROLLING"
    path = "/crm/associations/2026-09/deals/contacts/batch/read"
    assert crm.call("POST", path, {"inputs": []}).status == 200


def test_searches_have_a_limit_of_their_own(make_crm: MakeCrm) -> None:
    """Five a second, and no header tells of it."""
    crm = make_crm(enforce_rate=True)
    answers = [crm.call("POST", f"{CONTACTS}/search", {}) for _ in range(6)]
    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert answers[5].body["policyName"] == "SECONDLY"
    assert not any(name.startswith("X-HubSpot") for name, _ in answers[0].headers)


@pytest.mark.parametrize("status", [429, 500, 503, 423, 401])
def test_a_fault_answers_once(crm: Crm, status: int) -> None:
    """The next call fails without being done; the one after is well."""
    contact = crm.contact(city="Kiel")
    assert _plan(crm, {"status": status, "headers": {"Retry-After": "3"}}) == 1
    path, body = f"{CONTACTS}/{contact}", {"properties": {"city": "Bremen"}}
    failed = crm.call("PATCH", path, body)
    assert (failed.status, failed.headers["Retry-After"]) == (status, "3")
    assert crm.state.get(KIND, contact).value("city") == "Kiel"
    assert crm.call("PATCH", path, body).status == 200


def test_a_fault_waits_for_its_call(crm: Crm) -> None:
    """``path`` and ``method`` choose the call, ``times`` how many."""
    _plan(crm, {"status": 500, "path": "/owners/", "method": "GET", "times": 2})
    paths = [CONTACTS, "/crm/owners/2026-09", "/crm/owners/2026-09", "/crm/owners/2026-09"]
    assert [crm.call("GET", path).status for path in paths] == [200, 500, 500, 200]


def test_a_fault_may_have_a_body(crm: Crm) -> None:
    """As an account that moves to another data centre answers."""
    body = {
        "message": "moving",
        "category": "MIGRATION_IN_PROGRESS",
        "correlationId": "aeb5f871-7f07-4993-9211-075dc63e7cbf",
    }
    _plan(crm, {"status": 477, "body": body})
    assert crm.call("GET", CONTACTS).body == body


def test_a_dropped_answer_is_work_done(crm: Crm) -> None:
    """The connection breaks after the record was made."""
    _plan(crm, {"drop": True})
    with pytest.raises(ConnectionResetError):
        crm.call("POST", CONTACTS, {"properties": {"firstname": "Ana"}})
    (made,) = crm.call("GET", CONTACTS).body["results"]
    assert made["properties"]["firstname"] == "Ana"


def test_a_delay_delays(crm: Crm) -> None:
    """By at least so many seconds."""
    _plan(crm, {"delay": 0.05})
    started = time.monotonic()
    crm.call("GET", CONTACTS)
    assert time.monotonic() - started >= 0.05


def test_planned_faults_can_be_called_off(crm: Crm) -> None:
    """An empty list clears them."""
    _plan(crm, {"status": 500})
    assert (_plan(crm), crm.call("GET", CONTACTS).status) == (0, 200)


def test_a_fault_must_be_known(crm: Crm) -> None:
    """A misspelt plan is refused."""
    assert crm.client.post("/sandbox/faults", json=[{"statsu": 500}]).status_code == 400
