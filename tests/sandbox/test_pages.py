"""The rep's pages: what they show, and that nothing typed can break them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plugin.manifest import FieldType, manifest
from plugin.sandbox import pages
from plugin.sandbox.views import plain_text
from plugin.sandbox.words import WORDS
from tests.sandbox.conftest import Crm

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
TYPES = {
    FieldType.ENUM: ("enumeration", "select"),
    FieldType.MULTI_ENUM: ("enumeration", "checkbox"),
    FieldType.TEXT: ("string", "textarea"),
    FieldType.LINE: ("string", "text"),
    FieldType.DATE: ("date", "date"),
    FieldType.NUMBER: ("number", "number"),
    FieldType.MONEY: ("number", "number"),
    FieldType.BOOL: ("bool", "booleancheckbox"),
}


@pytest.fixture
def spiral(crm: Crm) -> Crm:
    """An account with the plugin's fields, on a set day."""
    crm.travel("2026-11-21T09:00:00Z")
    for field in manifest().fields:
        kind, field_type = TYPES[field.type]
        values = [option.value for option in field.options]
        if field.type is FieldType.BOOL:
            values = ["true", "false"]
        options = [
            {"label": value, "value": value, "displayOrder": 0, "hidden": False} for value in values
        ]
        crm.property(field.key, type=kind, fieldType=field_type, options=options)
    return crm


def _page(crm: Crm, path: str) -> str:
    response = crm.client.get(path)
    assert response.status_code == 200, response.text
    return response.text


def _post(crm: Crm, path: str, **form: Any) -> Any:
    response = crm.client.post(path, data=form)
    assert response.status_code == 303, response.text
    return response


def test_the_first_page_is_the_contacts(crm: Crm) -> None:
    """``/`` leads there."""
    assert crm.client.get("/").headers["Location"] == "/contacts"


def test_the_list_shows_where_contacts_stand(spiral: Crm) -> None:
    """Name, stage and readiness in words, referrer as a link, number of open tasks."""
    maren = spiral.contact(firstname="Maren", lastname="Feldkamp")
    ana = spiral.contact(
        firstname="Ana",
        company="Bakery",
        spiral_stage="loyalty",
        spiral_readiness="ask_now",
        spiral_referrer=f"Maren Feldkamp ({maren})",
    )
    spiral.task(ana, hs_task_subject="Ask")
    spiral.ui("POST", f"tasks/{spiral.task(ana)}/complete")
    page = _page(spiral, "/contacts")
    assert '<span class="chip stage-loyalty">Verbundenheit</span>' in page
    assert '<span class="chip ready-ask_now">Jetzt fragen</span>' in page
    assert page.count(f'<a href="/contacts/{maren}">Maren Feldkamp</a>') == 2
    assert '<span class="badge">1</span>' in page


def test_the_list_is_filtered(spiral: Crm) -> None:
    """By stage and by words."""
    spiral.contact(firstname="Ana", spiral_stage="loyalty")
    spiral.contact(firstname="Bo", email="bo@example.com")
    by_stage, by_words = (
        _page(spiral, "/contacts?stage=loyalty"),
        _page(spiral, "/contacts?q=BO@exam"),
    )
    assert (">Ana<" in by_stage, ">Bo<" in by_stage) == (True, False)
    assert (">Ana<" in by_words, ">Bo<" in by_words) == (False, True)
    assert WORDS["nobody"].de in _page(spiral, "/contacts?q=nobody")


def test_a_long_list_says_what_it_hides(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is found by searching."""
    monkeypatch.setattr(pages, "ROWS", 2)
    for name in ("Ana", "Bo", "Cem"):
        crm.contact(firstname=name)
    page = _page(crm, "/contacts")
    assert (">Bo<" in page, ">Cem<" in page) == (True, False)
    assert f"+ 1 {WORDS['hidden'].de}" in page


def test_a_contact_is_shown_whole(spiral: Crm) -> None:
    """Explanation with its lines, deals with amounts, tasks with dates, history with names."""
    contact = spiral.contact(
        firstname="Ana",
        spiral_stage="loyalty",
        spiral_stage_since="2026-10-05",
        spiral_explanation="First line\nSecond line",
        spiral_referral_value="14900.5",
        spiral_contact_consent="phone;email",
        spiral_do_not_ask="true",
    )
    spiral.deal(contact, dealname="Roof", amount="1200")
    spiral.deal(contact, dealname="Door", amount="80", deal_currency_code="CHF")
    spiral.task(
        contact,
        hs_timestamp="2026-11-23T23:30:00Z",
        hs_task_subject="Ask",
        hs_task_body="Say hello<br>&amp; thanks<p>Bye</p>[spiral:ask:1]",
        hubspot_owner_id="64492918",
    )
    page = _page(spiral, f"/contacts/{contact}")
    for shown in (
        "First line\nSecond line",
        "Verbundenheit · 05.10.2026",
        "1.200,00\xa0€",
        "80,00\xa0CHF",
        "14.900,50\xa0€",
        "Say hello\n&amp; thanks\nBye",
        "[spiral:ask:1]",
        "Fällig 24.11.2026",
        "Jonas Keller",
        "Telefon, E-Mail",
    ):
        assert shown in page
    assert 'value="phone" checked' in page
    assert '<option value="true" selected>Ja</option>' in page


def test_a_contact_is_shown_in_english(spiral: Crm) -> None:
    """``?lang=en``, and links keep it."""
    contact = spiral.contact(firstname="Ana", spiral_stage="loyalty")
    page = _page(spiral, f"/contacts/{contact}?lang=en")
    assert '<html lang="en">' in page
    assert '<span class="chip stage-loyalty">Loyalty</span>' in page
    assert '<a class="brand" href="/contacts?lang=en">' in page
    assert f'href="/contacts/{contact}?lang=de"' in page


def test_an_unknown_language_is_german(crm: Crm) -> None:
    """The default."""
    assert '<html lang="de">' in _page(crm, "/contacts?lang=xx")


def test_without_the_plugin_the_page_says_so(crm: Crm) -> None:
    """A fresh account has none of its fields."""
    assert WORDS["not_installed"].de in _page(crm, f"/contacts/{crm.contact(firstname='Ana')}")


def test_joined_contacts_are_named_with_their_label(spiral: Crm) -> None:
    """What the other is to this one."""
    ana, maren = spiral.contact(firstname="Ana"), spiral.contact(firstname="Maren")
    labels = "/crm/associations/2026-09/contacts/contacts/labels"
    body = {"name": "referral", "label": "Empfehlungsgeber", "inverseLabel": "Empfohlen"}
    type_id = spiral.call("POST", labels, body).body["results"][0]["typeId"]
    path = f"/crm/objects/2026-09/contacts/{ana}/associations/contacts/{maren}"
    spec = {"associationCategory": "USER_DEFINED", "associationTypeId": type_id}
    spiral.call("PUT", path, [spec])
    assert '<span class="tag">Empfehlungsgeber</span>' in _page(spiral, f"/contacts/{ana}")
    assert '<span class="tag">Empfohlen</span>' in _page(spiral, f"/contacts/{maren}")


def test_tasks_are_grouped_by_when_they_are_due(crm: Crm) -> None:
    """Days are those of the account's zone."""
    crm.travel("2026-11-21T22:30:00Z")
    for due, subject in (
        ("2026-11-20T22:00:00Z", "Yesterday"),
        ("2026-11-20T23:30:00Z", "Today"),
        ("2026-11-21T23:30:00Z", "Tomorrow"),
    ):
        crm.task(crm.contact(firstname="Ana"), hs_timestamp=due, hs_task_subject=subject)
    page = _page(crm, "/tasks")
    order = ["Überfällig", "Yesterday", 'id="due_today"', ">Today<", 'id="later"', "Tomorrow"]
    places = [page.index(word) for word in order]
    assert places == sorted(places)


@pytest.mark.parametrize("path", ["/contacts", "/contacts/{id}", "/tasks"])
def test_hostile_text_stays_text(spiral: Crm, path: str) -> None:
    """Names, explanations, tasks and deals are shown as typed, never as markup."""
    contact = spiral.contact(
        firstname=HOSTILE,
        lastname="O'Neill & Co",
        company=HOSTILE,
        city=HOSTILE,
        spiral_explanation=HOSTILE,
        spiral_referrer=HOSTILE,
        spiral_referrer_name=HOSTILE,
        spiral_recommended_words=HOSTILE + "</textarea>",
    )
    spiral.deal(contact, dealname=HOSTILE)
    spiral.task(contact, hs_task_subject=HOSTILE, hs_task_body=HOSTILE)
    page = _page(spiral, path.format(id=contact))
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert" in page


def test_hostile_words_of_a_search_stay_text(crm: Crm) -> None:
    """Also what comes in the address."""
    page = crm.client.get("/contacts", query_string={"q": HOSTILE, "stage": HOSTILE}).text
    assert "<script" not in page
    assert "<img" not in page


def test_a_rep_edits_what_they_know(spiral: Crm) -> None:
    """Only what the form changed is written, as an edit at the screen."""
    contact = spiral.contact(firstname="Ana", spiral_rating="satisfied")
    spiral.ui("PATCH", f"contacts/{contact}", {"properties": {"spiral_origin": "press"}})
    _post(
        spiral,
        f"/contacts/{contact}",
        _fields="spiral_rating,spiral_origin,spiral_contact_consent",
        **{
            "_was:spiral_rating": "satisfied",
            "spiral_rating": "delighted",
            "_was:spiral_origin": "",
            "spiral_origin": "",
            "spiral_contact_consent": ["phone", "email"],
        },
    )
    names = ("spiral_rating", "spiral_origin", "spiral_contact_consent")
    values = spiral.read(f"contacts/{contact}", *names)
    assert [values[name] for name in names] == ["delighted", "press", "phone;email"]


def test_a_rep_sets_and_locks_a_stage(spiral: Crm) -> None:
    """The stage stands beside its lock and can be set by hand."""
    contact = spiral.contact(firstname="Ana", spiral_stage="sympathy")
    page = _page(spiral, f"/contacts/{contact}")
    assert 0 < page.index('id="spiral_stage_locked"') < page.index('id="spiral_stage"')
    form = {
        "_was:spiral_stage": "sympathy",
        "spiral_stage": "loyalty",
        "spiral_stage_locked": "true",
    }
    _post(spiral, f"/contacts/{contact}", _fields="spiral_stage,spiral_stage_locked", **form)
    values = spiral.read(f"contacts/{contact}", "spiral_stage", "spiral_stage_locked")
    assert (values["spiral_stage"], values["spiral_stage_locked"]) == ("loyalty", "true")


def test_a_rep_empties_a_field(spiral: Crm) -> None:
    """A field with nothing in it any more."""
    contact = spiral.contact(firstname="Ana", spiral_rating="angry")
    form = {"_was:spiral_rating": "angry", "spiral_rating": ""}
    _post(spiral, f"/contacts/{contact}", _fields="spiral_rating", **form)
    assert spiral.read(f"contacts/{contact}", "spiral_rating")["spiral_rating"] is None


def test_line_ends_of_a_browser_change_nothing(spiral: Crm) -> None:
    """A text shown and sent back is the same text."""
    contact = spiral.contact(firstname="Ana", spiral_recommended_words="one\ntwo")
    told = len(spiral.changes())
    name = "spiral_recommended_words"
    form = {f"_was:{name}": "one\r\ntwo", name: "one\r\ntwo"}
    _post(spiral, f"/contacts/{contact}", _fields=name, **form)
    assert len(spiral.changes()) == told


def test_what_cannot_be_saved_is_said(crm: Crm) -> None:
    """On the page, with the reason; nothing is written."""
    contact = crm.contact(firstname="Ana")
    form = {"_fields": "email", "email": "nonsense"}
    response = crm.client.post(f"/contacts/{contact}", data=form)
    assert response.status_code == 400
    assert WORDS["not_saved"].de in response.text
    assert "nonsense is invalid" in response.text


def test_a_rep_creates_a_contact(crm: Crm) -> None:
    """It is theirs; a wrong one is refused with the reason."""
    response = _post(crm, "/contacts", firstname="Ana", email="")
    contact = response.headers["Location"].rsplit("/", 1)[1]
    assert crm.read(f"contacts/{contact}", "hubspot_owner_id")["hubspot_owner_id"] == "64492917"
    assert crm.client.post("/contacts", data={"email": "nonsense"}).status_code == 400


def test_a_rep_makes_and_moves_a_deal(crm: Crm) -> None:
    """The pipeline follows the stage chosen."""
    contact = crm.contact(firstname="Ana")
    _post(crm, f"/contacts/{contact}/deals", dealname="Roof", amount="10", dealstage="renewal_due")
    links = f"/crm/objects/2026-09/contacts/{contact}/associations/deals"
    deal = crm.call("GET", links).body["results"][0]["toObjectId"]
    _post(crm, f"/contacts/{contact}/deals/{deal}", dealstage="renewal_won")
    values = crm.read(f"deals/{deal}", "pipeline", "hs_is_closed_won", "amount")
    assert [values[name] for name in ("pipeline", "hs_is_closed_won", "amount")] == [
        "renewals",
        "true",
        "10",
    ]


@pytest.mark.parametrize(
    ("action", "status", "back"),
    [("done", "COMPLETED", "/tasks"), ("delete", None, "/contacts/{id}")],
)
def test_a_rep_finishes_or_deletes_a_task(
    crm: Crm, action: str, status: str | None, back: str
) -> None:
    """And is back where the button was."""
    contact = crm.contact(firstname="Ana")
    task = crm.task(contact, hs_task_subject="Call")
    form = {"contact_id": contact if "id" in back else ""}
    response = _post(crm, f"/tasks/{task}/{action}", **form)
    assert response.headers["Location"] == back.format(id=contact)
    read = crm.call("GET", f"/crm/objects/2026-09/tasks/{task}?properties=hs_task_status")
    assert read.body.get("properties", {}).get("hs_task_status") == status


@pytest.mark.parametrize("action", ["delete", "erase"])
def test_a_rep_removes_a_contact(crm: Crm, action: str) -> None:
    """And is back at the list."""
    contact = crm.contact(firstname="Ana")
    _post(crm, f"/contacts/{contact}/{action}")
    assert crm.client.get(f"/contacts/{contact}").status_code == 404


@pytest.mark.parametrize(
    "path", ["/contacts/9", "/contacts/1/record/0-1/9", "/contacts/4711001/record/0-3/9"]
)
def test_an_unknown_page_is_not_found(crm: Crm, path: str) -> None:
    """404, also for another account's address."""
    assert crm.client.get(path).status_code == 404


def test_hubspots_own_addresses_lead_here(crm: Crm) -> None:
    """The ``url`` of a record opens its page."""
    contact = crm.contact(firstname="Ana")
    url = crm.call("GET", f"/crm/objects/2026-09/contacts/{contact}").body["url"]
    assert url == f"http://localhost/contacts/4711001/record/0-1/{contact}"
    assert crm.client.get(url).headers["Location"] == f"/contacts/{contact}"


@pytest.mark.parametrize(
    ("origin", "status"), [("http://evil.example.com", 403), ("http://localhost", 303)]
)
def test_forms_of_other_sites_are_refused(crm: Crm, origin: str, status: int) -> None:
    """By the origin a browser names."""
    contact = crm.contact(firstname="Ana")
    response = crm.client.post(f"/contacts/{contact}/delete", headers={"Origin": origin})
    assert response.status_code == status


def test_nothing_is_loaded_from_elsewhere(spiral: Crm) -> None:
    """One stylesheet of our own, no script."""
    page = _page(spiral, f"/contacts/{spiral.contact(firstname='Ana')}")
    assert page.count("<link") == 2
    assert '<link rel="stylesheet" href="/static/sandbox.css">' in page
    assert "<script" not in page
    with spiral.client.get("/static/sandbox.css") as style:
        assert (style.status_code, b"://" in style.data) == (200, False)


def test_every_word_is_there_in_both_languages() -> None:
    """None is empty."""
    assert [key for key, text in WORDS.items() if not (text.de and text.en)] == []


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain\ntext", "plain\ntext"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<p>a</p><p>b &lt; c</p>", "a\nb < c"),
        ("a & b", "a & b"),
    ],
)
def test_a_tasks_html_becomes_text(html: str, text: str) -> None:
    """Breaks are kept, tags are not."""
    assert plain_text(html) == text


def test_answers_and_pages_share_one_account(crm: Crm) -> None:
    """What the API writes the page shows."""
    body = {"properties": {"firstname": "Ana", "lastname": "Diaz"}}
    contact = crm.call("POST", "/crm/objects/2026-09/contacts", body).body["id"]
    assert "<h1>Ana Diaz</h1>" in _page(crm, f"/contacts/{contact}")
    assert json.dumps(crm.changes()[0]) == '"contact creation"'
