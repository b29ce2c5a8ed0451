"""EspoCRM's deliveries: signed per webhook, dated by their arrival, one event per address."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.espocrm import ADAPTER
from plugin.errors import PayloadError, SignatureError
from plugin.ports import Delivery, Event, EventKind, Parsed, Received
from plugin.referral.model import FieldChange
from tests.adapters.espocrm import DEAL, ERIKA, HANS

NOW = datetime(2026, 11, 21, 23, 46, 8, tzinfo=UTC)
ACCOUNT = "crm.example.com"

# Recorded from EspoCRM 9.2.7 on 2026-11-21: a webhook for Contact.update.
BODY = (
    b'[{"cBotVerdict":"human","cLastSeenAt":"2026-11-21 23:00:00","cRiskScore":0.12,'
    b'"modifiedById":"6b022caf22d28003b","modifiedByName":"plugin","id":"6b022d2f12a6bb892"}]'
)
SIGNATURE = (
    "NmIwMjJjZDI4YjI3ZDk1Yjk6YjhjMmQwMTVmN2I0MTk2OGM1NTVkODJhN2UzMzQxMTY0NjUzZGQzMjM4OWNhYTJl"
    "MDc3NTE0ZDkyM2EzZDE1MA=="
)
LEGACY = "NmIwMjJjZDI4YjI3ZDk1Yjk6uMLQFfe0GWjFVdgqfjNBFkZT3TI4nKouB3UU2SOj0VA="
SECRET = "Contact.update:6b022cd28b27d95b9:a0eeccef1753257e4187938e63a1b445"
DELIVERY = Delivery(
    method="POST",
    url="https://spiral.example.com/webhooks/espocrm/token/Contact.update",
    headers={"signature": SIGNATURE, "x-signature": LEGACY},
    body=BODY,
    topic="Contact.update",
)


def verify(delivery: Delivery, *secrets: str) -> None:
    ADAPTER.verify(delivery, secrets=secrets, now=NOW)


def parse(topic: str, items: Any, **more: Any) -> Parsed:
    body = items if isinstance(items, bytes) else json.dumps(items).encode()
    return ADAPTER.parse(received(topic, body, **more))


def received(topic: str, body: bytes, **more: Any) -> Received:
    return Received(
        **{
            "body": body,
            "received_at": NOW,
            "topic": topic,
            "account_crm_id": ACCOUNT,
            **more,
        }
    )


def changes(parsed: Parsed) -> list[tuple[str, str]]:
    return [(one.change.field, one.change.value) for one in parsed.events if one.change]


class TestSignature:
    def test_a_recorded_delivery_is_believed(self) -> None:
        """Whenever it comes: EspoCRM says no time."""
        verify(DELIVERY, SECRET)

    @pytest.mark.parametrize("header", ["signature", "x-signature"])
    def test_either_header_is_enough(self, header: str) -> None:
        """The legacy one is good where the other is missing."""
        verify(replace(DELIVERY, headers={header: DELIVERY.headers[header]}), SECRET)

    def test_the_legacy_header_does_not_heal_the_other(self) -> None:
        """What stands in ``Signature`` decides."""
        headers = {**DELIVERY.headers, "signature": SIGNATURE.replace("N", "M", 1)}

        with pytest.raises(SignatureError, match="does not fit"):
            verify(replace(DELIVERY, headers=headers), SECRET)

    def test_the_legacy_header_can_be_switched_off(self) -> None:
        """By a word among the secrets; the present header is as good as before."""
        only_legacy = replace(DELIVERY, headers={"x-signature": LEGACY})

        verify(DELIVERY, "signature-only", SECRET)
        with pytest.raises(SignatureError, match="header Signature is missing"):
            verify(only_legacy, "signature-only", SECRET)

    def test_a_signature_is_good_for_its_own_webhook_only(self) -> None:
        """A key with another webhook's id, or of another event, does not do."""
        for secret in (
            SECRET.replace("6b022cd28b27d95b9", HANS),
            SECRET.replace("update", "delete"),
        ):
            with pytest.raises(SignatureError):
                verify(DELIVERY, secret)

    def test_several_webhooks_of_one_event_are_known(self) -> None:
        """While they are remade there may be two."""
        verify(DELIVERY, f"Contact.update:{ERIKA}:other", SECRET)

    @pytest.mark.parametrize(
        "secrets",
        [(), ("",), ("signature-only",), ("Contact.update::",), ("Contact.update:id:",), ("a:b",)],
    )
    def test_without_a_key_nothing_is_believed(self, secrets: Sequence[str]) -> None:
        """Odd secrets count as none."""
        with pytest.raises(SignatureError, match="no webhook of this address is known"):
            verify(DELIVERY, *secrets)


class TestParsing:
    def test_a_rating_is_dated_by_the_arrival(self) -> None:
        """An update tells the new value, and neither the old one nor a time."""
        parsed = parse("Contact.update", [{"cSpiralRating": "delighted", "id": ERIKA}])

        (event,) = parsed.events
        assert parsed == Parsed(
            events=(
                Event(
                    key=event.key,
                    kind=EventKind.CONTACT_CHANGED,
                    account_crm_id=ACCOUNT,
                    record_id=ERIKA,
                    occurred_at=NOW,
                    change=FieldChange(field="spiral_rating", value="delighted", at=NOW),
                ),
            )
        )

    def test_what_is_emptied_is_told_by_updates_only(self) -> None:
        """A new contact without a rating was not emptied."""
        item = {"id": ERIKA, "cSpiralRating": None, "cSpiralReferrerName": ""}

        assert changes(parse("Contact.update", [item])) == [
            ("spiral_rating", ""),
            ("spiral_referrer_name", ""),
        ]
        created = parse("Contact.create", [item])
        assert (len(created.events), changes(created)) == (1, [])

    def test_several_changes_are_several_events(self) -> None:
        """Each with a key of its own."""
        item = {"id": ERIKA, "cSpiralRating": "angry", "cSpiralRatedOn": "2026-11-20"}

        parsed = parse("Contact.update", [item])

        assert changes(parsed) == [("spiral_rating", "angry"), ("spiral_rated_on", "2026-11-20")]
        assert len({event.key for event in parsed.events}) == 2

    def test_names_are_those_of_the_account(self) -> None:
        """Where the prefix was switched off before the fields were made."""
        facts = {"spiral_rating": "spiralRating"}
        item = {"id": ERIKA, "spiralRating": "satisfied", "cSpiralRating": "angry"}

        parsed = parse("Contact.update", [item], facts=facts)

        assert changes(parsed) == [("spiral_rating", "satisfied")]

    def test_a_number_may_be_a_mapped_score(self) -> None:
        """Small ones only; which of them counts is known elsewhere."""
        item = {"id": ERIKA, "cNps": 9, "cCsat": "4.5", "doNotCall": True, "cSize": 123456}

        parsed = parse("Contact.update", [item])

        assert changes(parsed) == [("score:cNps", "9"), ("score:cCsat", "4.5")]

    def test_other_changes_are_a_hint(self) -> None:
        """Look at the contact again."""
        parsed = parse("Contact.update", [{"title": "Admiral", "id": ERIKA}])

        assert [(e.kind, e.record_id, e.change) for e in parsed.events] == [
            (EventKind.CONTACT_CHANGED, ERIKA, None)
        ]

    def test_a_deal_names_its_contacts(self) -> None:
        """The primary one first; an update names them where they changed."""
        items = [
            {"id": DEAL, "contactId": HANS, "contactsIds": [ERIKA, HANS]},
            {"id": DEAL, "stage": "Closed Won"},
        ]

        parsed = parse("Opportunity.update", items)

        assert [(e.kind, e.contact_ids) for e in parsed.events] == [
            (EventKind.DEAL_CHANGED, (HANS, ERIKA)),
            (EventKind.DEAL_CHANGED, ()),
        ]

    @pytest.mark.parametrize(
        ("topic", "kind"),
        [
            ("Contact.delete", EventKind.CONTACT_DELETED),
            ("Opportunity.delete", EventKind.DEAL_DELETED),
        ],
    )
    def test_deletions_tell_the_id(self, topic: str, kind: EventKind) -> None:
        """And nothing else."""
        parsed = parse(topic, [{"id": ERIKA}])

        assert [(e.kind, e.record_id) for e in parsed.events] == [(kind, ERIKA)]

    def test_a_bad_item_is_unreadable_alone(self) -> None:
        """The others are read."""
        items = [{"title": "x"}, 7, {"id": ERIKA}, {"id": ["x"]}, {"id": "../Contact"}]

        parsed = parse("Contact.update", items)

        assert [event.record_id for event in parsed.events] == [ERIKA]
        assert parsed.unreadable == (
            (0, "id: missing or not a record id"),
            (1, "not an object"),
            (3, "id: missing or not a record id"),
            (4, "id: missing or not a record id"),
        )

    @pytest.mark.parametrize("topic", ["", "Task.update", "Contact.fieldUpdate.title"])
    def test_events_nobody_asked_for_are_ignored(self, topic: str) -> None:
        """All of the delivery, as it has one event."""
        assert parse(topic, [{"id": ERIKA}, {"id": HANS}]) == Parsed(ignored=2)

    @pytest.mark.parametrize("body", [b"", b"\xff", b"{}", b"[" * 100_000])
    def test_a_body_that_is_no_array_is_refused(self, body: bytes) -> None:
        """As a whole."""
        with pytest.raises(PayloadError):
            parse("Contact.update", body)

    def test_keys_name_what_is_told_and_where(self) -> None:
        """A retry has the same bytes and so the same keys, however late; another event, account
        or content has others."""
        body = json.dumps([{"id": ERIKA, "cSpiralRating": "angry"}]).encode()
        late = NOW + timedelta(minutes=30)

        first = parse("Contact.update", body).events[0].key
        again = parse("Contact.update", body, received_at=late).events[0].key
        others = {
            parse("Contact.create", body).events[0].key,
            parse("Contact.update", body, account_crm_id="crm.example.org").events[0].key,
            parse("Contact.update", body.replace(b"angry", b"")).events[0].key,
        }

        assert again == first
        assert len(others | {first}) == 4


class TestForgetting:
    @staticmethod
    def redacted(topic: str, items: Any, **more: Any) -> Any:
        settings: Mapping[str, Any] = {
            "account_crm_id": ACCOUNT,
            "contact_ids": frozenset({ERIKA}),
            "words": ["Erika Muster"],
            **more,
        }
        body = ADAPTER.redact(received(topic, json.dumps(items).encode()), **settings)
        return body if body is None else json.loads(body)

    def test_of_a_contact_only_the_id_stays(self) -> None:
        """Other people's items are as they were."""
        items = [{"id": ERIKA, "firstName": "E", "cSpiralRating": "angry"}, {"id": HANS, "x": "y"}]

        assert self.redacted("Contact.create", items) == [{"id": ERIKA}, {"id": HANS, "x": "y"}]

    def test_names_beside_ids_and_words_go(self) -> None:
        """Deals name their contacts; texts may name anybody."""
        items = [
            {
                "id": DEAL,
                "contactId": ERIKA,
                "contactName": "E. M.",
                "contactsIds": [ERIKA, HANS],
                "contactsNames": {ERIKA: "E. M.", HANS: "Hans"},
                "description": "for ERIKA MUSTER",
                "stage": "Proposal",
            }
        ]

        assert self.redacted("Opportunity.update", items) == [
            {
                "id": DEAL,
                "contactId": ERIKA,
                "contactName": "REDACTED",
                "contactsIds": [ERIKA, HANS],
                "contactsNames": {ERIKA: "REDACTED", HANS: "Hans"},
                "description": "REDACTED",
                "stage": "Proposal",
            }
        ]

    def test_nothing_is_done_where_nothing_tells(self) -> None:
        """Neither in another account nor about others."""
        item = {"id": ERIKA, "firstName": "E"}

        assert self.redacted("Contact.update", [item], account_crm_id="crm.example.org") is None
        assert self.redacted("Contact.update", [{**item, "id": HANS}]) is None

    def test_what_cannot_be_read_goes_where_it_may_tell(self) -> None:
        """As a whole."""
        bodies = (f"broken {ERIKA}".encode(), b"broken ERIKA MUSTER", b"broken")
        told = [
            ADAPTER.redact(
                received("Contact.update", body),
                account_crm_id=ACCOUNT,
                contact_ids=frozenset({ERIKA}),
                words=["Erika Muster"],
            )
            for body in bodies
        ]

        assert told == [b"", b"", None]


def test_the_recorded_signature_is_what_the_facts_say() -> None:
    """base64 of the webhook's id and the digest: hexadecimal, and raw in the legacy header."""
    webhook_id, _, digest = base64.b64decode(SIGNATURE).decode().partition(":")

    assert webhook_id == SECRET.split(":")[1]
    assert base64.b64decode(LEGACY) == f"{webhook_id}:".encode() + bytes.fromhex(digest)
