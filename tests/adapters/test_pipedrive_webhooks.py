"""Pipedrive's webhooks: made by us, looked after, and believed by their password."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
import requests

from adapters.signatures import verify_basic
from plugin.errors import CrmRejected, CrmUnavailable, SignatureError
from tests.adapters.pipedrive import SECRET, TARGET, Company, Reply, company

MOVED = TARGET.replace("spiral.example.com", "old.example.com")
BELOW = TARGET.replace("spiral.example.com", "spiral.example.com/behind/a/proxy")


@pytest.fixture
def acme() -> Iterator[Company]:
    with company() as opened:
        yield opened


def webhooks(acme: Company) -> list[tuple[str, str]]:
    """(record, address) of those that are on."""
    return sorted(
        (one["event_object"], one["subscription_url"])
        for one in acme.crm.company.webhooks.values()
        if one["is_active"]
    )


OURS = [("deal", TARGET), ("person", TARGET)]


def test_one_webhook_per_kind_of_record_is_made(acme: Company) -> None:
    """With our name and a password only both sides know."""
    assert acme.session().subscribe(TARGET, [SECRET, "older"]) == (SECRET, "older")

    assert acme.bodies("POST") == [
        {
            "subscription_url": TARGET,
            "event_action": "*",
            "event_object": kind,
            "name": f"Referral spiral: {kind}",
            "version": "2.0",
            "http_auth_user": "referral-spiral",
            "http_auth_password": SECRET,
        }
        for kind in ("person", "deal")
    ]
    assert webhooks(acme) == OURS


def test_what_works_stays(acme: Company) -> None:
    """Looking costs ten tokens, and nothing is changed."""
    acme.session().subscribe(TARGET, [SECRET])
    acme.calls.clear()

    acme.session().subscribe(TARGET, [SECRET])
    assert acme.asked == ["GET /api/v1/webhooks"]


@pytest.mark.parametrize(
    "change",
    [{"is_active": 0}, {"last_http_status": 401}, {"version": "1.0"}, {"event_action": "create"},
     {"subscription_url": MOVED}, {"subscription_url": BELOW}],
)  # fmt: skip
def test_what_does_not_work_is_made_anew(acme: Company, change: dict[str, object]) -> None:
    """Off, refused by us, of the old kind, too narrow, or leading to where we were before."""
    acme.session().subscribe(TARGET, [SECRET])
    next(iter(acme.crm.company.webhooks.values())).update(change)
    acme.calls.clear()

    acme.session().subscribe(TARGET, [SECRET])
    assert webhooks(acme) == OURS
    operations = [one.split("/")[0] for one in acme.asked]
    assert operations == ["GET ", "POST ", "DELETE "]  # never without one


def test_a_server_that_is_down_is_no_reason(acme: Company) -> None:
    """Pipedrive tries again by itself."""
    acme.session().subscribe(TARGET, [SECRET])
    for one in acme.crm.company.webhooks.values():
        one["last_http_status"] = 503
    acme.calls.clear()

    acme.session().subscribe(TARGET, [SECRET])
    assert acme.asked == ["GET /api/v1/webhooks"]


def test_deleted_webhooks_come_back(acme: Company) -> None:
    """As after three days without a delivery."""
    acme.session().subscribe(TARGET, [SECRET])
    acme.crm.drop_subscriptions()

    acme.session().subscribe(TARGET, [SECRET])
    assert webhooks(acme) == OURS


def test_doubles_go_and_others_stay(acme: Company) -> None:
    """A webhook to another path is somebody else's."""
    session = acme.session()
    session.subscribe("https://other.example.com/hook", [SECRET])
    session.subscribe(TARGET, [SECRET])
    double = dict(next(iter(acme.crm.company.webhooks.values())), id=1, subscription_url=TARGET)
    acme.crm.company.webhooks[1] = double

    session.subscribe(TARGET, [SECRET])
    theirs = "https://other.example.com/hook"
    assert webhooks(acme) == sorted([*OURS, ("deal", theirs), ("person", theirs)])
    session.unsubscribe(TARGET)
    assert webhooks(acme) == [("deal", theirs), ("person", theirs)]


def test_a_webhook_is_asked_for_once(acme: Company) -> None:
    """A lost answer makes no second one; the next round finds what there is."""
    acme.replies = [Reply(on="GET", body={"success": True, "data": []}),
                    requests.ConnectionError()]  # fmt: skip
    with pytest.raises(CrmUnavailable):
        acme.session().subscribe(TARGET, [SECRET])
    assert len(acme.bodies("POST")) == 1


def test_an_address_that_cannot_be_reached_is_said_to_be(acme: Company) -> None:
    """Pipedrive looks when the webhook is made; which field it is about is passed on."""
    body = {"status": "error", "success": False, "errors": {"subscription_url": ["invalid"]}}
    acme.replies = [Reply(on="POST", status=400, body=body)]

    with pytest.raises(CrmRejected) as caught:
        acme.session().subscribe(TARGET, [SECRET])
    assert caught.value.field_errors == {"subscription_url": "invalid"}


def test_removing_what_is_gone_is_no_fault(acme: Company) -> None:
    """Somebody was quicker."""
    session = acme.session()
    session.subscribe(TARGET, [SECRET])
    gone = {"success": False, "status": "error", "errors": {}}
    acme.replies = [Reply(on="DELETE", status=404, body=gone)]

    session.unsubscribe(TARGET)
    assert len(webhooks(acme)) == 1


def test_the_guide_tells_the_address(acme: Company) -> None:
    """An admin may want to let it through a firewall."""
    assert TARGET in acme.adapter.guide(TARGET)


# ----------------------------------------------------------------------------- believing


def basic(told: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(told.encode()).decode()}"}


def test_one_of_the_passwords_is_believed() -> None:
    """Any that is kept, and the scheme's name in whatever case."""
    shouted = {"authorization": basic("me:new")["authorization"].replace("Basic", "BASIC")}

    for headers in (basic("me:new"), basic("me:öld"), shouted):
        verify_basic(headers=headers, user="me", passwords=["new", "öld"])


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": ""}, {"authorization": "Basic"}, {"authorization": "Basic !!!"},
     {"authorization": "Basic ä"}, {"authorization": "Bearer bWU6bmV3"}, basic("me:other"),
     basic("you:new"), basic("me:new "), basic("me:"), basic("new")],
)  # fmt: skip
def test_nothing_else_is_believed(headers: dict[str, str]) -> None:
    """Missing, odd, another scheme, user or password."""
    with pytest.raises(SignatureError) as caught:
        verify_basic(headers=headers, user="me", passwords=["new", ""])
    assert "new" not in str(caught.value)


def test_without_a_password_nobody_is_believed() -> None:
    """An empty one is none."""
    for passwords in ([], [""]):
        with pytest.raises(SignatureError, match="no password"):
            verify_basic(headers=basic("me:"), user="me", passwords=passwords)
