"""The stand-in against the recorded traffic of a running BottleCRM.

What was sent to the real one by a token is sent to the stand-in, in the same order; status and
shape of each answer must be the same, and the words of every refusal.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from tests.payloads.bottlecrm.stand_in import Crm, sign

CAPTURE = Path(__file__).resolve().parents[3] / "shared" / "captures" / "bottlecrm.json"
TARGET = "https://plugin.example.com/webhooks/bottlecrm/token"
FOREIGN_SIGN_IN = "Bearer eyJ"
"""People's sign-ins, which the stand-in does not have: organisations, users, tokens and webhooks
are made by its methods."""
FREE = {"custom_fields", "countries", "currency", "lead_source", "by_currency", "totals"}
"""Keys below which the values are the account's own."""


@pytest.fixture
def recorded() -> Mapping[str, Any]:
    if not CAPTURE.exists():
        message = f"the recorded traffic is not at {CAPTURE}: nothing to compare with"
        if os.environ.get("CI") == "true" or os.environ.get("REQUIRE_SPECS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    found: Mapping[str, Any] = json.loads(CAPTURE.read_text("utf-8"))
    return found


@pytest.fixture
def crm() -> Iterator[Crm]:
    stand_in = Crm()
    with stand_in.serving():
        yield stand_in


class Replay:
    """Sends recorded requests, with the ids and tokens of the stand-in in place of theirs."""

    def __init__(self, crm: Crm, recorded: Mapping[str, Any]) -> None:
        self.crm = crm
        self.calls = recorded["api"]
        self.ours: dict[str, str] = {}
        for call in self.calls:
            body = call["response"]["body"]
            if call["request"]["url"].endswith("/users/get-teams-and-users/"):
                rep = body["profiles"][1]["id"]
                self.ours[rep] = crm.owner_id
            if "bcrm_pat_" in str(body.get("token")):
                self.ours[body["token"]] = crm.mint(*body["scopes"])

    def of_tokens(self) -> Iterator[Mapping[str, Any]]:
        for call in self.calls:
            signed_in = call["request"]["headers"].get("Authorization", "")
            if not signed_in.startswith(FOREIGN_SIGN_IN):
                yield call

    def send(self, call: Mapping[str, Any]) -> tuple[int, Any]:
        request = json.loads(self._ours(json.dumps(call["request"])))
        url = urlsplit(request["url"])
        answer = requests.request(
            request["method"],
            self.crm.url + url.path,
            params=dict(parse_qsl(url.query)),
            json=request["body"],
            headers=request["headers"],
            timeout=10,
        )
        body = answer.json()
        if theirs := call["response"]["body"].get("id"):
            self.ours[theirs] = body["id"]
        return answer.status_code, body

    def _ours(self, text: str) -> str:
        for theirs, ours in self.ours.items():
            text = text.replace(theirs, ours)
        return text


def shape(value: Any, key: str = "") -> Any:
    """Names and types; lists by what is in them, nothing of what is the account's own."""
    if key in FREE:
        return type(value).__name__
    if isinstance(value, dict):
        return {name: shape(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value[:1]]
    return type(value).__name__


def differences(real: Any, made: Any, path: str = "") -> list[str]:
    """Where two shapes differ; what is null or empty in one says nothing of the other."""
    if "NoneType" in (real, made) or [] in (real, made):
        return []
    if isinstance(real, dict) and isinstance(made, dict):
        odd = [f"{path}.{name}" for name in sorted(real.keys() ^ made.keys())]
        both = real.keys() & made.keys()
        return odd + [d for k in sorted(both) for d in differences(real[k], made[k], f"{path}.{k}")]
    if isinstance(real, list) and isinstance(made, list):
        return differences(real[0], made[0], f"{path}[]")
    return [] if real == made else [f"{path}: {real} is {made} here"]


def test_every_recorded_call_of_a_token_is_answered_alike(
    crm: Crm, recorded: Mapping[str, Any]
) -> None:
    """Status and shape; refusals word for word."""
    replay = Replay(crm, recorded)
    found: dict[str, list[str]] = {}
    for number, call in enumerate(replay.of_tokens()):
        real = call["response"]
        status, body = replay.send(call)
        odd = differences(shape(real["body"]), shape(body))
        if status != real["status"]:
            odd.append(f"{real['status']} is {status} here")
        if real["status"] >= 400 and body != real["body"]:
            odd.append(f"{real['body']} is {body} here")
        if odd:
            request = call["request"]
            found[f"{number} {request['method']} {request['url']} {call['note']}"] = odd
    assert found == {}


def test_recorded_deliveries_look_like_those_of_the_stand_in(
    crm: Crm, recorded: Mapping[str, Any]
) -> None:
    """Headers and body of each kind of event that both sent."""
    crm.events = (*crm.events, "task.created")
    crm.subscribe_by_hand(TARGET)
    replay = Replay(crm, recorded)
    for call in replay.of_tokens():
        replay.send(call)
    ours = {dict(one.headers)["X-BottleCRM-Event"]: one for one in crm.deliveries}
    seen, found = set(), {}
    for real in recorded["webhooks"]:
        headers = dict(real["headers"])
        one = ours.get(headers["X-BottleCRM-Event"])
        if one is None or real["path"] == "/slack":
            continue
        seen.add(headers["X-BottleCRM-Event"])
        odd = differences(shape(json.loads(real["body"])), shape(json.loads(one.body)))
        odd += sorted(
            one.headers.keys() ^ (headers.keys() - {"Host", "Content-Length", "Accept-Encoding"})
        )
        if odd:
            found[headers["X-BottleCRM-Event"]] = odd
    assert found == {}
    assert seen == {
        "contact.created", "contact.updated", "contact.deleted", "deal.created", "deal.updated",
        "deal.won", "task.created",
    }  # fmt: skip


def test_the_stand_in_signs_as_the_recorded_deliveries_are_signed(
    recorded: Mapping[str, Any],
) -> None:
    """Over the exact bytes, with the whole secret as text."""
    for real in recorded["webhooks"]:
        told = dict(real["headers"])["X-BottleCRM-Signature"]
        at = int(told.removeprefix("t=").split(",")[0])
        secret = recorded["secrets"][f"http://plugin.example.test{real['path']}"]
        assert sign(secret, at, base64.b64decode(real["body_b64"])) == told


def call(
    crm: Crm, method: str, path: str, body: Any = None, *, token: str | None = None
) -> requests.Response:
    return requests.request(
        method,
        f"{crm.url}/api/{path}",
        json=body,
        headers={"Authorization": f"Bearer {crm.token if token is None else token}"},
        timeout=10,
        allow_redirects=False,
    )


def test_a_path_without_its_last_slash_is_moved(crm: Crm) -> None:
    """A client that follows would turn its POST into a GET."""
    answer = call(crm, "POST", "contacts", {"first_name": "Erika", "last_name": "Muster"})
    assert (answer.status_code, answer.headers["Location"]) == (301, "/api/contacts/")


def test_a_win_is_told_twice_and_needs_amount_and_day(crm: Crm) -> None:
    """First as an update, then as won; a deal that stays won is only updated."""
    crm.subscribe_by_hand(TARGET)
    made = call(crm, "POST", "opportunities/", {"name": "Küche"}).json()["id"]
    refused = call(crm, "PATCH", f"opportunities/{made}/", {"stage": "CLOSED_WON"})
    assert refused.json()["errors"] == {
        "closed_on": ["A deal cannot be closed without the date it closed on."],
        "amount": ["A won deal has to record what it was worth."],
    }
    won = {"stage": "CLOSED_WON", "closed_on": "2026-11-20", "amount": "1000"}
    for _ in range(2):
        assert call(crm, "PATCH", f"opportunities/{made}/", won).status_code == 200
    told = [dict(one.headers)["X-BottleCRM-Event"] for one in crm.deliveries]
    assert told == ["deal.created", "deal.updated", "deal.won", "deal.updated"]


def test_a_field_deleted_keeps_its_name_and_its_values(crm: Crm) -> None:
    """It is made again by switching it on, not by creating it."""
    field = {"target_model": "Contact", "key": "colour", "label": "Colour", "field_type": "text"}
    made = call(crm, "POST", "custom-fields/", field).json()["id"]
    erika = crm.contact("Erika", "Muster")
    crm.change(erika, colour="red")
    assert call(crm, "DELETE", f"custom-fields/{made}/").status_code == 200
    assert call(crm, "POST", "custom-fields/", field).status_code == 400
    ignored = call(crm, "PATCH", f"contacts/{erika}/", {"custom_fields": {"colour": "blue"}})
    assert (ignored.status_code, crm.value(erika, "colour")) == (200, "red")
    assert call(crm, "PUT", f"custom-fields/{made}/", {"is_active": True}).status_code == 200
    crm.change(erika, colour="blue")
    assert crm.value(erika, "colour") == "blue"


def test_lists_are_paged_and_a_contact_shows_its_newest_deals_only(crm: Crm) -> None:
    """Ten a page unless asked for more; ten deals on a contact, with the count of all."""
    erika = crm.contact("Erika", "Muster")
    deals = [crm.deal(erika) for _ in range(12)]
    detail = call(crm, "GET", f"contacts/{erika}/").json()
    assert [one["id"] for one in detail["opportunities"]] == deals[:1:-1]
    assert detail["opportunity_count"] == 12
    pages = [
        call(crm, "GET", f"opportunities/?offset={offset}").json()["opportunities"]
        for offset in (0, 10, 20)
    ]
    assert [len(page) for page in pages] == [10, 2, 0]
    assert sorted(one["id"] for page in pages for one in page) == sorted(deals)
    assert len(call(crm, "GET", "opportunities/?limit=100").json()["opportunities"]) == 12


def test_times_are_in_the_zone_of_the_organisation(crm: Crm) -> None:
    """In answers; webhooks tell UTC."""
    crm.subscribe_by_hand(TARGET)
    erika = crm.contact("Erika", "Muster")
    told = call(crm, "GET", f"contacts/{erika}/").json()["contact_obj"]["updated_at"]
    assert told.endswith(("+01:00", "+02:00"))
    assert json.loads(crm.deliveries[0].body)["data"]["updated_at"].endswith("Z")


def test_a_merge_is_told_as_a_deletion_and_an_update(crm: Crm) -> None:
    """Deals and empty fields move over; no event says so."""
    erika = crm.contact("Erika", "Muster", email="erika@example.com")
    double = crm.contact("Erika", "Muster", city="Ulm")
    deal = crm.deal(double)
    crm.subscribe_by_hand(TARGET)
    assert crm.merge(erika, double) == erika
    told = [(json.loads(o.body)["event"], json.loads(o.body)["data"]["id"]) for o in crm.deliveries]
    assert told == [("contact.deleted", double), ("contact.updated", erika)]
    assert call(crm, "GET", f"contacts/{double}/").status_code == 404
    assert call(crm, "GET", f"contacts/{erika}/").json()["contact_obj"]["city"] == "Ulm"
    contacts = call(crm, "GET", f"opportunities/{deal}/").json()["opportunity_obj"]["contacts"]
    assert [one["id"] for one in contacts] == [erika]
