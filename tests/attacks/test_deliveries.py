"""Deliveries that nobody would send on purpose, to a whole installation beside each CRM.

What is not authentic leaves no trace but a count. What is, is answered 204 and read as far as it
can be; the rest is quarantined with a reason, and everybody else's goes on.
"""

from __future__ import annotations

import gzip
import http.client
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from plugin.pipeline.receive import PART
from plugin.web.webhooks import MAX_BODY
from tests.attacks.signing import authentic, fresh, lowered, post
from tests.conformance.fuzzing import objects, places, replaced
from tests.e2e.shop import Shop
from tests.stand_in import Outgoing

SECRET_WORD = "secret-word-7"
BODIES: Mapping[str, bytes] = {
    "empty": b"",
    "blank": b" \n",
    "a scalar": b"7",
    "null": b"null",
    "a text": b'"x"',
    "an empty array": b"[]",
    "an empty object": b"{}",
    "broken": b'{"a":',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "a huge number": b'[{"portalId":' + b"9" * 5_000 + b"}]",
    "a number beyond floats": b'[{"id":1e999}]',
    "not a number": b'[{"id":NaN,"x":-0}]',
    "invalid UTF-8": b'[{"id":"\xff\xfe"}]',
    "half a character": b'[{"id":"\\ud800"}]',
    "NUL": b'[{"id":"\\u0000"}]',
    "NUL as it is": b"[\0]",
    "a byte order mark": b"\xef\xbb\xbf[]",
    "UTF-16": "[]".encode("utf-16"),
    "keys twice": b'[{"id":"a","id":"b","portalId":1,"portalId":2}]',
    "compressed": gzip.compress(b"[]", mtime=0),
    "HTML": b"<html>",
    "our own words": b'[{"spiral_rating":"angry","_schema":1,"__class__":"x","account_id":1}]',
}
ODD_IDS: list[Any] = [
    "../1", "..", ".", "1?x=", "1/2", "1#", "1\n2", "%2e%2e", "1%2F2", " 1", "", "x" * 65,
    "9" * 400, -1, 0, 2**63, 10**30, 1.5, True, None, [], ["1"], {"id": "1"}, "\u202e1",
    "1;DROP TABLE account",
]  # fmt: skip
ODD_TIMES: list[Any] = [
    0, -1, 10**18, "0000-00-00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "", None,
    {"a": 1}, "2026-02-30T00:00:00Z", 253402300799999,
]  # fmt: skip


def states(shop: Shop) -> dict[str, int]:
    counted = shop.rows("SELECT state, count(*) FROM delivery GROUP BY state")
    return {str(state): int(str(n)) for state, n in counted}


def deliveries(shop: Shop) -> int:
    return sum(states(shop).values())


def digested(shop: Shop) -> list[str]:
    """The worker has done all it could; why the last deliveries are in quarantine."""
    shop.work()
    assert "new" not in states(shop)
    reasons = shop.rows("SELECT reason FROM delivery WHERE state = 'quarantined' ORDER BY id")
    for (reason,) in reasons:
        assert isinstance(reason, str)
        assert reason
        assert "internal error" not in reason
        assert reason.isprintable()
        assert SECRET_WORD not in reason
        assert len(reason) < 2_000
    return [str(reason) for (reason,) in reasons]


def goes_on(shop: Shop) -> None:
    """What the CRM delivers now is read as ever."""
    contact = shop.crm.contact("Otto", "Danach")
    shop.settle()
    known = shop.rows("SELECT crm_id FROM contact WHERE last_name = 'Danach'")
    assert (contact,) in known


# --------------------------------------------------------------------------- not authentic


def test_what_is_not_authentic_is_refused_and_not_kept(shop: Shop) -> None:
    """Of every header that makes it authentic: missing, empty, of another length, alphabet or
    type, and somebody else's."""
    one = fresh(shop)
    names = {"x-hubspot-signature-v3", "x-hubspot-request-timestamp", "signature", "x-signature",
             "x-bottlecrm-signature", "authorization"} & lowered(one.headers).keys()  # fmt: skip
    before = deliveries(shop)
    answers = {}
    for odd in ("", "x", "0" * 64, "a" * 5_000, "é", "null", "Bearer x", "Basic !", "t=1,v1="):
        for name in names:
            headers = lowered(one.headers) | dict.fromkeys(names - {name}, "") | {name: odd}
            forged = replace(one, headers={k: v.encode("latin-1") for k, v in headers.items()})  # type: ignore[misc]
            answers[name, odd] = post(forged)
    bare = {k: v for k, v in lowered(one.headers).items() if k not in names}
    answers["none", ""] = post(replace(one, headers=bare))

    assert set(answers.values()) == {401}
    assert deliveries(shop) == before


def test_a_header_that_comes_twice_is_no_way_in(shop: Shop) -> None:
    """A right one beside a wrong one: whichever counts, it never makes another body authentic."""
    one = fresh(shop)
    signed = shop.adapter.declaration.signed
    parts = urlsplit(one.url)
    before = deliveries(shop)

    for right_first in (True, False):
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
        connection.putrequest("POST", parts.path)
        for name, value in lowered(one.headers).items():
            both = [value, value[:-4] + "AAA="]
            for each in both if right_first else both[::-1]:
                connection.putheader(name, each)
        body = one.body + (b" " if signed else b"")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        status = connection.getresponse().status
        connection.close()
        assert status in ({400, 401} if signed else {204, 400, 401})
    assert deliveries(shop) == before or not signed
    shop.work()


def test_a_captured_signature_is_good_for_nothing_else(shop: Shop) -> None:
    """For another body, at another address, and, where the CRM says when it sent, at another
    time; where only a password is known, the address alone."""
    one, declared = fresh(shop), shop.adapter.declaration
    before = deliveries(shop)
    other = replace(one, body=one.body.replace(b"Erika", b"Eriko") + b" ")
    elsewhere = replace(one, url=one.url.replace("/webhooks/", "/webhooks/x"))
    below = replace(one, url=f"{one.url}/../{shop.crm.name}x")

    answers = [post(elsewhere), post(below)]
    if declared.signed:
        answers.append(post(other))
    if declared.replay_window:
        answers += [post(authentic(shop, one, one.body, age=age)) for age in (400, -400, 10**9)]

    assert set(answers) <= {401, 404}
    assert deliveries(shop) == before


def test_a_delivery_sent_again_changes_nothing(shop: Shop) -> None:
    """The same bytes with the same signature, at once and after they were worked on."""
    contact = shop.crm.contact("Erika", "Wieder", email="erika@example.com")
    shop.crm.win(shop.crm.deal(contact))
    told = list(shop.crm.deliveries)
    shop.settle()
    tasks, stage = shop.tasks(), shop.stage(contact)
    writes = sum(call.method != "GET" for call in shop.crm.calls)

    answers = {post(one) for one in told + told}
    shop.settle()

    assert answers == {204}
    assert (shop.tasks(), shop.stage(contact)) == (tasks, stage)
    reads = {"batch/read", "search"}
    again = [
        call for call in shop.crm.calls[writes:]
        if call.method != "GET" and not any(word in call.path for word in reads)
    ]  # fmt: skip
    assert len(again) <= writes


def test_what_is_too_large_is_refused_before_it_is_read(shop: Shop) -> None:
    """A byte more than is taken, authentic or not."""
    one = fresh(shop)
    before = deliveries(shop)

    answers = [
        post(authentic(shop, one, one.body + b" " * (MAX_BODY + extra - len(one.body))))
        for extra in (1, MAX_BODY)
    ]

    assert answers == [shop.adapter.declaration.too_large_status] * 2
    assert deliveries(shop) == before


# ------------------------------------------------------------------------------- authentic


def test_a_body_that_cannot_be_read_stops_nobody(shop: Shop) -> None:
    """It is kept, then quarantined or found to say nothing; the next delivery is read."""
    one = fresh(shop)
    before = deliveries(shop)

    answers = {what: post(authentic(shop, one, body)) for what, body in BODIES.items()}
    digested(shop)

    assert answers == dict.fromkeys(BODIES, 204)
    assert deliveries(shop) == before + len(BODIES)
    goes_on(shop)


def test_of_an_id_that_comes_twice_the_last_one_counts(shop: Shop) -> None:
    """The delivery is about that record, and the other one is not read."""
    first = shop.crm.contact("Erika", "Doppelt")
    shop.crm.deliveries.clear()
    last = shop.crm.contact("Otto", "Doppelt")
    told = rb'("\w+"\s*:\s*"?)' + re.escape(last.encode()) + rb'("?)(?=[\s,}])'
    made = [one for one in shop.crm.deliveries if re.search(told, one.body)]
    shop.crm.deliveries.clear()

    for one in made:
        body = re.sub(told, rb"\g<1>" + first.encode() + rb"\2, \g<0>", one.body)
        assert body.count(first.encode()) == body.count(last.encode()) > 0
        assert post(authentic(shop, one, body)) == 204
    digested(shop)

    known = shop.rows("SELECT crm_id FROM contact WHERE last_name = 'Doppelt'")
    assert (made != [], known) == (True, [(last,)])


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/html"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "\x7f" * 200},
        {"Content-Encoding": "gzip"},
        {"X-HTTP-Method-Override": "DELETE", "X-Forwarded-Host": "evil.example"},
    ],
    ids=lambda headers: next(iter(headers.values()))[:30],
)
def test_other_headers_do_not_matter(shop: Shop, headers: dict[str, str]) -> None:
    """The bytes count as they are: nothing is unpacked, decoded or parsed as a form."""
    one = fresh(shop)

    assert post(authentic(shop, one, one.body), **headers) == 204
    assert shop.rows("SELECT body FROM delivery ORDER BY id DESC LIMIT 1") == [(one.body,)]
    shop.work()


def test_an_odd_id_never_becomes_an_address(shop: Shop) -> None:
    """In the place of every id of a delivery: whatever of it is believed, every call to the CRM
    goes where calls go, and the next delivery is read."""
    one = fresh(shop)
    shop.crm.calls.clear()

    for odd in ODD_IDS:
        content = json.loads(one.body)
        for each in objects(content):
            for key in each:
                if key.lower().endswith("id") and key not in ("portalId", "company_id", "org_id"):
                    each[key] = odd
        assert post(authentic(shop, one, json.dumps(content).encode())) == 204
    digested(shop)

    for call in shop.crm.calls:
        assert all(PART.fullmatch(part) for part in call.path.strip("/").split("/")), call.path
        assert ".." not in call.path.split("/")
        assert call.status < 500
    goes_on(shop)


def test_wrong_types_in_every_place_stop_nobody(shop: Shop) -> None:
    """Each value of a delivery in turn is something else, ids, times and all: every delivery is
    digested, and reasons quote nothing."""
    one = fresh(shop)
    content = json.loads(one.body)
    odd = [{SECRET_WORD: [SECRET_WORD]}, SECRET_WORD, *ODD_TIMES]
    for at in range(places(content)):
        body = json.dumps(replaced(content, at, odd[at % len(odd)])).encode()
        assert post(authentic(shop, one, body)) == 204

    digested(shop)
    goes_on(shop)


def test_a_good_event_beside_odd_ones_is_not_lost(shop: Shop) -> None:
    """Where several come in one delivery: all that can be read are, whatever stands beside them;
    the reason names the place."""
    contact = shop.crm.contact("Erika", "Zwischen")
    one = shop.crm.deliveries[-1]
    shop.crm.deliveries.clear()
    content = json.loads(one.body)
    if not isinstance(content, list):
        return
    odd = (
        b'{"id":'
        + b"9" * 5_000
        + b',"objectId":'
        + b"9" * 5_000
        + b',"portalId":"'
        + (SECRET_WORD.encode() + b'","subscriptionType":"contact.creation"}')
    )
    body = b"[" + odd + b"," + json.dumps(content)[1:-1].encode() + b",7]"

    assert post(authentic(shop, one, body)) == 204
    reasons = digested(shop)

    assert "event 0: " in reasons[-1]
    assert f"event {1 + len(content)}: " in reasons[-1]
    assert (contact,) in shop.rows("SELECT crm_id FROM contact WHERE last_name = 'Zwischen'")


def test_thousands_of_events_in_one_delivery_are_digested(shop: Shop) -> None:
    """As many as fit, each about another record; the CRM is asked for them in batches."""
    one = fresh(shop)
    content = json.loads(one.body)
    if not isinstance(content, list):
        return
    many = []
    for n in range(3_000):
        event = dict(content[0])
        for key in ("id", "objectId"):
            if key in event:
                event[key] = 10**9 + n if isinstance(event[key], int) else f"f{n:016d}"
        many.append(event)
    body = json.dumps([{k: e[k] for k in e if k != "description"} for e in many]).encode()[
        :MAX_BODY
    ]
    if not body.endswith(b"]"):
        body = body[: body.rindex(b", {")] + b"]"
    shop.crm.calls.clear()

    assert post(authentic(shop, one, body)) == 204
    digested(shop)

    assert len(shop.crm.calls) < 3_000 // 20
    goes_on(shop)


def test_a_flood_of_forgeries_writes_one_line_each(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing of what they say."""
    one = fresh(shop)
    forged = replace(one, headers={"x-hubspot-signature-v3": f"{SECRET_WORD}\t\x1b[31m"},
                     body=SECRET_WORD.encode())  # fmt: skip
    with caplog.at_level(logging.DEBUG):
        assert {post(forged) for _ in range(5)} == {401}

    assert SECRET_WORD not in caplog.text
    assert [r for r in caplog.records if not r.getMessage().isprintable()] == []


def test_made_deliveries_are_authentic(shop: Shop) -> None:
    """The tests above sign as the CRM does."""
    one: Outgoing = fresh(shop)

    assert post(one) == post(authentic(shop, one, one.body)) == 204
    shop.work()
