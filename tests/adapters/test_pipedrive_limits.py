"""Pipedrive's limits: tokens of a day, calls in two seconds, and how it says no."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.client import unguarded
from adapters.pipedrive import api, dialect
from adapters.pipedrive.dialect import Limits
from plugin.errors import CrmRateLimited, CrmRejected, CrmUnauthorized
from plugin.ports import Allowance
from tests.adapters.pipedrive import NOON, Company, Reply, company
from tests.payloads.pipedrive import spec

MIDNIGHT = datetime(2026, 9, 15, tzinfo=UTC)
NO = {"success": False, "error": "no"}


@pytest.fixture
def acme() -> Iterator[Company]:
    with company() as opened:
        yield opened


def allowance(limit: int = 30_000, used: int = 0, left: int | None = None) -> Allowance:
    return Allowance(unit="tokens", limit=limit, used=used, left=left, ends_at=MIDNIGHT)


OPERATIONS = [one for one in vars(api).values() if isinstance(one, api.Operation)]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_every_call_costs_what_the_official_files_say(operation: api.Operation) -> None:
    """``x-token-cost``."""
    spec.need_specs()
    found = spec.find(operation.method, operation.path.replace("{id}", "1"))

    assert found.cost == operation.cost


# ----------------------------------------------------------------------------- the day


def test_tokens_are_counted(acme: Company) -> None:
    """Of all sessions of an account together."""
    acme.session().account()
    acme.session().users()

    assert acme.session().allowance == allowance(used=22)


def test_the_plugin_stops_at_its_share(acme: Company) -> None:
    """Before the call, and until the day ends."""
    session = acme.session(rate_share=0.5, daily_budget=44)
    session.users()

    with pytest.raises(CrmRateLimited) as caught:
        session.users()
    assert caught.value.retry_after == timedelta(hours=12).total_seconds()
    assert session.account()  # what still fits goes through
    assert acme.asked == ["GET /api/v1/users", "GET /api/v1/users/me"]


def test_a_new_day_begins_with_nothing_used(acme: Company) -> None:
    """At midnight."""
    session = acme.session(rate_share=1.0, daily_budget=20)
    session.users()
    acme.now = MIDNIGHT

    session.users()
    assert session.allowance == Allowance(
        unit="tokens", limit=20, used=20, left=None, ends_at=MIDNIGHT + timedelta(days=1)
    )


def test_the_limit_is_what_pipedrive_tells(acme: Company) -> None:
    """Rather than what the admin said, and with what the whole company has left."""
    acme.crm.tells_budget, acme.crm.daily_limit = True, 60_000
    session = acme.session(daily_budget=90_000)
    assert session.allowance == allowance(limit=90_000)

    session.account()
    assert session.allowance == allowance(limit=60_000, used=2, left=59_998)
    assert acme.session(daily_budget=90_000).allowance == session.allowance


@pytest.mark.parametrize(
    ("ends_at", "used"),
    [(MIDNIGHT, 500), (NOON, 0), (MIDNIGHT - timedelta(days=1), 0),
     (MIDNIGHT + timedelta(days=1), 0)],
)  # fmt: skip
def test_a_restart_goes_on_with_the_same_day(acme: Company, ends_at: datetime, used: int) -> None:
    """And with no other."""
    known = Allowance(unit="tokens", limit=7, used=500, left=100, ends_at=ends_at)

    found = acme.session(allowance=known).allowance
    assert found == allowance(used=used, left=100 if used else None)


def test_what_is_known_is_never_less_than_what_was_counted(acme: Company) -> None:
    """What was stored last may be older."""
    acme.session().users()

    assert acme.session(allowance=allowance(used=5)).allowance == allowance(used=20)


def test_what_another_process_spent_counts(acme: Company) -> None:
    """The most of what is known of that day, and of no other."""
    session = acme.session(rate_share=0.01)
    session.users()

    session.follow(allowance(used=290, left=500), guard=unguarded)
    session.follow(allowance(used=5), guard=unguarded)
    session.follow(None, guard=unguarded)
    session.follow(replace(allowance(used=299), ends_at=NOON), guard=unguarded)
    assert session.allowance == allowance(used=290, left=500)
    with pytest.raises(CrmRateLimited):
        session.users()


def test_accounts_have_days_of_their_own(acme: Company) -> None:
    """One company's tokens are not another's."""
    acme.session().users()

    assert acme.session(crm_id="7").allowance == allowance()


def test_a_company_without_tokens_waits_for_the_next_day(acme: Company) -> None:
    """Nothing is sent in between: Pipedrive locks out who goes on asking."""
    gone = {"x-daily-ratelimit-token-remaining": "0", "retry-after": "2"}
    acme.replies = [Reply(on="users", status=429, body=NO, headers=gone)]
    session = acme.session()

    for _ in range(2):
        with pytest.raises(CrmRateLimited) as caught:
            session.account()
        assert caught.value.retry_after == timedelta(hours=12).total_seconds()
    assert acme.asked == ["GET /api/v1/users/me"]
    acme.now = MIDNIGHT
    assert session.account()


def test_pipedrive_knows_best_when_its_day_ends(acme: Company) -> None:
    """Its midnight is in a zone it does not tell, unless by how long to wait."""
    gone = {"x-daily-ratelimit-token-remaining": "0", "retry-after": "7200"}
    acme.replies = [Reply(on="users", status=429, body=NO, headers=gone)]
    session = acme.session()

    with pytest.raises(CrmRateLimited) as caught:
        session.account()
    assert caught.value.retry_after == 7200
    acme.later(hours=2)
    assert session.account()


# --------------------------------------------------------------------- calls in two seconds


def test_too_many_calls_at_once_wait_as_told(acme: Company) -> None:
    """While the day still has tokens."""
    acme.crm.tells_budget = True
    left = {"x-daily-ratelimit-token-remaining": "5", "retry-after": "3"}
    acme.replies = [Reply(on="users", status=429, body=NO, headers=left)]
    session = acme.session()

    with pytest.raises(CrmRateLimited) as caught:
        session.account()
    assert caught.value.retry_after == 3
    assert session.account()


def test_a_wait_that_nobody_told_is_said_to_be_guessed(acme: Company) -> None:
    """It may be the day that is over: the core waits longer each time."""
    acme.replies = [Reply(on="users", status=429, body=NO)]

    with pytest.raises(CrmRateLimited) as caught:
        acme.session().account()
    assert caught.value.guessed


def test_the_burst_limit_is_followed(acme: Company) -> None:
    """The smallest plan's, until Pipedrive tells a larger one."""
    limits = Limits(lambda: NOON)
    rate = limits.dialect.rate

    assert limits.burst.allowed == 20
    told = rate({"x-ratelimit-limit": "80", "x-ratelimit-remaining": "79"})
    assert told == dialect.Rate(limit=80, seconds=2.0, remaining=79)
    for odd in ({}, {"x-ratelimit-limit": "0"}, {"x-ratelimit-limit": "many"}):
        assert rate(odd) is None


# ----------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("status", "body", "error", "wait"),
    [
        (403, b"<html>Attention Required!</html>", CrmRateLimited, 300),
        (403, NO, CrmUnauthorized, None),
        (402, NO, CrmUnauthorized, None),
        (401, NO, CrmUnauthorized, None),
        (422, NO, CrmRejected, None),
    ],
)  # fmt: skip
def test_a_refusal_has_its_class(
    acme: Company, status: int, body: object, error: type[Exception], wait: float | None
) -> None:
    """A 403 in HTML is Cloudflare's, after too many calls; 402 is a company that has not paid."""
    acme.replies = [Reply(on="users", status=status, body=body)]

    with pytest.raises(error) as caught:
        acme.session().account()
    assert getattr(caught.value, "retry_after", None) == wait


def test_a_refusal_names_the_field_and_not_the_value(acme: Company) -> None:
    """Pipedrive quotes both in one sentence."""
    code = "a" * 40
    body = {
        "success": False,
        "error": f"Validation failed: {code}: Erika Muster is not allowed",
        "code": "ERR_SCHEMA_VALIDATION_FAILED",
    }
    acme.replies = [Reply(on="users", status=400, body=body)]

    with pytest.raises(CrmRejected) as caught:
        acme.session().account()
    assert caught.value.field_errors == {code: "invalid"}
    assert "ERR_SCHEMA_VALIDATION_FAILED" in str(caught.value)
    assert "Erika" not in str(caught.value)
