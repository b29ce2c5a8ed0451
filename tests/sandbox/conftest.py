"""A sandbox without a server, and a client that lets no call pass unjudged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from plugin.sandbox.portal import Portal
from plugin.sandbox.records import Sandbox
from plugin.sandbox.server import create_sandbox
from plugin.sandbox.webhooks import Change, Outbox
from tests import openapi

WIRE = ("/crm/", "/account-info/")
PORTAL = Portal()
SCOPES = PORTAL.scopes | {"crm.objects.deals.write", "crm.schemas.deals.write"}


class Diary(Outbox):
    """An outbox that also remembers every change, subscribed to or not."""

    def __init__(self, portal: Portal) -> None:
        super().__init__(portal)
        self.changes: list[Change] = []

    def emit(self, change: Change) -> None:
        self.changes.append(change)
        super().emit(change)


class RefereedClient(FlaskClient):
    """Every answer on HubSpot's wire is held against HubSpot's own files."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        response = super().open(*args, **kwargs)
        request = response.request
        if openapi.AVAILABLE and request.path.startswith(WIRE):
            body = response.get_json() if response.data else None
            openapi.check_response(request.method, request.path, response.status_code, body)
        return response


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: Any


@dataclass(frozen=True, slots=True)
class Crm:
    """The sandbox as a test talks to it."""

    state: Sandbox
    client: RefereedClient

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        well_formed: bool = True,
    ) -> Answer:
        """One API call. ``well_formed`` False: a call HubSpot's files do not allow."""
        if well_formed and openapi.AVAILABLE:
            openapi.check_request(method, path, body)
        given = self.state.portal.token if token is None else token
        response = self.client.open(
            path, method=method, json=body, headers={"Authorization": f"Bearer {given}"}
        )
        return Answer(response.status_code, response.get_json(silent=True), response.headers)

    def ui(self, method: str, path: str, body: Any = None) -> Any:
        """What a person does; must succeed."""
        response = self.client.open(f"/sandbox/ui/{path}", method=method, json=body or {})
        assert response.status_code < 300, response.text
        return response.get_json()

    def contact(self, **properties: str) -> str:
        """A contact made by a person; its id."""
        return str(self.ui("POST", "contacts", {"properties": properties})["id"])

    def deal(self, *contacts: str, **properties: str) -> str:
        body = {"properties": properties, "contacts": list(contacts)}
        return str(self.ui("POST", "deals", body)["id"])

    def task(self, *contacts: str, **properties: str) -> str:
        due = {"hs_timestamp": "2026-11-24T15:00:00Z", **properties}
        return str(self.ui("POST", "tasks", {"properties": due, "contacts": list(contacts)})["id"])

    def property(self, name: str, **definition: Any) -> None:
        """A custom property of contacts; a text unless the definition says else."""
        body = {
            "name": name,
            "label": name,
            "type": "string",
            "fieldType": "text",
            "groupName": "contactinformation",
            **definition,
        }
        assert self.call("POST", "/crm/properties/2026-09/contacts", body).status == 201

    def read(self, path: str, *names: str) -> Any:
        """The properties of one record."""
        listed = f"?properties={','.join(names)}" if names else ""
        return self.call("GET", f"/crm/objects/2026-09/{path}{listed}").body["properties"]

    def travel(self, to: str | None) -> None:
        assert self.client.post("/sandbox/clock", json={"now": to}).status_code == 200

    def changes(self) -> list[str]:
        """What happened, in words: ``contact creation`` …"""
        assert isinstance(self.state.outbox, Diary)
        return [f"{c.object_type.singular} {c.what}" for c in self.state.outbox.changes]


MakeCrm = Callable[..., Crm]


@pytest.fixture
def make_crm() -> MakeCrm:
    """A sandbox whose account is a little different: ``make_crm(labels=False)``."""

    def make(**portal: Any) -> Crm:
        account = Portal(**{"scopes": SCOPES, **portal})
        state = Sandbox(account, outbox=Diary(account))
        app = create_sandbox(state)
        app.testing = True
        app.test_client_class = RefereedClient
        client = app.test_client()
        assert isinstance(client, RefereedClient)
        return Crm(state, client)

    return make


@pytest.fixture
def crm(make_crm: MakeCrm) -> Crm:
    return make_crm()
