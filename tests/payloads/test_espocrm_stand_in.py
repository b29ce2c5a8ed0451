"""EspoCRM's stand-in answers as the recorded EspoCRM did, and sends what that one sent.

The recordings lie beside the repository; where they are absent, what needs them is skipped.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from tests.payloads.espocrm.hooks import php_json, signed
from tests.payloads.espocrm.stand_in import Crm

CAPTURE = Path(__file__).resolve().parents[3] / "shared" / "captures" / "espocrm.json"
NOW = datetime(2026, 11, 21, 23, 44, 18, tzinfo=UTC)
NOT_REPLAYED = {4: "keys for signed requests, which the plugin does not use"}
NOT_COMPARED = {"Role", "User"}
"""Made by an administrator before there is a plugin: only the status counts."""


@cache
def capture() -> Any:
    if not CAPTURE.exists():
        if os.environ.get("REQUIRE_SPECS") == "1":
            pytest.fail(f"the recorded traffic is not at {CAPTURE}")
        pytest.skip(f"the recorded traffic is not at {CAPTURE}")
    return json.loads(CAPTURE.read_text(encoding="utf-8"))


@pytest.fixture
def crm() -> Iterator[Crm]:
    stand_in = Crm()
    stand_in.clock = lambda: NOW
    with stand_in.serving():
        yield stand_in


def send(crm: Crm, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
    headers = headers or {"X-Api-Key": crm.token}
    return requests.request(
        method, f"{crm.url}/api/v1/{path}", json=body, headers=headers, timeout=20
    )


def as_admin(crm: Crm) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(crm.admin.encode()).decode()}


def shape(value: Any) -> Any:
    """Names and types without the values; null fits anything, ids as names count as one."""
    if isinstance(value, Mapping):
        return {re.sub(r"^[0-9a-f]{17}$", "<id>", k): shape(v) for k, v in sorted(value.items())}
    if isinstance(value, list):
        return [shape(one) for one in value[:1]]
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else "text"


def differences(recorded: Any, ours: Any, at: str = "") -> list[str]:
    """Where the stand-in's answer has another shape than the recorded one; what is told by id
    may be empty in one of them."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        return [
            *(f"{at}.{one} is missing" for one in sorted(recorded.keys() - ours.keys() - {"<id>"})),
            *(f"{at}.{one} is odd" for one in sorted(ours.keys() - recorded.keys() - {"<id>"})),
            *(
                inner
                for one in sorted(recorded.keys() & ours.keys())
                for inner in differences(recorded[one], ours[one], f"{at}.{one}")
            ),
        ]
    if isinstance(recorded, list) and isinstance(ours, list):
        pairs = zip(recorded, ours, strict=False)
        return [inner for one in pairs for inner in differences(*one, f"{at}[0]")]
    return [] if recorded == ours else [f"{at}: {recorded} and not {ours}"]


class Replay:
    """Sends recorded requests, with the stand-in's own ids and keys in place of the recorded."""

    def __init__(self, crm: Crm) -> None:
        self.crm = crm
        login = base64.b64encode(crm.admin.encode()).decode()
        self.instead = {"YWRtaW46YWRtaW4tbG9jYWwtMQ==": login}

    def send(self, request: Mapping[str, Any]) -> requests.Response:
        url = urlsplit(self._ours(request["url"]))
        headers = json.loads(self._ours(json.dumps(dict(request["headers"]))))
        body = request["body"]
        return requests.request(
            request["method"],
            self.crm.url + url.path,
            params=parse_qsl(url.query),
            data=None if body is None else self._ours(json.dumps(body)),
            headers=headers,
            timeout=20,
        )

    def learn(self, recorded: Any, ours: Any) -> None:
        for name in ("id", "apiKey"):
            if isinstance(recorded, dict) and name in recorded:
                self.instead[recorded[name]] = ours[name]

    def _ours(self, told: str) -> str:
        for recorded, ours in self.instead.items():
            told = told.replace(recorded, ours)
        return told


def test_recorded_requests_are_answered_as_recorded(crm: Crm) -> None:
    """Status and the shape of the body, in the order in which they were sent."""
    replay, odd = Replay(crm), []
    for at, call in enumerate(capture()["api"]):
        if at in NOT_REPLAYED:
            continue
        recorded, answer = call["response"], replay.send(call["request"])
        ours = answer.json() if answer.content else ""
        if answer.status_code < 300:
            replay.learn(recorded["body"], ours)
        told = f"{at} {call['request']['method']} {call['request']['url']}"
        odd += [
            f"{told}: {one}"
            for one in [
                *differences(recorded["status"], answer.status_code, "status"),
                *differences(shape(recorded["body"]), shape(ours), "body"),
            ]
            if urlsplit(call["request"]["url"]).path.split("/")[3] not in NOT_COMPARED
            or one.startswith("status")
        ]
    assert odd == []


def test_recorded_reasons_are_given(crm: Crm) -> None:
    """Why EspoCRM refuses stands in a header."""
    contact = crm.contact("Grace", "Hopper")
    reasons = [
        send(crm, "GET", "Contact/doesnotexist").headers["X-Status-Reason"],
        send(crm, "GET", "Contact?maxSize=201").headers["X-Status-Reason"],
        send(crm, "PUT", f"Contact/{contact}", {"salutationName": "x"}).headers["X-Status-Reason"],
    ]
    assert reasons == [
        "Record doesnotexist does not exist.",
        "Max size should not exceed 200. Use offset and limit.",
        "Field validation failure; entityType: Contact, field: salutationName, type: valid.",
    ]


@pytest.mark.parametrize("at", range(22))
def test_recorded_deliveries_are_signed_as_ours_are(at: int) -> None:
    """Body and both headers, to the byte."""
    recorded = capture()["webhooks"][at]
    headers = dict(recorded["headers"])
    webhook_id = base64.b64decode(headers["Signature"]).decode().partition(":")[0]
    body = base64.b64decode(recorded["body_b64"])
    made = signed(body, webhook_id=webhook_id, secret_key=capture()["secrets"][webhook_id])
    assert {name: headers[name] for name in made} == made
    assert php_json(json.loads(body)) == body


def test_a_recorded_retry_is_the_same_delivery() -> None:
    """Ten minutes later, the very bytes and signatures; nothing tells of a second attempt."""
    first, again = (capture()["webhooks"][at] for at in (1, 21))
    assert 600 <= again["received_at"] - first["received_at"] < 720
    told = ("method", "path", "headers", "body_b64")
    assert [again[one] for one in told] == [first[one] for one in told]


def test_a_recorded_change_is_told_as_recorded(crm: Crm) -> None:
    """Only what changed, the last modifier where it is another one, and the id at the end."""
    recorded = capture()["webhooks"][6]
    contact = crm.contact("Grace", "Hopper")
    subscribe(crm, "Contact.update", skipOwn=True)
    values = {"title": "Admiral", "emailAddress": "grace.h@example.test"}
    send(crm, "PUT", f"Contact/{contact}", values, **as_admin(crm))
    send(crm, "PUT", f"Contact/{contact}", {"title": "Captain"})
    ours = [json.loads(one.body) for one in crm.deliveries]
    assert [[list(item) for item in body] for body in ours] == [
        [list(item) for item in json.loads(base64.b64decode(recorded["body_b64"]))]
    ]


def test_a_recorded_creation_is_told_as_recorded(crm: Crm) -> None:
    """Only what has a value."""
    recorded = json.loads(base64.b64decode(capture()["webhooks"][13]["body_b64"]))[0]
    subscribe(crm, "Contact.create")
    values = {"firstName": "Bulk", "lastName": "No53", "emailAddress": "bulk53@example.test"}
    send(crm, "POST", "Contact", values)
    (ours,) = json.loads(crm.deliveries[0].body)
    assert shape({k: v for k, v in recorded.items() if k != "cBotVerdict"}) == shape(ours)


# ------------------------------------------------------------ what no recording shows


def subscribe(crm: Crm, event: str, **more: Any) -> str:
    body = {"event": event, "url": f"http://127.0.0.1:9/{event}", "isActive": True, **more}
    return str(send(crm, "POST", "Webhook", body).json()["id"])


def test_too_many_failed_logins_shut_everybody_out_for_a_minute(crm: Crm) -> None:
    """A good key, too."""
    wrong = [send(crm, "GET", "Contact", **{"X-Api-Key": "wrong"}) for _ in range(12)]
    locked = send(crm, "GET", "Contact").status_code
    crm.clock = lambda: NOW + timedelta(seconds=61)
    again = send(crm, "GET", "Contact").status_code
    assert ([one.status_code for one in wrong], locked, again) == ([401] * 11 + [403], 403, 200)


def test_fifty_items_fill_a_delivery(crm: Crm) -> None:
    """The rest comes in another one."""
    subscribe(crm, "Contact.create")
    for number in range(55):
        crm.contact("", f"No{number}")
    assert [len(json.loads(one.body)) for one in crm.deliveries] == [50, 5]


def test_relations_are_told_to_nobody(crm: Crm) -> None:
    """Neither by the deal's side nor by the contact's; a changed list of contacts is."""
    contact, other = crm.contact("Ada", "Lovelace"), crm.contact("Grace", "Hopper")
    deal = crm.deal(contact)
    subscribe(crm, "Opportunity.update")
    send(crm, "POST", f"Opportunity/{deal}/contacts", {"id": other})
    send(crm, "DELETE", f"Contact/{other}/opportunities", {"id": deal})
    untold = list(crm.deliveries)
    send(crm, "PUT", f"Opportunity/{deal}", {"contactsIds": [contact, other]})
    (item,) = json.loads(crm.deliveries[0].body)
    assert (untold, item) == (
        [],
        {
            "contactsIds": [contact, other],
            "contactsNames": {contact: "Ada Lovelace", other: "Grace Hopper"},
            "modifiedById": item["modifiedById"],
            "modifiedByName": "plugin",
            "id": deal,
        },
    )


class Receiver:
    """Answers deliveries with one status after the other."""

    def __init__(self, *statuses: int) -> None:
        self.server = Crm()
        self.statuses = list(statuses)
        self.bodies: list[Any] = []

    def take(self, *request: Any) -> tuple[int, Any, Mapping[str, str]]:
        self.bodies.append(request[3])
        return self.statuses.pop(0), None, {}


@pytest.mark.parametrize(
    ("statuses", "seen"),
    [((503, 500, 404, 401), 4), ((503, 200), 2), ((429,), 1), ((502,), 1), ((302,), 1)],
)
def test_some_statuses_bring_a_delivery_again(
    crm: Crm, monkeypatch: pytest.MonkeyPatch, statuses: tuple[int, ...], seen: int
) -> None:
    """Ten minutes later, four times in all; the other statuses drop it at once."""
    receiver = Receiver(*statuses)
    monkeypatch.setattr(receiver.server, "answer", receiver.take)
    with receiver.server.serving() as url:
        body = {"event": "Contact.delete", "url": f"{url}/hook", "isActive": True}
        send(crm, "POST", "Webhook", body)
        crm.delete(crm.contact("Ada", "Lovelace"))
        crm.flush()
        early = crm.flush()
        for minutes in (11, 22, 33, 44, 55):
            crm.clock = lambda at=NOW + timedelta(minutes=minutes): at  # type: ignore[misc]
            crm.flush()
    assert (early, len(receiver.bodies), crm.subscriptions()) == ([], seen, [f"{url}/hook"])


def test_gone_takes_the_webhook_away(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers 410 hears no more."""
    receiver = Receiver(410)
    monkeypatch.setattr(receiver.server, "answer", receiver.take)
    with receiver.server.serving() as url:
        body = {"event": "Contact.delete", "url": f"{url}/hook", "isActive": True}
        send(crm, "POST", "Webhook", body)
        crm.delete(crm.contact("Ada", "Lovelace"))
        assert (crm.flush(), crm.subscriptions()) == ([410], [])


def test_what_changes_nothing_is_told_to_nobody(crm: Crm) -> None:
    """Not even that it was modified."""
    contact = crm.contact("Ada", "Lovelace")
    subscribe(crm, "Contact.update")
    crm.clock = lambda: NOW + timedelta(hours=1)
    answer = send(crm, "PUT", f"Contact/{contact}", {"lastName": "Lovelace"}).json()
    assert (crm.deliveries, answer["modifiedAt"]) == ([], "2026-11-21 23:44:18")


def test_merging_deletes_one_and_saves_the_other(crm: Crm) -> None:
    """Deals go to the one that is kept, and no webhook tells of that."""
    keep, drop = crm.contact("Ada", "Lovelace"), crm.contact("Ada", "Lovelace-King")
    deal = crm.deal(drop)
    for event in ("Contact.update", "Contact.delete", "Opportunity.update"):
        subscribe(crm, event)
    left = crm.merge(keep, drop)
    contacts = send(crm, "GET", f"Opportunity/{deal}").json()["contactsIds"]
    told = {one.url.rpartition("/")[2]: json.loads(one.body) for one in crm.deliveries}
    assert (left, contacts, {event: [one["id"] for one in told[event]] for event in told}) == (
        keep,
        [keep],
        {"Contact.delete": [drop], "Contact.update": [keep]},
    )


def found(crm: Crm, kind: str, *where: Mapping[str, Any], **params: str) -> list[Any]:
    search = {"where": list(where), "orderBy": "createdAt", "order": "asc", **params}
    answer = requests.get(
        f"{crm.url}/api/v1/{kind}",
        params={"searchParams": json.dumps(search)},
        headers={"X-Api-Key": crm.token},
        timeout=20,
    )
    listed: list[Any] = answer.json()["list"]
    return listed


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({"type": "in", "attribute": "lastName", "value": ["Hopper", "Noether"]}, "Hopper Noether"),
        ({"type": "contains", "attribute": "lastName", "value": "LOVE"}, "Lovelace"),
        ({"type": "isNull", "attribute": "emailAddress"}, "Hopper Noether"),
        ({"type": "after", "attribute": "createdAt", "value": "2026-11-21 23:45:18"}, "Noether"),
        (
            {
                "type": "greaterThanOrEquals",
                "attribute": "createdAt",
                "value": "2026-11-21 23:45:18",
            },
            "Hopper Noether",
        ),
        (
            {
                "type": "or",
                "value": [
                    {"type": "equals", "attribute": "lastName", "value": "Noether"},
                    {"type": "equals", "attribute": "emailAddress", "value": "ADA@example.com"},
                ],
            },
            "Lovelace Noether",
        ),
    ],
)
def test_lists_are_searched(crm: Crm, where: Mapping[str, Any], names: str) -> None:
    """As https://docs.espocrm.com/development/api-search-params/ has it; case does not count."""
    people = (("Lovelace", "ada@example.com"), ("Hopper", ""), ("Noether", ""))
    for minutes, (name, email) in enumerate(people):
        crm.clock = lambda at=NOW + timedelta(minutes=minutes): at  # type: ignore[misc]
        crm.contact("", name, email=email)
    assert [one["lastName"] for one in found(crm, "Contact", where)] == names.split()


@pytest.mark.parametrize("kind", ["afterOrEquals", "sounds_like"])
def test_a_search_of_an_unknown_kind_is_refused(crm: Crm, kind: str) -> None:
    """There is ``after``, and ``greaterThanOrEquals``."""
    where = f"where[0][type]={kind}&where[0][attribute]=createdAt&where[0][value]=2026-01-01"
    assert send(crm, "GET", f"Contact?{where}").status_code == 400


def test_a_list_tells_the_contacts_of_deals_only_when_asked(crm: Crm) -> None:
    """As ``FieldProcessing/LinkMultiple/ListLoader`` has it."""
    contact = crm.contact("Ada", "Lovelace")
    crm.deal(contact)
    (plain,), (asked,) = found(crm, "Opportunity"), found(crm, "Opportunity", select="contactsIds")
    assert ("contactsIds" in plain, asked["contactsIds"]) == (False, [contact])


def test_a_list_linked_with_what_is_gone_is_refused(crm: Crm) -> None:
    """One id that is not there refuses all (``Core/Select/Where/Checker.php``)."""
    contact = crm.contact("Ada", "Lovelace")
    crm.delete(contact)
    where = "where[0][type]=linkedWith&where[0][attribute]=contacts&where[0][value][0]="
    assert send(crm, "GET", f"Opportunity?{where}{contact}").status_code == 403


def test_a_link_between_contacts_is_a_field_of_its_own(crm: Crm) -> None:
    """Made by an administrator; empty again when the other contact is deleted."""
    body = {
        "entity": "Contact", "entityForeign": "Contact", "linkType": "manyToOne",
        "link": "spiralReferrerContact", "linkForeign": "spiralReferred",
        "label": "Referrer", "labelForeign": "Referred", "relationName": None,
    }  # fmt: skip
    refused = send(crm, "POST", "EntityManager/action/createLink", body).status_code
    made = send(crm, "POST", "EntityManager/action/createLink", body, **as_admin(crm)).json()
    again = send(crm, "POST", "EntityManager/action/createLink", body, **as_admin(crm)).status_code
    referred, referrer = crm.contact("Ada", "Lovelace"), crm.contact("Grace", "Hopper")
    send(crm, "PUT", f"Contact/{referred}", {"cSpiralReferrerContactId": referrer})
    name = send(crm, "GET", f"Contact/{referred}").json()["cSpiralReferrerContactName"]
    linked = crm.referrer(referred)
    crm.delete(referrer)
    assert (refused, made, again, name, linked, crm.referrer(referred)) == (
        403, True, 409, "Grace Hopper", referrer, None,
    )  # fmt: skip


def test_an_enum_is_emptied_only_where_its_options_have_an_empty_one(crm: Crm) -> None:
    """As ``EnumType::checkValid`` has it."""
    contact, statuses = crm.contact("Ada", "Lovelace"), []
    for name, options in (("one", ["a"]), ("two", ["", "a"])):
        body = {"name": name, "type": "enum", "options": options}
        send(crm, "POST", "Admin/fieldManager/Contact", body, **as_admin(crm))
        changed = {f"c{name.capitalize()}": None}
        statuses.append(send(crm, "PUT", f"Contact/{contact}", changed).status_code)
    assert statuses == [400, 200]


def test_only_administrators_see_users_that_are_switched_off(crm: Crm) -> None:
    """And users of the API."""
    seen = [
        {one["userName"] for one in answer.json()["list"]}
        for answer in (send(crm, "GET", "User"), send(crm, "GET", "User", **as_admin(crm)))
    ]
    assert seen == [
        {"admin", "ute", "otto"},
        {"admin", "ute", "otto", "olga", "plugin"},
    ]
