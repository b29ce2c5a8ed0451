"""Odd requests, in raw bytes: refused or taken for what they are, and nothing told to anybody."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator

import pytest

from plugin.sandbox.webhooks import sign
from tests.web.door import (
    PATH,
    PUBLIC_URL,
    SECRET,
    Door,
    chunked,
    delivery,
    head,
    opened,
    signature,
    status_in,
)

BODY = b'[{"portalId": 4711001}]'
LENGTH = f"Content-Length: {len(BODY)}"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with opened(tmp_path_factory.mktemp("door")) as door:
        yield door


def signed(*lines: str, first: str = f"POST {PATH} HTTP/1.1", body: bytes = BODY) -> bytes:
    return head(*lines, *signature(BODY), first=first, close=False) + body


# Each is authentic but for its frame; all of them must end the connection.
FRAMES: dict[str, tuple[bytes, int]] = {
    "two lengths": (signed(LENGTH, LENGTH), 400),
    "two lengths that differ": (signed("Content-Length: 0", LENGTH), 400),
    "a list of lengths": (signed(f"Content-Length: {len(BODY)}, {len(BODY)}"), 400),
    "a signed length": (signed(f"Content-Length: +{len(BODY)}"), 400),
    "a negative length": (signed("Content-Length: -1"), 400),
    "a length in hexadecimal": (signed("Content-Length: 0x17"), 400),
    "length and chunks": (
        signed("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
        400,
    ),
    "chunked twice": (signed("Transfer-Encoding: chunked, chunked", body=chunked(BODY, 9)), 400),
    "chunked not last": (signed("Transfer-Encoding: chunked, gzip", body=chunked(BODY, 9)), 400),
    "no chunks at all": (signed("Transfer-Encoding: gzip", LENGTH), 400),
    "an unknown coding": (signed("Transfer-Encoding: xchunked", LENGTH), 501),
    "chunks in HTTP/1.0": (
        signed("Transfer-Encoding: chunked", first=f"POST {PATH} HTTP/1.0", body=chunked(BODY, 9)),
        400,
    ),
    "a space before the colon": (signed("Transfer-Encoding : chunked", LENGTH), 400),
    "a folded line": (signed(LENGTH, "X-Folded: one\r\n two"), 400),
    "a null byte": (signed(LENGTH, "X-Null: a\0b"), 400),
    "a bare carriage return": (signed(LENGTH, "X-Bare: a\rb"), 400),
    "no colon": (signed(LENGTH, "X-Nothing"), 400),
    "a chunk size that is none": (
        signed("Transfer-Encoding: chunked", body=b"zz\r\n[]\r\n0\r\n\r\n"),
        400,
    ),
    "a chunk longer than told": (
        signed("Transfer-Encoding: chunked", body=b"2\r\n[ ]\r\n0\r\n\r\n"),
        400,
    ),
    "two hosts": (signed(LENGTH, "Host: evil.example.com"), 400),
    "another expectation": (signed(LENGTH, "Expect: a miracle"), 417),
    "another version": (signed(LENGTH, first=f"POST {PATH} HTTP/3.0"), 400),
    "a method in lower case": (signed(LENGTH, first=f"post {PATH} HTTP/1.1"), 400),
    "a path with a space": (signed(LENGTH, first="POST /web hooks/hubspot HTTP/1.1"), 400),
    "a path beyond ASCII": (signed(LENGTH, first="POST /webhooks/h\xfcbspot HTTP/1.1"), 400),
    "a path with a fragment": (signed(LENGTH, first=f"POST {PATH}#x HTTP/1.1"), 400),
    "a path that is too long": (signed(LENGTH, first=f"POST /{'a' * 5000} HTTP/1.1"), 414),
    "too many lines": (signed(LENGTH, *(f"X-{n}: 1" for n in range(70))), 431),
    "a line that is too long": (signed(LENGTH, f"X-Long: {'a' * 9000}"), 431),
    "a head that is too long": (signed(LENGTH, *(f"X-{n}: {'a' * 8000}" for n in range(9))), 431),
}


def test_requests_whose_end_is_in_doubt_are_refused_with_all_that_follows(door: Door) -> None:
    """One answer, the connection closed, nothing stored: nobody gets a request past a proxy."""
    answers = {why: door.ask(raw + SMUGGLED) for why, (raw, _) in FRAMES.items()}

    assert {why: status_in(answer) for why, answer in answers.items()} == {
        why: status for why, (_, status) in FRAMES.items()
    }
    assert [why for why, answer in answers.items() if answer.count(b"HTTP/1.1 ") != 1] == []
    assert door.kept() == []


def test_the_methods_there_are_none_for_tell_nothing(door: Door) -> None:
    """405 for an address there is and one there is not, whatever the method."""
    methods = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND")
    secret = "X-Secret: tell-me-again"
    answers = {
        (method, path): door.ask(head(secret, LENGTH, first=f"{method} {path} HTTP/1.1") + BODY)
        for method in methods
        if method != "CONNECT"
        for path in (PATH, "/webhooks/nosuchcrm", "/webhooks/espocrm/any")
    }

    assert {status_in(answer) for answer in answers.values()} == {405}
    assert [one for one, answer in answers.items() if b"tell-me-again" in answer] == []


def target(path: str) -> bytes:
    """Signed for the address that accounts share, sent to another spelling of it."""
    return head(LENGTH, *signature(BODY), first=f"POST {path} HTTP/1.1") + BODY


PATHS = {
    "/webhooks/hubspot/": 404,
    "/webhooks//hubspot": 404,
    "/webhooks/HubSpot": 404,
    "/WEBHOOKS/hubspot": 404,
    "/webhooks/hubspot%00": 404,
    "/webhooks/hubspot%0a": 404,
    "/webhooks/hubspot/..": 404,
    "/webhooks/x/../hubspot": 404,
    "/webhooks/%2e%2e/hubspot": 404,
    "/webhooks/..%2fhubspot": 404,
    "/webhooks/%ff": 404,
    "/webhooks/hubspot;a=b": 404,
    "/" + "a/" * 2000: 404,
    "/webhooks/hubspot?x=1": 401,  # the query is signed too
    "/webhooks/hubspot?": 204,
    "//webhooks/hubspot": 204,  # gunicorn takes one slash for two at the beginning
    "/webhooks%2fhubspot": 204,  # the same address for whoever compares them
    "http://evil.example.com/webhooks/hubspot": 204,  # the signature is over PUBLIC_URL
}


def test_only_the_address_itself_is_answered(door: Door) -> None:
    """Other spellings are other addresses, and none is redirected to the right one."""
    answers = {path: door.ask(target(path)) for path in PATHS}

    assert {path: status_in(answer) for path, answer in answers.items()} == PATHS
    assert [path for path, answer in answers.items() if b"\r\nLocation:" in answer] == []


def test_a_query_is_signed_like_the_path(door: Door) -> None:
    """HubSpot signs the whole address it was given."""
    full = f"{PATH}?from=hubspot&x=%20"
    raw = head(LENGTH, *signature(BODY, full), first=f"POST {full} HTTP/1.1") + BODY

    assert door.status(raw) == 204


REWRITING = {
    "a prefix to be cut off": ("/other" + PATH, "SCRIPT_NAME: /other"),
    "a prefix with a hyphen": ("/other" + PATH, "Script-Name: /other"),
    "another path": ("/nowhere", f"PATH_INFO: {PATH}"),
}


def test_no_header_names_another_path(door: Door) -> None:
    """Neither from this machine, where a proxy that passes them on may be."""
    before = len(door.kept())
    answers = {
        why: door.status(head(LENGTH, line, *signature(BODY), first=f"POST {path} HTTP/1.1") + BODY)
        for why, (path, line) in REWRITING.items()
    }

    assert answers == dict.fromkeys(REWRITING, 404)
    assert len(door.kept()) == before


def test_headers_about_the_scheme_may_disagree(door: Door) -> None:
    """Nothing here depends on them, so nobody's delivery fails on them."""
    lines = ("X-Forwarded-Proto: https", "X-Forwarded-Ssl: off", "X-Forwarded-Protocol: ssl")

    assert door.status(delivery(BODY, *lines)) == 204


TWICE = {
    "the signature": lambda lines: [*lines, lines[1]],
    "the time": lambda lines: [*lines, lines[0]],
    "another signature first": lambda lines: ["X-HubSpot-Signature-v3: AAAA", *lines],
    "another signature last": lambda lines: [*lines, "X-HubSpot-Signature-v3: AAAA"],
    "with an underscore": lambda lines: [
        lines[0],
        lines[1].replace("Signature-v3", "Signature_v3"),
    ],
}


def test_a_signature_that_is_told_twice_is_none(door: Door) -> None:
    """Which one would count is a matter of taste, so neither does."""
    before = len(door.kept())
    answers = {
        why: door.status(head(LENGTH, *change(signature(BODY))) + BODY)
        for why, change in TWICE.items()
    }

    assert answers == dict.fromkeys(TWICE, 401)
    assert len(door.kept()) == before


LINES = {
    "another host": "Forwarded: host=evil.example.com",
    "a host that was forwarded": "X-Forwarded-Host: evil.example.com",
    "another method": "X-HTTP-Method-Override: DELETE",
    "another address": "X-Original-URL: /health",
    "a type that it is not": "Content-Type: application/x-www-form-urlencoded",
    "a form": "Content-Type: multipart/form-data; boundary=x",
    "no type at all": "X-Nothing: at all",
    "a coding that it has not": "Content-Encoding: gzip",
    "an upgrade": "Upgrade: h2c",
}


def test_what_is_not_signed_changes_nothing(door: Door) -> None:
    """The signature and the bytes count, whatever else is said of them."""
    before = len(door.kept())
    answers = {why: door.status(delivery(BODY, line)) for why, line in LINES.items()}

    assert answers == dict.fromkeys(LINES, 204)
    assert door.kept()[before:] == [BODY] * len(LINES)


def test_a_compressed_body_is_kept_as_it_came(door: Door) -> None:
    """It is not inflated: a bomb stays as small as it was sent."""
    body = gzip.compress(b"[" + b" " * 2**20 + b"]", mtime=0)

    assert door.status(delivery(body, "Content-Encoding: gzip")) == 204
    assert door.kept()[-1] == body


def test_the_host_is_not_what_is_signed(door: Door) -> None:
    """A signature over the host that was called, and not over the public one, is none."""
    at = str(int(time.time() * 1000))
    forged = [
        f"X-HubSpot-Request-Timestamp: {at}",
        f"X-HubSpot-Signature-v3: {sign(SECRET, 'POST', f'http://localhost{PATH}', BODY, at)}",
    ]

    assert door.status(head(LENGTH, *forged) + BODY) == 401


def test_no_log_tells_what_was_sent(door: Door) -> None:
    """No address, no password, no line breaks of a stranger's making, no traceback."""
    told = ("an-accounts-address", "the-password", "FORGED")
    requests = (
        head(first="POST /webhooks/espocrm/an-accounts-address/x%0d%0aFORGED%20line HTTP/1.1"),
        head("Authorization: Basic the-password\0", first="POST /webhooks/pipedrive/x HTTP/1.1"),
        head("X-Bad\rFORGED: 1", first="POST /an-accounts-address HTTP/1.1"),
        b"POST /webhooks/espocrm/an-accounts-address\r\n\r\n",
        b"FORGED\x1b[31m / HTTP/1.1\r\n\r\n",
        delivery(BODY, "X-HubSpot-Signature-v3: the-password"),
        head("Transfer-Encoding: chunked", first=f"POST {PATH} HTTP/1.1") + b"the-password\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03an-accounts-address\r\n\r\n",
    )
    answers = [door.ask(raw) for raw in requests]
    log = door.log.read_text("utf-8")

    assert all(400 <= status_in(answer) < 500 for answer in answers), answers
    assert [word for word in (*told, SECRET, "Traceback", "\x1b") if word in log] == []
    assert [one for one in answers if any(word.encode() in one for word in told)] == []
    assert PUBLIC_URL not in b"".join(answers).decode("latin-1")


def test_health_may_be_asked_however_often(door: Door) -> None:
    """200, and nothing but whether a delivery could be stored."""
    answers = [door.ask(head(first="GET /health HTTP/1.1")) for _ in range(20)]

    assert {status_in(answer) for answer in answers} == {200}
    assert answers[0].endswith(b'{"status":"ok"}\n')
