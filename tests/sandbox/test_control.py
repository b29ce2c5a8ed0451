"""People's doings and the sandbox's own controls."""

from __future__ import annotations

from tests.sandbox.conftest import Crm


def test_people_edit_at_the_screen(crm: Crm) -> None:
    """Their changes bear their name, not the app's."""
    contact = crm.contact(firstname="Ana")
    body = {"properties": {"city": "Kiel"}, "by": "64492918"}
    crm.ui("PATCH", f"contacts/{contact}", body)
    path = f"/crm/objects/2026-09/contacts/{contact}?propertiesWithHistory=city"
    (version,) = crm.call("GET", path).body["propertiesWithHistory"]["city"]
    assert (version["sourceType"], version["sourceId"]) == ("CRM_UI", "userId:882761035")


def test_a_deal_may_find_its_contact_later(crm: Crm) -> None:
    """As at HubSpot's screen: first the deal, then the association."""
    contact = crm.contact(firstname="Ana")
    values = {"properties": {"dealname": "Roof"}, "contacts": [contact], "attach_later": True}
    deal = crm.ui("POST", "deals", values)["id"]
    path = f"/crm/objects/2026-09/deals/{deal}/associations/contacts"
    before = crm.call("GET", path).body["results"]
    crm.ui("POST", f"deals/{deal}/contacts", {"contacts": [contact]})
    after = [link["toObjectId"] for link in crm.call("GET", path).body["results"]]
    crm.ui("DELETE", f"deals/{deal}/contacts", {"contacts": [contact]})
    assert (before, after, crm.call("GET", path).body["results"]) == ([], [contact], [])


def test_people_delete_and_restore(crm: Crm) -> None:
    """Tasks too."""
    task = crm.task(hs_task_subject="Call")
    crm.ui("DELETE", f"tasks/{task}")
    assert crm.call("GET", f"/crm/objects/2026-09/tasks/{task}").status == 404
    crm.ui("POST", f"tasks/{task}/restore")
    assert crm.call("GET", f"/crm/objects/2026-09/tasks/{task}").status == 200


def test_people_erase(crm: Crm) -> None:
    """A privacy deletion at the screen."""
    contact = crm.contact(firstname="Ana")
    crm.ui("POST", f"contacts/{contact}/gdpr")
    assert crm.changes()[-2:] == ["contact privacyDeletion", "contact deletion"]


def test_what_people_cannot_do_is_said(crm: Crm) -> None:
    """With HubSpot's words for it."""
    missing = crm.client.patch("/sandbox/ui/contacts/9", json={"properties": {}})
    wrong = crm.client.post("/sandbox/ui/contacts", json={"properties": {"email": "x"}})
    nothing = crm.client.post("/sandbox/ui/contacts")
    assert (missing.status_code, wrong.status_code, nothing.status_code) == (404, 400, 400)


def test_the_clock_stands_where_it_is_put(crm: Crm) -> None:
    """Every change moves it by a millisecond; null returns to the present."""
    crm.travel("2024-02-29T12:00:00+01:00")
    contact = crm.contact(firstname="Ana")
    assert crm.read(f"contacts/{contact}")["createdate"] == "2024-02-29T11:00:00.001Z"
    assert crm.client.get("/sandbox/clock").get_json() == {"now": "2024-02-29T11:00:00.001Z"}
    crm.travel(None)
    assert crm.client.get("/sandbox/clock").get_json()["now"] > "2026"


def test_the_clock_knows_what_an_instant_is(crm: Crm) -> None:
    """400 for anything else."""
    assert crm.client.post("/sandbox/clock", json={"now": "soon"}).status_code == 400


def test_the_state_tells_everything(crm: Crm) -> None:
    """Records with associations, calls by endpoint, answers by status."""
    contact = crm.contact(firstname="Ana")
    deal = crm.deal(contact, dealname="Roof")
    crm.call("GET", f"/crm/objects/2026-09/contacts/{contact}")
    crm.call("GET", "/crm/objects/2026-09/contacts/9")
    crm.call("GET", f"/crm/objects/2026-09/deals/{deal}/associations/contacts")
    state = crm.client.get("/sandbox/state").get_json()
    assert state["contacts"][0]["associations"] == {"deals": [deal]}
    assert state["deals"][0]["properties"]["dealname"] == "Roof"
    assert state["calls"] == {
        "GET /crm/objects/2026-09/contacts/{record_id}": 2,
        "GET /crm/objects/2026-09/deals/{start_id}/associations/contacts": 1,
    }
    assert state["answers"] == {"200": 2, "404": 1}
    assert state["webhooks"]["events"] > 0
    assert "contacts" not in crm.client.get("/sandbox/state?records=no").get_json()
