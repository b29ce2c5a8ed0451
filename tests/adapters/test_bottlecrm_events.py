"""BottleCRM's deliveries: who signed them, what they tell, and how they forget."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.bottlecrm import ADAPTER
from plugin.errors import PayloadError, SignatureError
from plugin.ports import Delivery, Event, EventKind, Parsed, Received

NOW = datetime(2026, 9, 14, 8, tzinfo=UTC)
SECRET, OLD_SECRET = "whsec_not-a-real-secret", "whsec_the-one-before"
ORG = "404d58ea-14a8-45a8-b7b2-2e995111eea5"
ERIKA = "a0a305ad-01e9-4bfd-a6df-74af3e0737af"
EVENT_ID = "ce0359a5-5963-4acd-9d1f-6bef02504c02"
BODY = b'{"event":"contact.updated"}'


def signature(body: bytes = BODY, *, at: datetime = NOW, secret: str = SECRET) -> str:
    seconds = str(int(at.timestamp()))
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={digest.hexdigest()}"


def verify(header: str | None, *, body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,)) -> None:
    headers = {} if header is None else {"x-bottlecrm-signature": header}
    delivery = Delivery(method="POST", url="https://spiral.example.com", headers=headers, body=body)
    ADAPTER.verify(delivery, secrets=secrets, now=NOW)


def told(event: str = "contact.updated", **more: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "id": EVENT_ID,
        "event": event,
        "created_at": "2026-09-14T08:00:00.250000+00:00",
        "org_id": ORG,
        "data": {
            "id": ERIKA,
            "first_name": "Erika",
            "last_name": "Musterfrau",
            "email": "erika@example.com",
            "phone": None,
            "organization": "Muster GmbH",
            "assigned_to": [],
        },
    }
    return {**content, **more}


def parse(content: object, *, account: str = ORG) -> Parsed:
    body = json.dumps(content).encode()
    return ADAPTER.parse(Received(body=body, received_at=NOW, account_crm_id=account))


def redacted(content: object, *words: str, contact_ids: frozenset[str] = frozenset()) -> Any:
    body = ADAPTER.redact(
        Received(body=json.dumps(content).encode(), received_at=NOW, account_crm_id=ORG),
        account_crm_id=ORG,
        contact_ids=contact_ids,
        words=words,
    )
    return None if body is None else json.loads(body)


# ------------------------------------------------------------------------------ signature


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_a_signature_of_just_now_is_good(seconds: int) -> None:
    """Five minutes either way."""
    verify(signature(at=NOW + timedelta(seconds=seconds)))


@pytest.mark.parametrize("seconds", [-301, 301, 10**9])
def test_an_old_or_early_signature_is_refused(seconds: int) -> None:
    """However right it is otherwise."""
    with pytest.raises(SignatureError, match="clock"):
        verify(signature(at=NOW + timedelta(seconds=seconds)))


def test_either_secret_is_good_while_rotating() -> None:
    """BottleCRM signs with the new one at once, and what is under way has the old one."""
    for secret in (SECRET, OLD_SECRET):
        verify(signature(secret=secret), secrets=(SECRET, OLD_SECRET))
    with pytest.raises(SignatureError, match="does not fit"):
        verify(signature(secret=OLD_SECRET))


@pytest.mark.parametrize(
    "header",
    [
        signature().upper(),
        signature() + " ",
        signature() + ",v1=" + "0" * 64,
        signature().replace(",", ", "),
        ",".join(reversed(signature().split(","))),
        signature().replace("t=", "t=+"),
        signature().replace("v1=", "v0="),
        "t=,v1=",
        "v1=" + "0" * 64,
        "t=١٢٣,v1=" + "0" * 64,
    ],
)
def test_a_signature_of_another_form_is_refused(header: str) -> None:
    """Only what BottleCRM itself writes is read."""
    with pytest.raises(SignatureError, match="is not t="):
        verify(header)


def test_a_delivery_without_signature_or_secret_is_refused() -> None:
    """An account whose secret was not handed over yet takes nothing."""
    for header in (None, ""):
        with pytest.raises(SignatureError, match="missing"):
            verify(header)
    for secrets in ((), ("",)):
        with pytest.raises(SignatureError, match="no signing secret"):
            verify(signature(secret=""), secrets=secrets)


def test_a_changed_byte_is_seen() -> None:
    """In the body, in the time."""
    later = signature().replace(f"t={int(NOW.timestamp())}", f"t={int(NOW.timestamp()) + 1}")
    for header, body in ((signature(), BODY + b" "), (later, BODY)):
        with pytest.raises(SignatureError, match="does not fit"):
            verify(header, body=body)


# --------------------------------------------------------------------------------- events


def test_an_event_says_which_record_to_look_at() -> None:
    """And nothing else: what stands in it is read again."""
    assert parse(told()) == Parsed(
        events=(
            Event(
                key=EVENT_ID,
                kind=EventKind.CONTACT_CHANGED,
                account_crm_id=ORG,
                record_id=ERIKA,
                occurred_at=datetime(2026, 9, 14, 8, 0, 0, 250000, tzinfo=UTC),
            ),
        )
    )


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("contact.created", EventKind.CONTACT_CHANGED),
        ("contact.deleted", EventKind.CONTACT_DELETED),
        ("deal.created", EventKind.DEAL_CHANGED),
        ("deal.updated", EventKind.DEAL_CHANGED),
        ("deal.won", EventKind.DEAL_CHANGED),
        ("deal.lost", EventKind.DEAL_CHANGED),
        ("deal.deleted", EventKind.DEAL_DELETED),
    ],
)
def test_event_types_have_their_kind(event: str, kind: EventKind) -> None:
    """All that the guide has the admin tick."""
    assert [one.kind for one in parse(told(event)).events] == [kind]


@pytest.mark.parametrize("event", ["ping", "task.updated", "lead.created", "", "contact.beamed"])
def test_other_types_are_ignored(event: str) -> None:
    """Even those whose body is not like the others: ``ping`` names no record."""
    assert parse(told(event, data={"endpoint_id": ERIKA})) == Parsed(ignored=1)


def test_a_webhook_in_the_wrong_format_says_so() -> None:
    """The admin chose Slack instead of JSON."""
    with pytest.raises(PayloadError, match="choose JSON"):
        parse({"text": "BottleCRM: Contact created: Erika Musterfrau"})


def test_an_event_of_another_organisation_is_refused() -> None:
    """An address and its secret are good for one account alone."""
    with pytest.raises(PayloadError, match="org_id"):
        parse(told(), account="65652a23-2a92-4627-b411-e9c323f41f9c")


def test_what_is_wrong_is_named_without_its_value() -> None:
    """Down to the key inside."""
    with pytest.raises(PayloadError) as caught:
        parse(told(created_at="Erika", data={"id": "Erika"}))

    assert str(caught.value) == "created_at: Not a valid datetime.; data.id: Not a record id."


# ------------------------------------------------------------------------------- forgetting


def test_an_erased_contact_leaves_the_hint_only() -> None:
    """Who it was goes; that something happened stays."""
    left = redacted(told(), contact_ids=frozenset({ERIKA}))

    assert left == told(
        data={
            "id": ERIKA,
            "first_name": "REDACTED",
            "last_name": "REDACTED",
            "email": "REDACTED",
            "phone": None,
            "organization": "REDACTED",
            "assigned_to": [],
        }
    )
    assert parse(left) == parse(told())
    assert redacted(left, contact_ids=frozenset({ERIKA})) is None


def test_words_go_from_deals_too() -> None:
    """Deals are called after people; an id of a deal is no contact's."""
    deal = told("deal.updated", data={"id": ERIKA, "name": "Küche MUSTERFRAU", "stage": "WON"})

    assert redacted(deal, contact_ids=frozenset({ERIKA})) is None
    assert redacted(deal, "Musterfrau") == told(
        "deal.updated", data={"id": ERIKA, "name": "REDACTED", "stage": "WON"}
    )


def test_words_never_touch_what_an_event_is() -> None:
    """Somebody may be called Contact."""
    assert parse(redacted(told(), "contact", "erika")) == parse(told())
