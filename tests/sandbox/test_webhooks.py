"""What the sandbox tells the plugin: which events, signed how, tried how often."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from plugin.manifest import manifest
from plugin.sandbox.portal import CONTACTS, DEALS, Portal
from plugin.sandbox.records import Sandbox
from plugin.sandbox.webhooks import RETRIES, Outbox, Subscription, manifest_subscriptions, sign
from tests import openapi
from tests.sandbox.conftest import Crm

PUBLIC = "https://referrals.example.com/webhooks/hubspot"
PORTAL = Portal(secret="a-client-secret")
PATIENCE = 20.0  # seconds


class Receiver:
    """A plugin that writes down what it is sent and answers as told (then 200)."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.delay = 0.0
        self.requests: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append((headers, body))
                time.sleep(receiver.delay)
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def wait_for(self, requests: int) -> None:
        """Until so many have come."""
        deadline = time.monotonic() + PATIENCE
        while len(self.requests) < requests:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events of all requests, in the order they came."""
        return [event for _, body in self.requests for event in json.loads(body)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


Start = Callable[..., Sandbox]


@pytest.fixture
def start(receiver: Receiver) -> Iterator[Start]:
    """A sandbox that delivers to the receiver."""
    running: list[Outbox] = []

    def make(**options: Any) -> Sandbox:
        fast = {"retry_unit": 0.0005, "linger": 0.005, **options}
        outbox = Outbox(PORTAL, target=receiver.url, public_url=PUBLIC, **fast)
        outbox.start()
        running.append(outbox)
        return Sandbox(PORTAL, outbox=outbox)

    yield make
    for outbox in running:
        outbox.stop()


def _settle(sandbox: Sandbox) -> dict[str, Any]:
    """Wait until nothing is left to deliver; the counts."""
    deadline = time.monotonic() + PATIENCE
    while not (status := sandbox.outbox.status())["idle"]:
        assert time.monotonic() < deadline, status
        time.sleep(0.002)
    return status


def _said(events: list[dict[str, Any]]) -> list[tuple[str, str | None, str | None]]:
    return [(e["subscriptionType"], e.get("propertyName"), e.get("propertyValue")) for e in events]


# --------------------------------------------------------------------------- which events


def test_every_subscription_of_the_manifest_is_known() -> None:
    """``@in`` stands for each in field; ids are distinct."""
    subscriptions = manifest_subscriptions()
    contact_properties = {
        s.property_name
        for s in subscriptions
        if (s.what, s.object) == ("propertyChange", "contact")
    }
    assert contact_properties >= {*manifest().keys_in, "firstname", "hubspot_owner_id"}
    assert not contact_properties & set(manifest().keys_out)
    assert len({s.id for s in subscriptions}) == len(subscriptions)
    types = {entry["type"] for entry in manifest().crms["hubspot"].subscriptions}
    assert {s.type for s in subscriptions} == types


def test_a_new_contact_is_told_with_its_values(receiver: Receiver, start: Start) -> None:
    """In the generic form, as HubSpot's documentation shows it."""
    sandbox = start()
    sandbox.create(CONTACTS, {"firstname": "Ana", "zip": "24103"}, sandbox.person())
    _settle(sandbox)
    creation, change = receiver.events
    for event in (creation, change):
        assert event.pop("occurredAt") == pytest.approx(time.time() * 1000, abs=60_000)
    common = {
        "portalId": 4711001,
        "appId": 50780459,
        "attemptNumber": 0,
        "objectId": 541935488001,
        "objectTypeId": "0-1",
        "changeSource": "CRM_UI",
        "sourceId": "userId:882761034",
    }
    assert creation == {
        **common,
        "eventId": 4101286122,
        "subscriptionId": creation["subscriptionId"],
        "subscriptionType": "object.creation",
        "changeFlag": "CREATED",
    }
    assert change == {
        **common,
        "eventId": 4101286123,
        "subscriptionId": change["subscriptionId"],
        "subscriptionType": "object.propertyChange",
        "propertyName": "firstname",
        "propertyValue": "Ana",
    }


def test_what_the_app_writes_is_told_as_its_own(receiver: Receiver, start: Start) -> None:
    """``INTEGRATION`` and the app's id; out fields are not told at all."""
    sandbox = start()
    contact = sandbox.create(CONTACTS, {}, sandbox.person())
    sandbox.update(contact, {"city": "Kiel", "jobtitle": "CEO"}, sandbox.app)
    _settle(sandbox)
    (event,) = receiver.events[1:]
    assert (event["propertyName"], event["changeSource"], event["sourceId"]) == (
        "city",
        "INTEGRATION",
        "50780459",
    )


def test_joining_a_deal_is_told_in_the_classic_form(receiver: Receiver, start: Start) -> None:
    """``deal.associationChange`` without ``objectId``, for joining and for parting."""
    sandbox = start()
    contact = sandbox.create(CONTACTS, {}, sandbox.person())
    deal = sandbox.create(DEALS, {}, sandbox.person())
    _settle(sandbox)
    seen = len(receiver.events)
    sandbox.associate(deal, contact, (), sandbox.person())
    sandbox.part(deal, contact, sandbox.person())
    _settle(sandbox)
    events = sorted(receiver.events[seen:], key=lambda event: event["eventId"])
    assert [
        (e["subscriptionType"], e["associationType"], e["associationRemoved"]) for e in events
    ] == [
        ("deal.associationChange", "DEAL_TO_CONTACT", False),
        ("deal.associationChange", "DEAL_TO_CONTACT", True),
    ]
    assert (events[0]["fromObjectId"], events[0]["toObjectId"]) == (int(deal.id), int(contact.id))
    assert "objectId" not in events[0]


def test_a_merge_is_told(receiver: Receiver, start: Start) -> None:
    """Winner, losers, and the new record that results."""
    sandbox = start()
    first = sandbox.create(CONTACTS, {"city": "Kiel"}, sandbox.person())
    second = sandbox.create(CONTACTS, {"phone": "040"}, sandbox.person())
    merged = sandbox.merge(first, second, sandbox.person())
    _settle(sandbox)
    (event,) = [e for e in receiver.events if e["subscriptionType"] == "contact.merge"]
    told = ("primaryObjectId", "mergedObjectIds", "newObjectId", "numberOfPropertiesMoved")
    assert [event[name] for name in told] == [
        int(first.id),
        [int(second.id)],
        int(merged.id),
        1,
    ]


def test_a_privacy_deletion_is_told_twice(receiver: Receiver, start: Start) -> None:
    """As such and as a deletion, in the form subscribed to."""
    sandbox = start()
    contact = sandbox.create(CONTACTS, {}, sandbox.person())
    sandbox.erase(CONTACTS, contact.id, sandbox.person())
    _settle(sandbox)
    types = [event["subscriptionType"] for event in receiver.events[1:]]
    assert sorted(types) == ["contact.privacyDeletion", "object.deletion"]


def test_a_classic_subscription_gets_classic_events(receiver: Receiver, start: Start) -> None:
    """Without ``objectTypeId``."""
    classic = Subscription(
        id=1, type="contact.deletion", what="deletion", object="contact", generic=False
    )
    sandbox = start(subscriptions=[classic])
    contact = sandbox.create(CONTACTS, {}, sandbox.person())
    sandbox.archive(contact, sandbox.person())
    _settle(sandbox)
    (event,) = receiver.events
    assert (event["subscriptionType"], "objectTypeId" in event) == ("contact.deletion", False)


def test_deletion_and_restore_are_told(receiver: Receiver, start: Start) -> None:
    """Of contacts and deals."""
    sandbox = start()
    for kind in (CONTACTS, DEALS):
        record = sandbox.create(kind, {}, sandbox.person())
        sandbox.archive(record, sandbox.person())
        sandbox.restore(kind, record.id, sandbox.person())
    _settle(sandbox)
    events = sorted(receiver.events, key=lambda event: event["eventId"])
    wanted = ("object.deletion", "object.restore")
    assert [
        (e["subscriptionType"], e["objectTypeId"])
        for e in events
        if e["subscriptionType"] in wanted
    ] == [(one, kind) for kind in ("0-1", "0-3") for one in wanted]


def test_events_carry_the_sandboxs_time(receiver: Receiver, start: Start) -> None:
    """``occurredAt`` travels with the clock; the signature's time does not."""
    sandbox = start()
    sandbox.clock.set(sandbox.clock.now().replace(year=2024))
    sandbox.create(CONTACTS, {}, sandbox.person())
    _settle(sandbox)
    headers, _ = receiver.requests[0]
    told = sandbox.clock.now().timestamp() * 1000
    assert receiver.events[0]["occurredAt"] == pytest.approx(told, abs=1)
    signed = int(headers["x-hubspot-request-timestamp"])
    assert signed == pytest.approx(time.time() * 1000, abs=60_000)


# --------------------------------------------------------------------------- signature


def test_a_delivery_is_signed_for_the_public_url(receiver: Receiver, start: Start) -> None:
    """v3 over method, public URL, raw body and timestamp, computed here anew."""
    sandbox = start()
    sandbox.create(CONTACTS, {"firstname": "Jürgen"}, sandbox.person())
    _settle(sandbox)
    headers, body = receiver.requests[0]
    source = b"POST" + PUBLIC.encode() + body + headers["x-hubspot-request-timestamp"].encode()
    digest = hmac.new(b"a-client-secret", source, hashlib.sha256).digest()
    assert headers["x-hubspot-signature-v3"] == base64.b64encode(digest).decode()
    assert headers["x-hubspot-signature"] == hashlib.sha256(b"a-client-secret" + body).hexdigest()
    assert headers["content-type"] == "application/json"


def test_known_answers_are_signed_alike() -> None:
    """HubSpot's own v3 vectors."""
    openapi.need_specs()
    vectors = json.loads(Path(openapi.FOLDER / "signature_vectors.json").read_text("utf-8"))
    third = [v for v in vectors if v["version"] == "v3"]
    assert third
    for v in third:
        made = sign(v["client_secret"], v["method"], v["uri"], v["body"].encode(), v["timestamp"])
        assert made == v["expected"]


def test_some_escapes_are_decoded_before_signing() -> None:
    """Twelve of them; a space stays as it is."""
    escaped = sign("s", "POST", "https://example.com/a%3Ab%20c%2Fd", b"[]", "1")
    assert escaped == sign("s", "POST", "https://example.com/a:b%20c/d", b"[]", "1")
    assert escaped != sign("s", "POST", "https://example.com/a:b c/d", b"[]", "1")


# --------------------------------------------------------------------------- delivery


def test_events_travel_together(receiver: Receiver, start: Start) -> None:
    """At most 100 a request."""
    sandbox = start()
    sandbox.outbox.hold()
    for _ in range(120):
        sandbox.create(CONTACTS, {}, sandbox.person())
    sandbox.outbox.release()
    assert _settle(sandbox)["delivered"] == 120
    assert sorted(len(json.loads(body)) for _, body in receiver.requests) == [20, 100]


@pytest.mark.parametrize("status", [400, 404, 302, 500, 503])
def test_whatever_is_not_2xx_is_tried_again(receiver: Receiver, start: Start, status: int) -> None:
    """The same events, with a risen attempt number and a fresh signature."""
    sandbox = start(retry_unit=0.01)
    receiver.statuses = [status, status]
    sandbox.create(CONTACTS, {}, sandbox.person())
    assert _settle(sandbox)["delivered"] == 1
    assert [event["attemptNumber"] for event in receiver.events] == [0, 1, 2]
    assert len({event["eventId"] for event in receiver.events}) == 1
    assert len({headers["x-hubspot-request-timestamp"] for headers, _ in receiver.requests}) == 3


def test_after_ten_retries_it_is_given_up(receiver: Receiver, start: Start) -> None:
    """Eleven attempts in all."""
    sandbox = start()
    receiver.statuses = [500] * 20
    sandbox.create(CONTACTS, {}, sandbox.person())
    status = _settle(sandbox)
    assert (status["given_up"], status["delivered"], len(receiver.requests)) == (1, 0, RETRIES + 1)


def test_a_slow_answer_is_none(receiver: Receiver, start: Start) -> None:
    """Past the time-out it is tried again."""
    sandbox = start(timeout=0.5)
    receiver.delay = 1.0
    sandbox.create(CONTACTS, {}, sandbox.person())
    receiver.wait_for(2)
    receiver.delay = 0.0
    assert _settle(sandbox)["delivered"] == 1
    assert receiver.events[1]["attemptNumber"] == 1


def test_nobody_at_home_is_tried_again(start: Start, receiver: Receiver) -> None:
    """A refused connection counts as a failure."""
    outbox = Outbox(PORTAL, target="http://127.0.0.1:1/x", retry_unit=0.0001, linger=0)
    outbox.start()
    sandbox = Sandbox(PORTAL, outbox=outbox)
    sandbox.create(CONTACTS, {}, sandbox.person())
    assert _settle(sandbox)["given_up"] == 1
    outbox.stop()


def test_held_events_wait(receiver: Receiver, start: Start) -> None:
    """Until release, and the sandbox is not idle meanwhile."""
    sandbox = start()
    sandbox.outbox.hold()
    sandbox.create(CONTACTS, {}, sandbox.person())
    time.sleep(0.05)
    status = sandbox.outbox.status()
    assert (status["idle"], status["held"], receiver.requests) == (False, 1, [])
    sandbox.outbox.release()
    assert _settle(sandbox)["delivered"] == 1


@pytest.mark.parametrize("seconds", [None, 1.0])
def test_a_late_event_is_overtaken(receiver: Receiver, start: Start, seconds: float | None) -> None:
    """Those after it come first; it comes at release, or when its time has come."""
    sandbox = start()
    contact = sandbox.create(CONTACTS, {}, sandbox.person())
    _settle(sandbox)
    sandbox.outbox.late(1, seconds)
    for city in ("Kiel", "Bremen"):
        sandbox.update(contact, {"city": city}, sandbox.person())
    if seconds is None:
        receiver.wait_for(2)
        sandbox.outbox.release()
    _settle(sandbox)
    values = [event.get("propertyValue") for event in receiver.events[1:]]
    assert values == ["Bremen", "Kiel"]
    assert receiver.events[2]["occurredAt"] <= receiver.events[1]["occurredAt"]


def test_a_lost_event_never_comes(receiver: Receiver, start: Start) -> None:
    """It is counted as lost and nothing else."""
    sandbox = start()
    sandbox.outbox.lose(1)
    contact = sandbox.create(CONTACTS, {}, sandbox.person())
    sandbox.update(contact, {"city": "Kiel"}, sandbox.person())
    assert _settle(sandbox)["lost"] == 1
    assert _said(receiver.events) == [("object.propertyChange", "city", "Kiel")]


def test_the_last_batch_can_come_twice(receiver: Receiver, start: Start) -> None:
    """The same events once more."""
    sandbox = start()
    sandbox.create(CONTACTS, {}, sandbox.person())
    _settle(sandbox)
    assert sandbox.outbox.duplicate_last() == 1
    _settle(sandbox)
    first, second = receiver.events
    assert first == second


def test_nothing_taken_yet_cannot_come_twice(start: Start) -> None:
    """There is no last batch."""
    assert start().outbox.duplicate_last() == 0


def test_without_a_target_nothing_waits(crm: Crm) -> None:
    """The sandbox can be looked at alone."""
    outbox = Outbox(PORTAL)
    outbox.start()
    sandbox = Sandbox(PORTAL, outbox=outbox)
    sandbox.create(CONTACTS, {}, sandbox.person())
    assert _settle(sandbox)["delivered"] == 1
    outbox.stop()


@pytest.mark.parametrize("action", ["hold", "release", "late", "lose", "duplicate-last"])
def test_webhooks_are_steered_over_http(crm: Crm, action: str) -> None:
    """Each answers 200; ``idle`` tells the counts."""
    assert crm.client.post(f"/sandbox/webhooks/{action}", json={}).status_code == 200
    assert crm.client.get("/sandbox/webhooks/idle").get_json()["idle"] is True


def test_webhooks_know_no_other_word(crm: Crm) -> None:
    """404."""
    assert crm.client.post("/sandbox/webhooks/explode").status_code == 404
