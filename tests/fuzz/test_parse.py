"""Whatever a delivery holds: it is read or a ``PayloadError``, and what is forgotten stays so."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from plugin.errors import PayloadError
from plugin.ports import Event, Parsed, Received
from plugin.storage.tables import Id
from tests.conformance.crms import CRMS, cases_of, new_adapter
from tests.fuzz.drawing import JSON, fuzzed, gone_wrong, raw

KEY_SIZE = 64
"""Characters of an event's key at most."""


def topics(crm: str) -> list[Received]:
    """A recorded delivery to each address this CRM sends to."""
    return [case.received for case in {one.received.topic: one for one in cases_of(crm)}.values()]


@pytest.mark.parametrize("crm", CRMS)
def test_no_bytes_raise_anything_but_a_payload_error(crm: str) -> None:
    """Arbitrary bytes, at every address of the CRM."""
    received = [(one.topic, one) for one in topics(crm)]

    @fuzzed(100)
    @given(st.binary())
    @example(b'{"data":"\\ud800"}')
    @example(b"[" * 100_000)
    @example(b'{"a":' * 100_000)
    def fuzz(body: bytes) -> None:
        for _, one in received:
            read(crm, one, body)

    fuzz()


@pytest.mark.parametrize("crm", CRMS)
def test_no_json_raises_anything_but_a_payload_error(crm: str) -> None:
    """Arbitrary JSON, at every address of the CRM, alone and in an array."""
    received = topics(crm)

    @fuzzed(100)
    @given(JSON)
    def fuzz(value: Any) -> None:
        for one in received:
            read(crm, one, raw(value))
            read(crm, one, raw([value]))

    fuzz()


@pytest.mark.parametrize("crm", CRMS)
def test_no_recorded_delivery_gone_wrong_raises_anything_but_a_payload_error(crm: str) -> None:
    """With values replaced, left out, doubled and exchanged; what is read fits the database."""

    @fuzzed(100)
    @given(gone_wrong(crm))
    def fuzz(drawn: tuple[Any, Any]) -> None:
        case, value = drawn
        read(crm, case.received, raw(value))

    fuzz()


@pytest.mark.parametrize("crm", CRMS)
@pytest.mark.parametrize("depth", [*range(150, 1001, 50), 2_000, 20_000])
def test_no_depth_raises_anything_but_a_payload_error(crm: str, depth: int) -> None:
    """A value nested more and more deeply, in the place of each value of a delivery: what can
    just be read may be too deep for what is done with it."""
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    for received in topics(crm):
        body = received.body
        for mark in (b'"Erika"', b'"custom_fields":{', b'"propertyValue":'):
            if mark in body:
                at = body.index(mark)
                read(crm, received, body[:at] + nested + body[at + len(mark) :])
        whole = json.loads(body)
        for holder in _objects(whole):
            holder["zz_nested"] = "@@"
        read(crm, received, json.dumps(whole).encode().replace(b'"@@"', nested))


@pytest.mark.parametrize("crm", CRMS)
def test_what_is_forgotten_stays_forgotten(crm: str) -> None:
    """Of a delivery gone wrong: what ``redact`` leaves is nothing or JSON that can be read, holds
    none of the words, has nothing left to forget, and tells no event that was not told before."""

    @fuzzed(100)
    @given(gone_wrong(crm), st.data())
    def fuzz(drawn: tuple[Any, Any], data: st.DataObject) -> None:
        case, value = drawn
        words = sorted(set(_words(value)))
        assume(words)
        word = data.draw(st.sampled_from(words))
        before = read(crm, case.received, raw(value))
        ids = frozenset(event.record_id for event in before.events[:1])
        left = redacted(crm, case.received_as(raw(value)), ids, word)
        if left is None:
            return
        assert redacted(crm, case.received_as(left), ids, word) is None
        if left:
            json.loads(left)
        after = read(crm, case.received, left)
        assert {event.record_id for event in after.events} <= {
            event.record_id for event in before.events
        }
        for event in after.events:
            assert not event.change or word.casefold() not in event.change.value.casefold()

    fuzz()


def read(crm: str, received: Received, body: bytes) -> Parsed:
    """What is read, nothing where the body as a whole is refused; all of it can be stored."""
    parsed = Parsed()
    with contextlib.suppress(PayloadError):
        parsed = new_adapter(crm).parse(
            Received(
                body=body,
                received_at=received.received_at,
                topic=received.topic,
                account_crm_id=received.account_crm_id,
                facts=received.facts,
            )
        )
    for event in parsed.events:
        assert event.occurred_at.utcoffset() == timedelta(0)
        assert 0 < len(event.key) <= KEY_SIZE
        for one in ids_of(event):
            assert 0 < len(one) <= (Id.length or 0)
            assert one.isprintable()
            assert not set(one) & set("/?#% \\")
            assert set(one) != {"."}
        if event.change:
            event.change.value.encode()
            assert "\0" not in event.change.value
    for _, reason in parsed.unreadable:
        assert len(reason) < 1000
        assert reason.isprintable()
    return parsed


def ids_of(event: Event) -> Iterator[str]:
    yield event.record_id
    yield event.account_crm_id
    yield from event.merged_ids
    yield from event.contact_ids


def redacted(crm: str, received: Received, ids: frozenset[str], word: str) -> bytes | None:
    return new_adapter(crm).redact(
        received,
        account_crm_id=received.account_crm_id or _account(received.body),
        contact_ids=ids,
        words=[word],
    )


def _account(body: bytes) -> str:
    """Where accounts share an address, the one a delivery names first."""
    with contextlib.suppress(ValueError, TypeError, LookupError, AttributeError):
        return str(json.loads(body)[0]["portalId"])
    return ""


def _objects(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(found for one in value.values() for found in _objects(one))]
    return [found for one in value for found in _objects(one)] if isinstance(value, list) else []


def _words(value: Any) -> Iterator[str]:
    """Texts that somebody may have to be forgotten by."""
    if isinstance(value, str) and len(value) > 3 and "@" in value:
        yield value
    elif isinstance(value, list | dict):
        for one in value if isinstance(value, list) else value.values():
            yield from _words(one)
