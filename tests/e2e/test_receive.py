"""Receiving: what is authentic is kept before it is answered, and nothing else is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from werkzeug.test import TestResponse

from adapters.hubspot import HubSpotAdapter
from plugin.app import close_app, create_app
from plugin.errors import PayloadError
from plugin.ports import Received
from plugin.sandbox.webhooks import sign
from plugin.web.webhooks import MAX_BODY
from tests.databases import Databases, busy
from tests.e2e.plant import Plant, running

PATH = "/webhooks/hubspot"
MINUTE = 60


class Sender:
    """Somebody who posts to the plugin, with whatever signature."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.url = plant.environ["PUBLIC_URL"] + PATH
        self.secret = plant.environ["HUBSPOT_CLIENT_SECRET"]
        self.client = create_app(plant.parts.settings).test_client()

    def headers(
        self, body: bytes, *, secret: str = "", url: str = "", age: float = 0
    ) -> dict[str, str]:
        at = str(int((time.time() - age) * 1000))
        signature = sign(secret or self.secret, "POST", url or self.url, body, at)
        return {
            "Content-Type": "application/json",
            "X-HubSpot-Request-Timestamp": at,
            "X-HubSpot-Signature-v3": signature,
        }

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> TestResponse:
        return self.client.post(
            PATH, data=body, headers=self.headers(body) if headers is None else headers
        )

    def kept(self) -> list[bytes]:
        return [bytes(body) for (body,) in self.plant.rows("SELECT body FROM delivery ORDER BY id")]

    def close(self) -> None:
        close_app(self.client.application)


@pytest.fixture
def sender(plant: Plant) -> Iterator[Sender]:
    with closing(Sender(plant)) as sender:
        yield sender


def told(plant: Plant, contact_id: str, **more: Any) -> dict[str, Any]:
    """An event in the generic form: this contact's e-mail changed."""
    return {
        "eventId": 1,
        "subscriptionId": 1,
        "portalId": plant.crm.portal.portal_id,
        "appId": plant.crm.portal.app_id,
        "occurredAt": int(time.time() * 1000),
        "subscriptionType": "object.propertyChange",
        "objectTypeId": "0-1",
        "objectId": int(contact_id),
        "propertyName": "city",
        "propertyValue": "Kassel",
        "changeSource": "CRM_UI",
        **more,
    }


def body_of(*events: object) -> bytes:
    return json.dumps(events).encode()


def unheard(plant: Plant, name: str) -> str:
    """A customer of whom no webhook told."""
    plant.unheard()
    contact_id = plant.contact(name, "Sommer")
    plant.bought(contact_id)
    plant.unheard(on=False)
    return contact_id


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every SQL statement of this process, but for beginning transactions and waking others."""
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA", "NOTIFY")):
            seen.append(statement.split()[0])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


# ------------------------------------------------------------------------ authentic or not


def test_an_authentic_delivery_is_kept_byte_for_byte_by_one_insert(sender: Sender) -> None:
    """204 without a body; the raw bytes as they came, in one statement and nothing else."""
    body = b'[ {"portalId":4711001,\n "odd": "\xc3\xa4"} ]  '
    headers = sender.headers(body)
    sender.post(body)  # the first one starts the writer

    with statements() as seen:
        answer = sender.post(body, headers)

    assert (answer.status_code, answer.data) == (204, b"")
    assert seen == ["INSERT"]
    assert sender.kept() == [body, body]


def test_who_sent_a_delivery_is_noted_with_it(sender: Sender) -> None:
    """So that one portal's storm does not starve another; no portal is a sender, too."""
    for body in (b'[{"portalId":4711001}]', b"[]"):
        assert sender.post(body).status_code == 204

    assert sender.plant.rows("SELECT sender FROM delivery ORDER BY id") == [
        ("hubspot/4711001",),
        ("hubspot/",),
    ]


FORGERIES: dict[str, Callable[[Sender, bytes], dict[str, str]]] = {
    "no headers at all": lambda _s, _b: {},
    "another body": lambda s, b: s.headers(b + b" "),
    "another secret": lambda s, b: s.headers(b, secret="somebody-else-s-secret"),
    "an empty secret": lambda s, b: {**s.headers(b), "X-HubSpot-Signature-v3": _keyless(s, b)},
    "another address": lambda s, b: s.headers(b, url="http://localhost" + PATH),
    "five minutes and a bit old": lambda s, b: s.headers(b, age=5 * MINUTE + 5),
    "from the future": lambda s, b: s.headers(b, age=-5 * MINUTE - 5),
    "no timestamp": lambda s, b: _without(s.headers(b), "X-HubSpot-Request-Timestamp"),
    "no signature": lambda s, b: _without(s.headers(b), "X-HubSpot-Signature-v3"),
    "a timestamp that is none": lambda s, b: {
        **s.headers(b),
        "X-HubSpot-Request-Timestamp": "soon",
    },
    "a signature that is none": lambda s, b: {**s.headers(b), "X-HubSpot-Signature-v3": "ü=,"},
    "the old signature version": lambda s, b: {
        "X-HubSpot-Signature-Version": "v1",
        "X-HubSpot-Signature": hashlib.sha256(s.secret.encode() + b).hexdigest(),
    },
}


def _keyless(sender: Sender, body: bytes) -> str:
    at = sender.headers(body)["X-HubSpot-Request-Timestamp"]
    source = f"POST{sender.url}".encode() + body + at.encode()
    return base64.b64encode(hmac.new(b"", source, hashlib.sha256).digest()).decode()


def _without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


def test_bad_or_missing_signatures_get_401_and_nothing_is_stored(sender: Sender) -> None:
    """Whatever is wrong with the signature; only a number of refusals is kept."""
    body = body_of(told(sender.plant, "541935488001"))

    answers = {why: sender.post(body, forge(sender, body)) for why, forge in FORGERIES.items()}

    assert {why: answer.status_code for why, answer in answers.items()} == dict.fromkeys(
        FORGERIES, 401
    )
    assert sender.kept() == []
    deadline = time.monotonic() + 10
    while "refused (bad signature): " not in sender.plant.call("status").stdout:
        assert time.monotonic() < deadline, "refusals are not counted"


def test_a_delivery_may_be_five_minutes_old_or_early(sender: Sender) -> None:
    """Clocks differ, and HubSpot signs when it sends."""
    body = body_of()
    ages = (5 * MINUTE - 5, -5 * MINUTE + 5)

    assert [sender.post(body, sender.headers(body, age=age)).status_code for age in ages] == [
        204,
        204,
    ]


def test_the_signature_is_over_the_configured_public_url(databases: Databases) -> None:
    """Behind a proxy the server sees another host, path and scheme than HubSpot called."""
    public = "https://referrals.example.com/spiral"
    with running(databases, PUBLIC_URL=f"{public}/") as plant:
        body = body_of()

        with closing(Sender(plant)) as sender:
            through_proxy = sender.post(body, sender.headers(body, url=public + PATH))
            as_seen_here = sender.post(body, sender.headers(body, url="http://localhost" + PATH))

    assert (through_proxy.status_code, as_seen_here.status_code) == (204, 401)


def test_several_client_secrets_may_be_valid_at_once(databases: Databases) -> None:
    """While a secret is rotated HubSpot signs with the old one or the new one."""
    with running(databases, HUBSPOT_CLIENT_SECRET="the-old-secret, the-new-secret") as plant:
        body = body_of()
        secrets = ("the-old-secret", "the-new-secret", "the-next-secret")

        with closing(Sender(plant)) as sender:
            answers = [sender.post(body, sender.headers(body, secret=one)) for one in secrets]

    assert [answer.status_code for answer in answers] == [204, 204, 401]


# ------------------------------------------------------------------------------- the wire


def test_a_body_may_have_one_mebibyte_and_not_a_byte_more(sender: Sender) -> None:
    """Exactly 1 MiB is kept; more gets 413, also where the length is not told beforehand."""
    fits = b"[" + b" " * (MAX_BODY - 2) + b"]"
    too_long = fits + b" "
    assert len(fits) == 2**20

    answers = [sender.post(body).status_code for body in (fits, too_long)]
    chunked = [
        requests.post(
            sender.url,
            data=(body[at : at + 65536] for at in range(0, len(body), 65536)),
            headers=sender.headers(body),
            timeout=10,
        ).status_code
        for body in (fits, too_long)
    ]

    assert (answers, chunked) == ([204, 413], [204, 413])
    assert [len(body) for body in sender.kept()] == [2**20, 2**20]


def test_only_post_and_only_known_addresses_are_answered(sender: Sender) -> None:
    """GET is 405; a CRM there is no adapter for, and an account without an app of its own, 404."""
    body = body_of()
    addresses = ("/webhooks/nosuchcrm", "/webhooks/hubspot/4711001", "/webhooks", "/")

    assert sender.client.get(PATH).status_code == 405
    assert [
        sender.client.post(path, data=body, headers=sender.headers(body)).status_code
        for path in addresses
    ] == [404, 404, 404, 404]
    assert sender.kept() == []


def test_a_locked_or_broken_database_means_503_and_recovers(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HubSpot is told to send it again, and may: the next one is kept."""
    monkeypatch.setattr("plugin.storage.inbox.PUT_TIMEOUT", 0.2)
    database = sender.plant.parts.database
    body = body_of()

    with busy(database):
        locked = sender.post(body)
    with database.write() as connection:
        connection.execute(sa.text("ALTER TABLE delivery RENAME TO elsewhere"))
    broken = sender.post(body)
    with database.write() as connection:
        connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO delivery"))
    mended = sender.post(body)

    assert (locked.status_code, broken.status_code, mended.status_code) == (503, 503, 204)


# -------------------------------------------------------------------------- what is in it


def test_classic_and_generic_events_are_read_alike(sender: Sender) -> None:
    """HubSpot has two forms for one fact; an app may have subscribed to either."""
    plant = sender.plant
    classic, generic = unheard(plant, "Anna"), unheard(plant, "Bernd")
    plant.settle()
    assert (plant.stage(classic), plant.stage(generic)) == (None, None)
    event = told(plant, classic, subscriptionType="contact.propertyChange")
    del event["objectTypeId"]

    sender.post(body_of(event, told(plant, generic)))
    plant.work()

    assert (plant.stage(classic), plant.stage(generic)) == ("experience", "experience")


def test_one_unreadable_event_is_quarantined_alone(sender: Sender) -> None:
    """Its neighbours are worked on; the delivery stays visible with its reason."""
    plant = sender.plant
    anna, bernd = unheard(plant, "Anna"), unheard(plant, "Bernd")
    odd = {**told(plant, anna), "portalId": "what?", "objectId": None}

    assert sender.post(body_of(told(plant, anna), odd, told(plant, bernd))).status_code == 204
    plant.work()

    assert (plant.stage(anna), plant.stage(bernd)) == ("experience", "experience")
    assert plant.rows("SELECT state FROM delivery WHERE id = 1") == [("quarantined",)]
    assert re.search(
        r"quarantined 1: event 1: portalId: Not a record id\.", plant.call("status").stdout
    )


UNREADABLE = (
    b"",
    b"{",
    b"null",
    b"\xff\xfe",
    b'{"portalId": 4711001}',
    b"[" * 500_000,
    b"[1, null]",
)


def test_what_is_authentic_but_unreadable_is_kept_with_its_reason(sender: Sender) -> None:
    """HubSpot need not send it again, it would not get better; an admin sees why."""
    answers = [sender.post(body).status_code for body in UNREADABLE]
    sender.plant.work()
    status = sender.plant.call("status").stdout

    assert answers == [204] * len(UNREADABLE)
    assert sender.kept() == list(UNREADABLE)
    found = re.findall(r"quarantined (\d+): (.+)", status)
    assert sorted(found, key=lambda one: int(one[0])) == [
        ("1", "the body is not JSON: JSONDecodeError"),
        ("2", "the body is not JSON: JSONDecodeError"),
        ("3", "the body is not an array"),
        ("4", "the body is not JSON: UnicodeDecodeError"),
        ("5", "the body is not an array"),
        ("6", "the body is nested too deeply"),
        ("7", "event 0: not an object; event 1: not an object"),
    ]


def test_quarantined_deliveries_can_be_replayed(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the adapter was mended: one by its number, or all that wait."""
    plant = sender.plant
    anna, bernd, carla = (unheard(plant, name) for name in ("Anna", "Bernd", "Carla"))

    def misread(_self: HubSpotAdapter, _received: Received) -> None:
        raise PayloadError("a form nobody knows yet")

    with monkeypatch.context() as patched:
        patched.setattr(HubSpotAdapter, "parse", misread)
        for one in (anna, bernd, carla):
            sender.post(body_of(told(plant, one)))
        plant.work()
    assert plant.call("status").stdout.count("a form nobody knows yet") == 3

    assert plant.call("replay", "2").stdout == "1 deliveries are digested again.\n"
    plant.work()
    assert [plant.stage(one) for one in (anna, bernd, carla)] == [None, "experience", None]
    assert plant.call("replay", "--quarantined").stdout == "2 deliveries are digested again.\n"
    plant.work()

    assert [plant.stage(one) for one in (anna, bernd, carla)] == ["experience"] * 3
    assert "quarantined" not in plant.call("status").stdout


def test_replay_names_what_it_cannot_find(plant: Plant) -> None:
    """A number that was mistyped, or no choice at all, is said so."""
    missing, nothing = plant.call("replay", "99"), plant.call("replay")

    assert (missing.returncode, missing.stderr) == (
        2,
        "DELIVERY_ID 99: no such delivery is stored\n",
    )
    assert (nothing.returncode, nothing.stderr) == (
        2,
        "name one of: DELIVERY_ID, --quarantined, --parked\n",
    )


def test_an_event_that_makes_our_code_stumble_does_not_stop_the_others(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours in reading one delivery is quarantined like any other fault."""
    plant = sender.plant
    anna = unheard(plant, "Anna")
    parse = HubSpotAdapter.parse

    def stumble(self: HubSpotAdapter, received: Received) -> Any:
        return {}["a bug"] if received.body == b"[0]" else parse(self, received)

    monkeypatch.setattr(HubSpotAdapter, "parse", stumble)
    sender.post(b"[0]")
    sender.post(body_of(told(plant, anna)))
    plant.work()

    assert plant.stage(anna) == "experience"
    assert plant.rows("SELECT state, reason FROM delivery WHERE id < 3 ORDER BY id") == [
        ("quarantined", "internal error: KeyError"),
        ("done", None),
    ]
