"""A CRM that means harm, or has lost its mind: what it sends ends as one of our errors or as a
small plain value, soon, and without taking the memory."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from adapters import client as client_module
from adapters.client import Client, RateBudget
from adapters.espocrm.api import DIALECT as ESPOCRM
from adapters.hubspot.dialect import DIALECT as HUBSPOT
from adapters.pipedrive.dialect import Limits
from adapters.untrusted import MAX_DEPTH, MAX_ITEMS, read_json
from plugin.errors import CrmError, CrmRateLimited, CrmRejected, CrmUnavailable
from plugin.reach import Reach, read_networks
from tests.adapters.conftest import TOKEN
from tests.adapters.pipedrive import NOON
from tests.adapters.raw import Server, answer, speaking
from tests.certificates import self_signed

NEAR = Reach(networks=read_networks("127.0.0.1"))
MEBIBYTE = 2**20
BROKEN = "HubSpot did not answer GET /x"
GARBAGE = "the answer of HubSpot to GET /x is not JSON"
TOO_LONG = "the answer of HubSpot to GET /x is too long"


def asked(server: Server, *, repeat: bool = False, dialect: Any = HUBSPOT) -> Any:
    """One call, not repeated."""
    base = f"http://127.0.0.1:{server.port}"
    client = Client(base_url=base, token=TOKEN, dialect=dialect, reach=NEAR)
    return client.send("GET", "/x", budget=RateBudget(1000, 1.0), repeat=repeat)


def refused(server: Server, **more: Any) -> CrmError:
    with pytest.raises(CrmError) as caught:
        asked(server, **more)
    return caught.value


def outcome(server: Server) -> Any:
    """The value, or the class of the error."""
    try:
        return asked(server)
    except CrmError as error:
        return type(error)


def said(body: bytes, *headers: str, status: str = "200 OK") -> Any:
    """The value of such an answer, or the text of the error it becomes."""
    with speaking(answer(body, *headers, status=status)) as server:
        try:
            return asked(server)
        except CrmError as error:
            return str(error)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time-outs of a fifth of a second."""
    monkeypatch.setattr(client_module, "TIMEOUT", (0.2, 0.2))


@contextmanager
def frugal(mebibytes: int) -> Iterator[None]:
    """What happens inside takes at most so much more memory at any time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < mebibytes * MEBIBYTE


# --------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 5_000_000,
        b"[" * 200 + b"]" * 200,
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b" ,",
        b"1" * 5000,
        b'{"id": ' + b"9" * 31 + b"}",
        b'{"amount": -' + b"9" * 5000 + b"}",
        b'{"amount": 1e999}',
        b'{"amount": -1e999}',
        b'{"amount": NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"\xff\xfe[\x001\x00]\x00",
        b'{"name": "\xff"}',
        b'{"name": "\xed\xa0\x80"}',
        b'{"name": "\xc0\xaf"}',
        b'{"name": "a\x00b"}',
        b'{"name": "a\nb"}',
        b"{'name': 1}",
        b"<html><body>Wartung</body></html>",
        b"callback({})",
        b'{"a": 1}{"b": 2}',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_json_anybody_sends_is_no_answer(body: bytes) -> None:
    """Too deep, numbers that are none or that nobody can handle, bytes that are no text."""
    assert said(body) == GARBAGE


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"id": 1, "id": 2}', {"id": 2}),
        (b'{"id": "\\ud83d\\ude00"}', {"id": "😀"}),
        (b'{"id": "a\\ud83d", "\\udc00": [1]}', {"id": "a\ufffd", "\ufffd": [1]}),
        (b'["a\\u0000b", {"c": "\\u0000"}]', ["a\ufffdb", {"c": "\ufffd"}]),
        (b'["\\\\u0000"]', ["\\u0000"]),
        (b'{"id": 999999999999999999999999999999}', {"id": 10**30 - 1}),
        (b"\xef\xbb\xbf[1]", [1]),
        (b"[1e308, -0.0]", [1e308, -0.0]),
        (b"  \r\n ", None),
        (b'{"__proto__": {"a": "<script>"}}', {"__proto__": {"a": "<script>"}}),
        (b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1), "deep"),
    ],
)
def test_odd_json_is_a_plain_value(body: bytes, value: Any) -> None:
    """Of a key that comes twice the last counts; half a character and NUL, which no database
    takes, are replaced."""
    found = said(body)

    assert json.dumps(found) == body.decode() if value == "deep" else found == value
    json.dumps(found, ensure_ascii=False).encode()


def test_a_small_text_does_not_become_many_values() -> None:
    """Two bytes a value become a hundred in memory: their number is bounded."""
    lists = b"[" + b"[]," * MAX_ITEMS + b"[]]"
    objects = b"[" + b'{"a":1},' * (MAX_ITEMS // 2) + b"{}]"
    with frugal(30):
        assert [said(lists), said(objects)] == [GARBAGE, GARBAGE]
    with frugal(100):
        assert len(read_json(b"[" + b'{"a":1},' * (MAX_ITEMS // 2 - 10) + b"{}]")) > 200_000


@pytest.mark.parametrize(
    "kind", ["text/html", "application/octet-stream", "text/xml; charset=utf-16", "", "\xfc"]
)
def test_the_content_type_decides_nothing(kind: str) -> None:
    """JSON is JSON under any name, and always in UTF-8."""
    assert said('{"name": "Müller"}'.encode(), f"Content-Type: {kind}") == {"name": "Müller"}


# --------------------------------------------------------------------------------- size


def flood(start: bytes, chunk: bytes) -> Callable[[socket.socket], None]:
    """Goes on until the client hangs up."""

    def say(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(chunk)

    return say


def test_an_endless_body_is_cut_off() -> None:
    """At the limit, and not in memory beyond it."""
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n["
    with speaking(flood(head, b" " * 2**16)) as server, frugal(60):
        assert str(refused(server)) == TOO_LONG


@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_bomb_is_cut_off(coding: str, layers: int) -> None:
    """Few bytes that become a hundred times the limit, packed once or several times."""
    pack = gzip.compress if coding == "gzip" else zlib.compress
    body = b" " * (200 * MEBIBYTE)
    for _ in range(layers):
        body = pack(body)
    codings = ", ".join([coding] * layers)
    with speaking(answer(body, f"Content-Encoding: {codings}")) as server, frugal(60):
        assert str(refused(server)) == TOO_LONG


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"[1, 2, 3]" * 100, mtime=0)[:-20]],
    ids=["none", "cut"],
)
def test_a_broken_compression_is_no_answer(body: bytes) -> None:
    """It may have been carried out all the same."""
    with speaking(answer(body, "Content-Encoding: gzip")) as server:
        error = refused(server)
    assert isinstance(error, CrmUnavailable)
    assert error.outcome_unknown
    assert str(error).startswith((BROKEN, GARBAGE))


@pytest.mark.parametrize(
    ("start", "chunk"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 1000),
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"b" * 2**16),
        (b"HTTP/1.1 ", b"2" * 2**16),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 2**16),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"f" * 2**10),
    ],
    ids=["headers", "one-header", "status", "chunk-extension", "chunk-size"],
)
def test_endless_headers_are_cut_off(start: bytes, chunk: bytes) -> None:
    """Whatever line it is that does not end."""
    with speaking(flood(start, chunk)) as server, frugal(30):
        assert str(refused(server)).startswith(BROKEN)


# --------------------------------------------------------------------------------- time


def drip(start: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    """One drop every 20 milliseconds, long before any time-out between two bytes; or silence."""

    def say(connection: socket.socket) -> None:
        connection.sendall(start)
        if not drop:
            connection.recv(1)  # until the client hangs up
        while drop:
            time.sleep(0.02)
            connection.sendall(drop)

    return say


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"b"),
        (b"HTTP/1.1 200 OK\r\n\r\n[", b" "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n[", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-T: a\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b""),
    ],
    ids=["status", "header", "body", "length", "chunks", "trailers", "continue", "silence"],
)
def test_an_answer_that_drips_is_given_up(start: bytes, drop: bytes) -> None:
    """The time-out is for the whole answer, not for each byte; and it is not tried again."""
    with speaking(drip(start, drop)) as server:
        error = refused(server, repeat=True)
    assert isinstance(error, CrmUnavailable)
    assert (error.outcome_unknown, len(server.heard)) == (True, 1)
    assert str(error).startswith(BROKEN)


class LateHandshake(ssl.SSLContext):
    """Of a server that shakes hands when the client is about to give up."""

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        time.sleep(2.0)
        return super().wrap_socket(*args, **kwargs)


def test_all_steps_of_a_call_have_one_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes nearly all the time of each step: to shake hands, to read what is sent,
    to answer."""
    certificate, key = self_signed(tmp_path, "localhost")
    tls = LateHandshake(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setattr(client_module, "TIMEOUT", (3.0, 3.0))
    body = {"a": "x" * (12 * MEBIBYTE)}

    def say(connection: socket.socket) -> None:
        time.sleep(2.5)
        connection.settimeout(0.1)
        with suppress(TimeoutError):
            while connection.recv(MEBIBYTE):
                pass
        drip(b"HTTP/1.1 200 OK\r\nX-A: ", b"b")(connection)

    with speaking(say, tls=tls) as server:
        client = Client(
            base_url=f"https://localhost:{server.port}", token=TOKEN, dialect=HUBSPOT, reach=NEAR
        )
        started = time.monotonic()
        with pytest.raises(CrmUnavailable):
            client.send("POST", "/x", budget=RateBudget(1000, 1.0), body=body)
        took = time.monotonic() - started
    assert (len(server.heard), client.calls) == (1, 1)
    assert took < 7.2


# ----------------------------------------------------------------------------- headers


def test_no_cookie_is_kept() -> None:
    """One account's session at a CRM says nothing about the next call."""
    with speaking(answer(b"{}", "Set-Cookie: sid=1; Path=/", "Set-Cookie: a=b")) as server:
        client = Client(
            base_url=f"http://127.0.0.1:{server.port}", token=TOKEN, dialect=HUBSPOT, reach=NEAR
        )
        for _ in range(2):
            client.send("GET", "/x", budget=RateBudget(1000, 1.0))
    assert [head for head in server.heard if "cookie" in head.lower()] == []
    assert len(server.heard) == 2


@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "ä\u2028b", " /../..?x=1#y"])
def test_nothing_that_is_sent_becomes_a_header(text: str) -> None:
    """Neither in the query nor in the body; a record may be called anything."""
    with speaking(answer()) as server:
        client = Client(
            base_url=f"http://127.0.0.1:{server.port}", token=TOKEN, dialect=HUBSPOT, reach=NEAR
        )
        client.send(
            "POST", "/x", budget=RateBudget(1000, 1.0), params={"q": text}, body={"a": text}
        )
    names = {line.partition(":")[0] for line in server.heard[0].splitlines()[1:]}
    assert names == {
        "Host", "User-Agent", "Accept", "Accept-Encoding", "Connection", "Authorization",
        "Content-Length", "Content-Type",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1e9", 10.0), ("1000000000", 10.0), ("-1", 10.0), ("nan", 10.0), ("inf", 10.0),
        ("0x10", 10.0), ("١٢", 10.0), ("999999", 86_400.0), ("86400", 86_400.0), ("5", 5.0),
        ("", 10.0), ("0", 10.0),
    ],
)  # fmt: skip
def test_no_answer_keeps_an_account_waiting_for_years(header: str, seconds: float) -> None:
    """A day at most; what is no number of seconds was not told."""
    raw = answer(b"{}", "Retry-After: X", status="429 Too Many")
    with speaking(raw.replace(b"Retry-After: X", f"Retry-After: {header}".encode())) as server:
        error = refused(server)
    assert isinstance(error, CrmRateLimited)
    assert error.retry_after == seconds


def test_pipedrives_day_ends_within_a_day() -> None:
    """Whatever it claims about the next one."""
    gone = ("x-daily-ratelimit-token-remaining: 0", "retry-after: 999999")
    limits = Limits(lambda: NOON)
    with speaking(answer(b"{}", *gone, status="429 Too Many")) as server:
        error = refused(server, dialect=limits.dialect)
    assert isinstance(error, CrmRateLimited)
    assert error.retry_after == 86_400.0
    assert (limits.day.allowance().ends_at - NOON).total_seconds() == 86_400.0


@pytest.mark.parametrize("remaining", ["-5", "-0", "99999999", "1e3", "nan", ""])
@pytest.mark.parametrize("interval", ["10000", "9999999", "-1", "0"])
@pytest.mark.parametrize("limit", ["1", "-100", "9999999", "0"])
def test_senseless_rate_headers_hold_nobody_up(limit: str, interval: str, remaining: str) -> None:
    """No more than HubSpot's own window of ten seconds, and one call in it at least."""
    slept: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    budget = RateBudget(100, 10.0, clock=lambda: now[0], sleep=sleep)
    headers = {
        "X-HubSpot-RateLimit-Max": limit,
        "X-HubSpot-RateLimit-Interval-Milliseconds": interval,
        "X-HubSpot-RateLimit-Remaining": remaining,
    }
    for _ in range(3):
        with budget as mark:
            pass
        if rate := HUBSPOT.rate(headers):
            budget.observe(rate, mark)
    assert sum(slept) <= 30.0
    assert len(budget._ended) <= 10_000_000 if limit == "9999999" else len(budget._ended) <= 100


@pytest.mark.parametrize(
    "status", ["700 Odd", "999 Odd", "204 None", "304 Same", "418 Teapot", "100 Go"]
)
def test_an_unheard_of_status_is_an_error_of_ours(status: str) -> None:
    """Or an answer without a body."""
    with speaking(answer(b"" if status[0] in "123" else b"[]", status=status)) as server:
        assert outcome(server) in (None, CrmRejected, CrmUnavailable)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\r\n\r\n", b"HTTP/1.1 OK\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"SSH-2.0-x\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n[]",
     b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 2\r\n\r\n[]",
     b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[]",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n[]",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]",
     b"HTTP/1.1 200 OK\r\nContent-Encoding: br, zstd, x\r\nContent-Length: 2\r\n\r\n[]"],
)  # fmt: skip
def test_what_is_hardly_http_is_an_error_of_ours_or_a_value(raw: bytes) -> None:
    """Never an exception that nobody expects."""
    with speaking(raw) as server:
        assert outcome(server) in ([], None, CrmUnavailable)


@pytest.mark.parametrize(
    "size", [b"-5", b"-2", b"-ffff", b"+5", b"0x5", b"5_0", b"f" * 40, b"\xd9\xa5", b" ", b""]
)
def test_a_chunk_of_an_odd_size_is_no_answer(size: bytes) -> None:
    """What http.client raises about it is none of requests' errors; it may have been carried out
    all the same."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\nabcde"
    with speaking(raw) as server:
        error = refused(server)
    assert isinstance(error, CrmUnavailable)
    assert error.outcome_unknown


def test_an_error_says_nothing_the_crm_made_up() -> None:
    """Line breaks, control characters and sentences stay out of logs and pages."""
    body = json.dumps({
        "category": "X\r\n2026-01-01 ERROR forged", "message": "\x1b[31mErika",
        "messageTranslation": {"label": "a\nb"},
    }).encode()  # fmt: skip
    for dialect, title in ((HUBSPOT, "HubSpot"), (ESPOCRM, "EspoCRM")):
        reason = "X-Status-Reason: forged\tline"
        with speaking(answer(body, reason, status="400 Bad\x1b[31m")) as server:
            text = str(refused(server, dialect=dialect))
        assert text == f"{title} answered 400 to GET /x"
