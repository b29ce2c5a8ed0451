"""The client: one time-out, one rate limit, one error tree, and no secret anywhere."""

from __future__ import annotations

import logging
import threading
import traceback
from collections import deque
from typing import Any

import pytest
import requests
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError, ReadTimeoutError

from adapters import client as client_module
from adapters.client import Client, Rate, RateBudget
from adapters.hubspot.dialect import DIALECT
from plugin.errors import (
    ConfigurationError,
    CrmError,
    CrmRateLimited,
    CrmRejected,
    CrmUnauthorized,
    CrmUnavailable,
    RecordGone,
)
from plugin.reach import Reach
from tests.adapters.conftest import BASE, TOKEN, Time, Wire, problem

PATH = "/crm/owners/2026-09"
GET = f"GET {PATH}"
NOTHING: dict[str, list[object]] = {"results": []}
LIMITED = {
    "status": "error",
    "message": "You have reached your limit.",
    "errorType": "RATE_LIMIT",
    "correlationId": "7b1c6f0e-0000-4000-8000-000000000000",
}


def send(client: Client, *, repeat: bool = True, budget: RateBudget | None = None) -> Any:
    return client.send("GET", PATH, budget=budget or RateBudget(1000, 1.0), repeat=repeat)


def refused(client: Client, *, repeat: bool = True) -> CrmError:
    with pytest.raises(CrmError) as caught:
        send(client, repeat=repeat)
    return caught.value


# ------------------------------------------------------------------------ status → error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, CrmRejected),
        (401, CrmUnauthorized),
        (403, CrmUnauthorized),
        (404, RecordGone),
        (408, CrmUnavailable),
        (409, CrmRejected),
        (410, RecordGone),
        (414, CrmRejected),
        (423, CrmUnavailable),
        (429, CrmRateLimited),
        (477, CrmUnavailable),
        (500, CrmUnavailable),
        (502, CrmUnavailable),
        (503, CrmUnavailable),
        (504, CrmUnavailable),
        (521, CrmUnavailable),
        (524, CrmUnavailable),
    ],
)
def test_each_status_has_its_error(
    wire: Wire, client: Client, status: int, kind: type[CrmError]
) -> None:
    """A status becomes exactly one class, which carries the CRM, the call and the status."""
    wire.answers(GET, problem("WHATEVER"), status=status, always=True)

    error = refused(client)

    assert (type(error), error.crm, error.operation, error.status) == (kind, "hubspot", GET, status)


def test_a_refusal_names_code_and_fields_but_no_values(wire: Wire, client: Client) -> None:
    """The error says which field and why, in the CRM's codes; what was quoted stays out."""
    errors = [
        {
            "message": "Erika",
            "code": "INVALID_DATE",
            "context": {"propertyName": ["spiral_rated_on"]},
        },
        {"message": "Erika", "code": "Bad: Erika Muster", "in": "spiral_origin"},
        {"message": "Erika", "code": "X", "in": "erika@example.com"},
    ]
    message = 'Property values were not valid: [{"error":"INVALID_OPTION","name":"spiral_rating"}]'
    wire.answers(GET, problem("VALIDATION_ERROR", message, errors=errors), status=400)

    error = refused(client)

    assert isinstance(error, CrmRejected)
    assert error.field_errors == {
        "spiral_rated_on": "INVALID_DATE",
        "spiral_origin": "refused",
        "spiral_rating": "INVALID_OPTION",
    }
    assert str(error) == (
        f"HubSpot answered 400 VALIDATION_ERROR to {GET}: spiral_origin refused, "
        "spiral_rated_on INVALID_DATE, spiral_rating INVALID_OPTION"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"7",
        b"\xff",
        b'{"category":{"a":1},"errors":[1,{}],"policyName":[],"context":[]}',
        b'{"message":"not valid: [{broken","category":"Erika Muster"}',
    ],
)
def test_an_error_body_of_any_form_is_still_the_same_error(
    wire: Wire, client: Client, body: bytes
) -> None:
    """What the body says is a bonus; the status decides."""
    wire.answers(GET, body, status=400, official=False)

    assert str(refused(client)) == f"HubSpot answered 400 to {GET}"


def test_a_redirect_is_not_followed(wire: Wire, client: Client) -> None:
    """The token does not go to an address nobody configured; the error says what to check."""
    wire.answers(
        GET, b"", status=302, headers={"Location": "https://evil.example.com/"}, official=False
    )

    error = refused(client)

    assert isinstance(error, CrmRejected)
    assert "base URL" in str(error)
    assert wire.sent == [GET]


# -------------------------------------------------------------------------- waiting times


@pytest.mark.parametrize(
    ("policy", "header", "seconds"),
    [
        ("SECONDLY", None, 1.0),
        ("TEN_SECONDLY_ROLLING", None, 10.0),
        ("DAILY", None, 3600.0),
        ("UNHEARD_OF", None, 10.0),
        ("TEN_SECONDLY_ROLLING", "3", 3.0),
        ("TEN_SECONDLY_ROLLING", "Wed, 21 Oct 2026 07:28:00 GMT", 10.0),
        ("SECONDLY", "-5", 1.0),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(
    wire: Wire, client: Client, policy: str, header: str | None, seconds: float
) -> None:
    """``Retry-After`` counts; else the policy that was broken tells. It is not tried again here."""
    headers = {"Retry-After": header} if header else {}
    wire.answers(GET, {**LIMITED, "policyName": policy}, status=429, headers=headers)

    error = refused(client)

    assert isinstance(error, CrmRateLimited)
    assert error.retry_after == seconds
    assert len(wire.calls) == 1


# -------------------------------------------------------------------- repeating, outcomes


def never_connected() -> requests.ConnectionError:
    pool = HTTPConnectionPool("crm.example.com")
    reason = NewConnectionError(HTTPConnection("crm.example.com"), "refused")
    return requests.ConnectionError(MaxRetryError(pool, PATH, reason))


def broken_off() -> requests.ConnectionError:
    pool = HTTPConnectionPool("crm.example.com")
    return requests.ConnectionError(MaxRetryError(pool, PATH, ReadTimeoutError(pool, PATH, "late")))


def late_in_the_answer() -> requests.ConnectionError:
    pool = HTTPConnectionPool("crm.example.com")
    return requests.ConnectionError(ReadTimeoutError(pool, PATH, "Read timed out."))


def never_read() -> requests.ConnectionError:
    """As urllib3 tells that the CRM took too long to take the request."""
    return requests.ConnectionError(ProtocolError("Connection aborted.", TimeoutError("timed out")))


@pytest.mark.parametrize(
    ("fault", "unknown"),
    [
        (never_connected(), False),
        (never_read(), True),
        (requests.ConnectTimeout(), False),
        (requests.ReadTimeout(), True),
        (broken_off(), True),
        (requests.exceptions.ChunkedEncodingError(), True),
        (requests.exceptions.SSLError(), True),
    ],
)
def test_a_lost_answer_leaves_the_outcome_open(
    wire: Wire, client: Client, fault: Exception, unknown: bool
) -> None:
    """Only where no connection was made is it certain that nothing happened."""
    wire.answers(GET, fault)

    error = refused(client, repeat=False)

    assert isinstance(error, CrmUnavailable)
    assert error.outcome_unknown is unknown
    assert error.__cause__ is fault


@pytest.mark.parametrize(
    ("status", "unknown"), [(423, False), (477, False), (500, True), (503, True)]
)
def test_a_status_tells_whether_it_may_have_happened(
    wire: Wire, client: Client, status: int, unknown: bool
) -> None:
    """A locked or moving account did nothing; behind any 5xx it may have been done."""
    wire.answers(GET, problem("X"), status=status)

    error = refused(client, repeat=False)

    assert isinstance(error, CrmUnavailable)
    assert error.outcome_unknown is unknown


@pytest.mark.parametrize("body", [b"<html>not JSON", b'{"a":', b"\xff\xfe", b"[" * 100_000])
def test_a_success_that_cannot_be_read_is_an_unknown_outcome(
    wire: Wire, client: Client, body: bytes
) -> None:
    """Garbage with a 2xx is no success: it may have happened."""
    wire.answers(GET, body, official=False)

    error = refused(client, repeat=False)

    assert isinstance(error, CrmUnavailable)
    assert error.outcome_unknown


def test_what_may_be_repeated_is_tried_three_times(wire: Wire, client: Client, time: Time) -> None:
    """Two short pauses, the second longer, then the answer of the third try."""
    wire.answers(GET, problem("X"), status=502)
    wire.answers(GET, requests.exceptions.ChunkedEncodingError())
    wire.answers(GET, NOTHING)

    assert send(client) == NOTHING
    assert time.slept == [0.25, 1.0]
    assert client.calls == 3


def test_it_is_not_tried_a_fourth_time(wire: Wire, client: Client) -> None:
    """After three tries the last error is raised."""
    for status in (500, 502, 504):
        wire.answers(GET, problem("X"), status=status)

    assert refused(client).status == 504
    assert client.calls == 3


@pytest.mark.parametrize(
    "fault", [requests.ConnectTimeout(), requests.ReadTimeout(), late_in_the_answer(), never_read()]
)
def test_a_call_that_took_all_its_time_is_not_repeated(
    wire: Wire, client: Client, time: Time, fault: Exception
) -> None:
    """A CRM that hangs keeps a worker for one time-out, not for three."""
    wire.answers(GET, fault)

    assert refused(client).__cause__ is fault
    assert (client.calls, time.slept) == (1, [])


def test_what_may_not_be_repeated_is_sent_once(wire: Wire, client: Client) -> None:
    """A call that creates something goes out one single time."""
    wire.answers(GET, problem("X"), status=502)

    refused(client, repeat=False)

    assert client.calls == 1


def test_a_locked_account_is_left_alone_for_two_seconds(
    wire: Wire, client: Client, time: Time
) -> None:
    """423 asks for a pause of at least two seconds."""
    wire.answers(GET, problem("LOCKED"), status=423)
    wire.answers(GET, NOTHING)

    send(client)

    assert time.slept == [2.25]


def test_a_moving_account_is_not_tried_again_at_once(wire: Wire, client: Client) -> None:
    """477 lasts for hours: the caller backs off, the client does not insist."""
    wire.answers(GET, problem("MIGRATION"), status=477)

    assert refused(client).status == 477
    assert client.calls == 1


# ------------------------------------------------------------------------------ every call


def test_every_call_has_time_out_credentials_and_a_name(wire: Wire, client: Client) -> None:
    """Time-outs, own User-Agent, bearer token, no redirects: on each request."""
    wire.answers(GET, NOTHING, always=True)

    send(client)
    send(client)

    for call in wire.calls:
        seconds = call.options["timeout"]
        assert (seconds.connect_timeout, seconds.total) == (5.0, 25.0)
        assert call.headers["User-Agent"] == "referral-spiral"
        assert call.headers["Authorization"] == f"Bearer {TOKEN}"


def test_an_empty_answer_is_none(wire: Wire, client: Client) -> None:
    """204 has no body and that is no fault."""
    wire.answers("DELETE /crm/properties/2026-09/contacts/spiral_stage", status=204)

    answer = client.send(
        "DELETE", "/crm/properties/2026-09/contacts/spiral_stage", budget=RateBudget(9, 1.0)
    )

    assert answer is None


def test_an_endless_answer_is_cut_off(
    wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer takes more memory than the limit."""
    monkeypatch.setattr(client_module, "MAX_ANSWER", 2**17)
    wire.answers(GET, b"[" + b" " * 2**18 + b"]", official=False)

    assert "too long" in str(refused(client, repeat=False))


def test_an_address_without_scheme_is_a_configuration_error() -> None:
    """A wrong base URL is named when the client is made, not at the first call."""
    with pytest.raises(ConfigurationError, match="address of HubSpot must begin with https"):
        Client(base_url="api.example.com", token="t", dialect=DIALECT, reach=Reach())


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ümlaut"])
def test_a_token_no_header_can_carry_is_not_sent(wire: Wire, token: str) -> None:
    """It would fail deep inside and be printed; it is refused by name only."""
    error = refused(Client(base_url=BASE, token=token, dialect=DIALECT, reach=Reach()))

    assert isinstance(error, CrmUnauthorized)
    assert not token or token not in str(error)
    assert wire.calls == []


def test_the_token_is_nowhere_to_be_read(
    wire: Wire, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither logs, nor errors with their causes, nor ``repr`` show token or values."""
    caplog.set_level(logging.DEBUG)
    wire.answers(GET, problem("VALIDATION_ERROR"), status=400)
    wire.answers(GET, requests.ReadTimeout())
    wire.answers(GET, NOTHING)

    told = [repr(client), str(vars(client))]
    for _ in range(2):
        error = refused(client, repeat=False)
        told += [repr(error), "".join(traceback.format_exception(error))]
    send(client)
    told.append(caplog.text)

    for text in told:
        assert TOKEN not in text
        assert "erika" not in text.casefold()
    assert f"{GET[:3]} {PATH} -> 200 in 0 ms" in caplog.text


# ------------------------------------------------------------------------------ rate limit


def budget(time: Time, limit: int = 10, seconds: float = 10.0, share: float = 1.0) -> RateBudget:
    return RateBudget(limit, seconds, share=share, clock=time.clock, sleep=time.sleep)


def drive(time: Time, limits: RateBudget, calls: int, latency: float) -> list[float]:
    """Make calls as fast as the budget lets; when the CRM counted each."""
    counted: list[float] = []
    for _ in range(calls):
        with limits:
            counted.append(time.now + latency * (0.1 if len(counted) % 2 else 0.9))
            time.now += latency
    return counted


def fullest_window(counted: list[float], seconds: float) -> int:
    window: deque[float] = deque()
    fullest = 0
    for at in counted:
        window.append(at)
        while window[0] <= at - seconds:
            window.popleft()
        fullest = max(fullest, len(window))
    return fullest


@pytest.mark.parametrize("latency", [0.0, 0.05, 0.2, 3.0])
def test_no_window_of_the_crm_is_ever_overfull(time: Time, latency: float) -> None:
    """However long calls take and whenever the CRM counts them, no rolling window exceeds it."""
    counted = drive(time, budget(time, limit=40), calls=400, latency=latency)

    assert fullest_window(counted, 10.0) <= 40


def test_the_share_is_used_up(time: Time) -> None:
    """While there is work, at least 95 % of the share is used."""
    started = time.now

    counted = drive(time, budget(time, limit=100, share=0.8), calls=8000, latency=0.05)

    assert fullest_window(counted, 10.0) <= 80
    assert 8000 / (time.now - started) >= 0.95 * 8.0


def test_even_the_smallest_share_lets_one_call_through(time: Time) -> None:
    """A share that rounds to nothing still moves."""
    limits = budget(time, limit=5, seconds=1.0, share=0.01)

    drive(time, limits, calls=3, latency=0.0)

    assert limits.allowed == 1
    assert sum(time.slept) == pytest.approx(2.0)


def test_the_limit_follows_the_crm(time: Time) -> None:
    """A larger limit told by an answer is used from then on."""
    limits = budget(time, limit=100, share=0.5)

    with limits as mark:
        pass
    limits.observe(Rate(limit=190, seconds=10.0), mark)

    assert limits.allowed == 95


def test_calls_of_others_make_less_room(time: Time) -> None:
    """What the CRM counted and we did not send (another process) is waited for like our own."""
    limits = budget(time, limit=10)

    with limits as mark:
        pass
    limits.observe(Rate(limit=10, seconds=10.0, remaining=0), mark)
    drive(time, limits, calls=1, latency=0.0)

    assert time.slept == [10.0]


@pytest.mark.parametrize("latency", [0.001, 0.0057, 0.05, 0.09])
def test_our_own_calls_are_not_taken_for_those_of_others(time: Time, latency: float) -> None:
    """Against a CRM that counts as HubSpot does and tells what is left, the whole limit is used
    and never exceeded."""
    limits = budget(time, limit=100)
    counted: deque[float] = deque()
    started = time.now
    for _ in range(5000):
        with limits as mark:
            time.now += latency * 0.3
            counted.append(time.now)
            while counted[0] <= time.now - 10.0:
                counted.popleft()
            assert len(counted) <= 100
            time.now += latency * 0.7
        limits.observe(Rate(limit=100, seconds=10.0, remaining=100 - len(counted)), mark)

    assert 5000 / (time.now - started) >= 0.95 * 10


def test_the_client_follows_the_headers(wire: Wire, client: Client) -> None:
    """The headers of any answer, an error too, set the budget of that call."""
    limits = RateBudget(100, 10.0)
    wire.answers(
        GET,
        problem("X"),
        status=400,
        headers={
            "X-HubSpot-RateLimit-Max": "190",
            "X-HubSpot-RateLimit-Interval-Milliseconds": "10000",
            "X-HubSpot-RateLimit-Remaining": "189",
        },
    )

    with pytest.raises(CrmRejected):
        send(client, budget=limits)

    assert limits.allowed == 190


@pytest.mark.parametrize("value", ["", "0", "-1", "many", "1e9", "99999999999"])
def test_senseless_headers_change_nothing(wire: Wire, client: Client, value: str) -> None:
    """A limit of nothing, or none at all, is not a limit."""
    limits = RateBudget(100, 10.0)
    wire.answers(
        GET,
        NOTHING,
        headers={
            "X-HubSpot-RateLimit-Max": value,
            "X-HubSpot-RateLimit-Interval-Milliseconds": "10000",
        },
    )

    send(client, budget=limits)

    assert limits.allowed == 100


def test_calls_under_way_take_room(time: Time) -> None:
    """A call that has not ended yet counts; the next one waits for its end."""

    def end_the_first(seconds: float) -> None:
        time.slept.append(seconds)
        limits.__exit__(None, None, None)

    limits = RateBudget(1, 0.0, clock=time.clock, sleep=end_the_first)

    with limits, limits:
        pass

    assert time.slept == [0.01]


def test_threads_share_a_budget() -> None:
    """Calls under way in other threads count, and all get through in the end."""
    limits = RateBudget(2, 0.02)
    under_way: list[int] = []
    most: list[int] = []

    def call() -> None:
        with limits:
            under_way.append(1)
            most.append(len(under_way))
            under_way.pop()

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=5)

    assert len(most) == 8
    assert max(most) <= 2
