"""What HubSpot's deliveries mean, and what is left of them after an erasure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.hubspot import ADAPTER
from adapters.hubspot.events import parse, redact
from plugin.errors import PayloadError
from plugin.ports import Event, EventKind, Parsed
from plugin.referral.model import FieldChange

AT = datetime(2026, 9, 14, 8, tzinfo=UTC)
ACCOUNT = "247187887"


def event(**more: Any) -> dict[str, Any]:
    return {
        "eventId": 1,
        "portalId": int(ACCOUNT),
        "appId": 50780459,
        "occurredAt": int(AT.timestamp() * 1000),
        "subscriptionType": "contact.propertyChange",
        "attemptNumber": 0,
        "objectId": 541935488729,
        **more,
    }


def read(*events: object) -> Parsed:
    return parse(json.dumps(events).encode())


def only(*events: object) -> Event:
    (found,) = read(*events).events
    return found


def test_a_second_delivery_of_a_fact_has_the_same_key() -> None:
    """How often it was sent, and by which subscription, does not make another fact."""
    once = only(event())

    again = only(event(attemptNumber=6, subscriptionId=99, somethingNew={"a": [1]}))

    assert once == again


@pytest.mark.parametrize(
    "change",
    [
        {"portalId": 62515},
        {"objectId": 2},
        {"eventId": 2},
        {"occurredAt": int(AT.timestamp() * 1000) + 1},
        {"propertyName": "email"},
        {"propertyValue": "x"},
        {"subscriptionType": "contact.creation"},
    ],
)
def test_another_fact_has_another_key(change: dict[str, Any]) -> None:
    """Whatever tells two facts apart tells their keys apart."""
    assert only(event()).key != only(event(**change)).key


@pytest.mark.parametrize("value", ["", None])
def test_an_emptied_field_is_a_change_to_nothing(value: str | None) -> None:
    """Taking a referrer's name out is as much a change as putting it in."""
    change = only(event(propertyName="spiral_referrer_name", propertyValue=value)).change

    assert change == FieldChange(field="spiral_referrer_name", value="", at=AT)


@pytest.mark.parametrize("value", ["0", "10", "9.5", "100"])
def test_a_small_number_may_be_a_score(value: str) -> None:
    """Which property is mapped is not known here, so every small plain number is handed on."""
    change = only(event(propertyName="nps", propertyValue=value)).change

    assert change == FieldChange(field="score:nps", value=value, at=AT)


@pytest.mark.parametrize(
    ("sent", "value"), [(True, "true"), (False, "false"), (9, "9"), (9.5, "9.5")]
)
def test_a_value_that_is_no_text_is_read_as_one(sent: object, value: str) -> None:
    """HubSpot says values are always text; should one not be, its text is meant."""
    change = only(event(propertyName="spiral_referrer_name", propertyValue=sent)).change

    assert change == FieldChange(field="spiral_referrer_name", value=value, at=AT)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("phone", "0891234567"),
        ("nps", "-1"),
        ("nps", "nine"),
        ("nps", "1e3"),
        ("nps", "９"),
        ("spiral_referrals_given", "3"),
        ("spiral_origin", "event"),
        ("spiral_rating", "REDACTED"),
    ],
)
def test_no_other_value_leaves_the_event(name: str, value: str) -> None:
    """Of all other properties only the hint remains that the contact changed."""
    assert only(event(propertyName=name, propertyValue=value)).change is None


def test_a_date_comes_in_either_form() -> None:
    """A day as text and a day as milliseconds are the same day."""
    days = [
        only(event(propertyName="spiral_rated_on", propertyValue=value)).change
        for value in ("2026-09-13", "1789257600000")
    ]

    assert days == [FieldChange(field="spiral_rated_on", value="2026-09-13", at=AT)] * 2


@pytest.mark.parametrize("kind", ["contact.associationChange", "deal.associationChange"])
@pytest.mark.parametrize("direction", ["CONTACT_TO_DEAL", "DEAL_TO_CONTACT"])
def test_contacts_of_a_deal_are_told_from_either_side(kind: str, direction: str) -> None:
    """Whichever end is named first, the deal changed and the contact is named."""
    contact_first = direction.startswith("CONTACT")
    sent = event(
        subscriptionType=kind,
        associationType=direction,
        fromObjectId=11 if contact_first else 22,
        toObjectId=22 if contact_first else 11,
    )

    found = only(sent)

    assert (found.kind, found.record_id, found.contact_ids) == (
        EventKind.DEAL_CHANGED,
        "22",
        ("11",),
    )


@pytest.mark.parametrize(
    "more",
    [
        {"changeSource": "CRM_UI", "sourceId": "50780459"},
        {"changeSource": "INTEGRATION", "sourceId": "1508169"},
        {"changeSource": "INTEGRATION"},
        {"changeSource": "INTEGRATION", "sourceId": None, "appId": None},
        {},
    ],
)
def test_a_write_of_others_is_not_ours(more: dict[str, Any]) -> None:
    """Only an integration that is this very app is an echo."""
    assert not only(event(**more)).ours


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"portalId": None}, "portalId: Field may not be null."),
        ({"portalId": True}, "portalId: Not a record id."),
        ({"objectId": -5}, "objectId: Not a record id."),
        ({"objectId": 2**63}, "objectId: Not a record id."),
        ({"objectId": 1.5}, "objectId: Not a record id."),
        ({"objectId": None}, "objectId: missing"),
        ({"occurredAt": "1789372800000"}, "occurredAt: Not a valid integer."),
        ({"occurredAt": True}, "occurredAt: Not a valid integer."),
        ({"occurredAt": 0}, "occurredAt: Not between 2000 and 2100."),
        ({"occurredAt": 10**400}, "occurredAt: Not between 2000 and 2100."),
        ({"occurredAt": float("inf")}, "occurredAt: Not a valid integer."),
        ({"propertyValue": {"erika": 1}}, "propertyValue: Not a text."),
        ({"propertyValue": "\ud800"}, "propertyValue: Not a text."),
        ({"propertyValue": "\0"}, "propertyValue: Not a text."),
        ({"subscriptionType": None}, "subscriptionType: missing or not a text"),
        ({"subscriptionType": 7}, "subscriptionType: missing or not a text"),
        ({"subscriptionType": "object.creation"}, "objectTypeId: missing or not a text"),
        ({"subscriptionType": "contact.merge"}, "primaryObjectId: missing"),
        (
            {"subscriptionType": "contact.merge", "primaryObjectId": 1, "mergedObjectIds": [2, -3]},
            "mergedObjectIds: Not a record id.",
        ),
        (
            {"subscriptionType": "deal.associationChange", "associationType": "DEAL_TO_CONTACT"},
            "fromObjectId: missing",
        ),
    ],
)
def test_a_bad_event_is_named_without_its_value(change: dict[str, Any], reason: str) -> None:
    """What is wrong is said by key; its neighbour is read all the same."""
    good = event(objectId=7)

    assert read(event(**change), good) == Parsed(
        events=(only(good),), unreadable=((0, reason),), ignored=0
    )


@pytest.mark.parametrize("one", [None, 1, "x", [], True])
def test_what_is_no_object_is_unreadable(one: object) -> None:
    """An array may hold anything."""
    assert read(one) == Parsed(unreadable=((0, "not an object"),))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"{}",
        b"\xff",
        b"\xef\xbb\xbf{}",
        "[]".encode("utf-16"),
        b"[" * 200_000,
        b'[{"a":' * 50_000,
    ],
)
def test_a_body_that_is_no_array_cannot_be_read(body: bytes) -> None:
    """The whole delivery is refused with one error and no other."""
    with pytest.raises(PayloadError):
        parse(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from([*event(), "propertyName", "propertyValue", "mergedObjectIds"])
TYPES = st.sampled_from(ADAPTER.declaration.event_types)


@given(st.lists(JSON | st.dictionaries(KEYS, JSON), max_size=5), TYPES, st.dictionaries(KEYS, JSON))
@example([], "object.creation", {"objectTypeId": []})
def test_no_json_raises_at_all(others: list[Any], kind: str, change: dict[str, Any]) -> None:
    """Fuzz: an array of anything is read; each element is an event, unreadable or ignored."""
    sent = [*others, {**event(subscriptionType=kind), **change}]

    found = parse(json.dumps(sent).encode())

    assert len(found.unreadable) + found.ignored <= len(sent)
    for one in found.events:
        assert one.occurred_at.utcoffset() == timedelta(0)
        assert one.record_id.isdecimal()
    redact(
        json.dumps(sent).encode(),
        account_crm_id=ACCOUNT,
        contact_ids=frozenset({"541935488729"}),
        words=["a"],
    )


# --------------------------------------------------------------------------- forgetting


@pytest.mark.parametrize("depth", [10, 400, 700, 990])
def test_depth_does_not_stop_an_erasure(depth: int) -> None:
    """Nested however deep, the name is gone afterwards."""
    body = b'[{"portalId":247187887,"x":' + b"[" * depth + b'"Erika"' + b"]" * depth + b"}]"

    left = redact(body, account_crm_id=ACCOUNT, contact_ids=frozenset(), words=("erika",))

    assert left is not None
    assert b"Erika" not in left


def forgotten(*events: object, ids: tuple[str, ...] = (), words: tuple[str, ...] = ()) -> Any:
    """The events after an erasure, or None."""
    left = redact(
        json.dumps(events).encode(),
        account_crm_id=ACCOUNT,
        contact_ids=frozenset(ids),
        words=words,
    )
    return None if left is None else json.loads(left)


def test_values_of_an_erased_contact_go_and_ids_stay() -> None:
    """Of both event forms the value goes; other people, deals and accounts keep theirs."""
    theirs = event(objectId=1, propertyName="email", propertyValue="erika@example.com")
    generic = {**theirs, "subscriptionType": "object.propertyChange", "objectTypeId": "0-1"}
    others = [
        {**theirs, "objectId": 2},
        {**theirs, "portalId": 62515},
        {**generic, "objectTypeId": "0-3"},
        {**theirs, "subscriptionType": "deal.propertyChange"},
        {**theirs, "subscriptionType": "company.propertyChange"},
    ]

    assert forgotten(theirs, generic, *others, ids=("1",)) == [
        {**theirs, "propertyValue": "REDACTED"},
        {**generic, "propertyValue": "REDACTED"},
        *others,
    ]


def test_words_go_wherever_they_stand() -> None:
    """A name in somebody else's field is a trace too; what an event is about stays readable."""
    named = event(
        objectId=2,
        propertyName="spiral_referrer_name",
        propertyValue="Frau ERIKA Muster",
        note={"by": ["erika muster", "somebody"]},
    )

    assert forgotten(named, words=("Erika Muster", "spiral_referrer_name", " ")) == [
        {**named, "propertyValue": "REDACTED", "note": {"by": ["REDACTED", "somebody"]}}
    ]


def test_a_redacted_rating_is_no_rating() -> None:
    """A delivery that is replayed after the erasure says only that something changed."""
    left = redact(
        json.dumps([event(propertyName="spiral_rating", propertyValue="angry")]).encode(),
        account_crm_id=ACCOUNT,
        contact_ids=frozenset({"541935488729"}),
        words=(),
    )

    assert left is not None
    assert parse(left).events[0].change is None


def test_nothing_to_forget_is_none() -> None:
    """Where nothing had to go the body is left as it is, byte for byte."""
    assert forgotten(event(objectId=2, propertyValue="x"), ids=("1",), words=("erika",)) is None
    assert forgotten(event(objectId=1), ids=("1",)) is None


@pytest.mark.parametrize("body", [b'{"who":"Erika"', b"[" * 100_000 + b"541935488729"])
def test_a_garbled_body_that_may_tell_of_them_goes_as_a_whole(body: bytes) -> None:
    """What cannot be taken apart cannot be kept in part."""
    ids = frozenset({"541935488729"})

    assert redact(body, account_crm_id=ACCOUNT, contact_ids=ids, words=("erika",)) == b""
    assert redact(body, account_crm_id=ACCOUNT, contact_ids=frozenset(), words=("otto",)) is None


@pytest.mark.parametrize(
    ("body", "sender"),
    [
        (b'[{"eventId":1,"portalId":247187887},{"portalId":2}]', "247187887"),
        (b'[{"portalId" : 4711001}]', "4711001"),
        (b'[{"portalId":"4711001"}]', ""),
        (b"[" + b" " * 2000 + b'{"portalId":4711001}]', ""),
        (b"\xff\x00", ""),
        (b"", ""),
    ],
)
def test_who_sent_it_is_told_by_the_first_bytes(body: bytes, sender: str) -> None:
    """Without parsing: it only serves to be fair between portals."""
    assert ADAPTER.sender(body) == sender


def test_a_number_that_nobody_can_read_spoils_its_own_event_only() -> None:
    """One of ten thousand digits, beside a good event."""
    good = json.dumps(event()).encode()

    parsed = parse(b"[" + b"9" * 10_000 + b"," + good + b"]")

    assert (len(parsed.events), parsed.unreadable) == (1, ((0, "not an object"),))
