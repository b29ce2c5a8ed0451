"""The referee itself: it lets HubSpot's own examples pass and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests import openapi

READ = "/crm/objects/2026-09/contacts/batch/read"
SEARCH = "/crm/objects/2026-09/deals/search"
STAMP = "2026-11-21T10:00:00.000Z"


@pytest.fixture(autouse=True)
def _specs() -> None:
    openapi.need_specs()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", READ, {"properties": ["email"], "inputs": [{"id": "1"}]}),
        ("POST", SEARCH, {"filterGroups": [], "sorts": [{"propertyName": "createdate"}]}),
        ("GET", "/crm/owners/2026-09?limit=100&archived=true", None),
        ("GET", "https://api.example.com/account-info/2026-09/details", None),
        ("GET", "/crm/pipelines/2026-09/deals", None),
        ("POST", "/crm/objects/2026-09/tasks/batch/archive", {"inputs": [{"id": "1"}]}),
    ],
)
def test_a_documented_call_passes(method: str, path: str, body: Any) -> None:
    """Calls as HubSpot's documentation prints them are accepted."""
    openapi.check_request(method, path, body)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", READ, {"properties": ["email"]}),
        ("POST", READ, {"properties": ["email"], "inputs": [{"id": 1}]}),
        ("POST", READ, {"properties": [], "inputs": [], "idproperty": "email"}),
        ("POST", READ, None),
        ("GET", "/crm/owners/2026-09?page=2", None),
        ("GET", "/crm/owners/2026-09", {}),
        ("GET", "/crm/objects/2026-09/planets", None),
        ("POST", "/crm/v3/objects/contacts/batch/read", {"inputs": []}),
        ("DELETE", READ, None),
    ],
)
def test_an_undocumented_call_is_refused(method: str, path: str, body: Any) -> None:
    """A missing, mistyped or unknown part of a call is an assertion error."""
    with pytest.raises(AssertionError):
        openapi.check_request(method, path, body)


def _batch(**properties: str | None) -> dict[str, Any]:
    record = {
        "id": "1",
        "properties": properties,
        "createdAt": STAMP,
        "updatedAt": STAMP,
        "archived": False,
    }
    return {"status": "COMPLETE", "results": [record], "startedAt": STAMP, "completedAt": STAMP}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, _batch(email="ana@example.com", phone=None)),
        (
            401,
            {
                "status": "error",
                "message": "no",
                "correlationId": "aeb5f871-7f07-4993-9211-075dc63e7cbf",
                "category": "INVALID_AUTHENTICATION",
            },
        ),
        (
            429,
            {
                "status": "error",
                "message": "You have reached your ten_secondly_rolling limit.",
                "errorType": "RATE_LIMIT",
                "correlationId": "aeb5f871-7f07-4993-9211-075dc63e7cbf",
                "policyName": "TEN_SECONDLY_ROLLING",
            },
        ),
    ],
)
def test_a_documented_answer_passes(status: int, body: Any) -> None:
    """Answers as HubSpot gives them, with nulls for empty properties, are accepted."""
    openapi.check_response("POST", READ, status, body)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (201, _batch()),
        (200, {**_batch(), "status": "DONE"}),
        (200, {**_batch(), "extra": 1}),
        (200, {**_batch(), "startedAt": "yesterday"}),
        (200, None),
        (404, {"error": "gone"}),
    ],
)
def test_an_undocumented_answer_is_refused(status: int, body: Any) -> None:
    """A status or body the files do not describe is an assertion error."""
    with pytest.raises(AssertionError):
        openapi.check_response("POST", READ, status, body)


def test_an_answer_without_body_has_none() -> None:
    """204 carries nothing."""
    path = "/crm/objects/2026-09/contacts/1"
    openapi.check_response("DELETE", path, 204)
    with pytest.raises(AssertionError):
        openapi.check_response("DELETE", path, 204, {})


def test_absent_files_skip_or_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the files a test is skipped, and fails where they are demanded."""
    monkeypatch.setattr(openapi, "AVAILABLE", False)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("REQUIRE_SPECS", raising=False)
    with pytest.raises(pytest.skip.Exception):
        openapi.need_specs()
    monkeypatch.setenv("REQUIRE_SPECS", "1")
    with pytest.raises(pytest.fail.Exception):
        openapi.need_specs()
