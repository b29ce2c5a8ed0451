"""What recorded deliveries mean, whatever else stands in them."""

from __future__ import annotations

import contextlib
import json
from codecs import BOM_UTF8
from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plugin.errors import PayloadError
from plugin.ports import Event, Parsed
from tests.conformance.crms import CASES, CRMS, Case, cases_of, new_adapter
from tests.conformance.fuzzing import GARBAGE, JSON, leaves, places, replaced, thorough

NEW = {"zz_new": {"deep": ["er", {"zz": None}]}, "zz_text": "sieben"}
"""Keys that a CRM may add tomorrow."""
KEY_SIZE = 64
"""Characters of an event's key at most."""


class TestEvents:
    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_a_payload_becomes_the_events_of_its_case(self, case: Case) -> None:
        """Whole events, in order; what is unreadable, with its reason; how many are ignored."""
        assert new_adapter(case.crm).parse(case.received) == case.expected

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_unknown_keys_change_nothing(self, case: Case) -> None:
        """At any depth; the key of an event may tell, since it may be made of the bytes."""
        body = json.dumps(_with_new_keys(json.loads(case.body))).encode()

        found = new_adapter(case.crm).parse(case.received_as(body))

        assert _keyless(found) == _keyless(case.expected)

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_a_byte_order_mark_changes_nothing(self, case: Case) -> None:
        """RFC 8259 has a sender put none in front, and lets a reader ignore it."""
        found = new_adapter(case.crm).parse(case.received_as(BOM_UTF8 + case.body))

        assert _keyless(found) == _keyless(case.expected)

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_an_unknown_type_is_ignored(self, case: Case) -> None:
        """The very payload, about something nobody has heard of: no event and no complaint."""
        known = new_adapter(case.crm).parse(case.received)
        body, topic = case.body, case.received.topic
        if topic:
            topic = "Teleporter.beamed"
        else:
            types = new_adapter(case.crm).declaration.event_types
            words = {*types, *(word for kind in types for word in kind.split("."))}
            body = json.dumps(_renamed(json.loads(body), words)).encode()

        found = new_adapter(case.crm).parse(case.received_as(body, topic=topic))

        said = len(known.events) + len(known.unreadable) + known.ignored
        assert found.events == ()
        assert bool(found.ignored) is bool(said)

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_a_fact_that_comes_again_has_the_same_key(self, case: Case) -> None:
        """A retry a day later, read by another process."""
        later = case.received_at + timedelta(days=1)

        first = new_adapter(case.crm).parse(case.received)
        again = new_adapter(case.crm).parse(case.received_as(case.body, received_at=later))

        assert [one.key for one in again.events] == [one.key for one in first.events]

    @pytest.mark.parametrize("crm", CRMS)
    def test_distinct_facts_have_distinct_keys(self, crm: str) -> None:
        """Over the whole folder; keys are short enough to be kept."""
        events = [event for case in cases_of(crm) for event in case.expected.events]

        assert [
            (one, other)
            for one, other in combinations(events, 2)
            if one.key == other.key and one != other
        ] == []
        assert {one.key for one in events if not 0 < len(one.key) <= KEY_SIZE} == set()

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_an_event_belongs_to_its_account(self, case: Case) -> None:
        """Where the account has an address of its own, to no other, whatever the body says."""
        own = case.received.account_crm_id

        told = {event.account_crm_id for event in case.expected.events}

        assert "" not in told
        assert told <= {own} or not own

    @pytest.mark.parametrize("case", [case for case in CASES if case.owned], ids=str)
    def test_an_accounts_own_address_tells_of_no_other(self, case: Case) -> None:
        """Sent to another account's address, it is refused, or says whose it is, so that the core
        refuses it; only where the body names no account it is taken for that one's."""
        named = case.received.account_crm_id in leaves(json.loads(case.body))
        found = _read(case, case.body, account_crm_id="000")

        told = {event.account_crm_id for event in found.events}
        assert told <= {case.received.account_crm_id if named else "000"}

    # ---------------------------------------------------------------------------- garbage

    @pytest.mark.parametrize("body", GARBAGE, ids=lambda body: body[:12].hex())
    @pytest.mark.parametrize("crm", CRMS)
    def test_garbage_gives_a_payload_error_only(self, crm: str, body: bytes) -> None:
        """Or nothing to do; but no event, and no other error."""
        for case in _one_a_topic(crm):
            assert _read(case, body).events == ()

    @pytest.mark.parametrize("crm", CRMS)
    def test_no_bytes_raise_anything_else(self, crm: str) -> None:
        """Fuzz: bytes."""

        @thorough(60)
        @given(st.binary())
        @example(b'{"data":"\\ud800"}')
        def fuzz(body: bytes) -> None:
            for case in _one_a_topic(crm):
                _read(case, body)

        fuzz()

    @pytest.mark.parametrize("crm", CRMS)
    def test_no_json_in_any_place_raises_anything_else(self, crm: str) -> None:
        """Fuzz: real payloads of which one value is something else."""
        cases = [case for case in cases_of(crm) if case.expected.events]

        @thorough(150)
        @given(st.sampled_from(cases), st.integers(0, 400), JSON)
        def fuzz(case: Case, at: int, value: Any) -> None:
            body = json.dumps(replaced(json.loads(case.body), at, value)).encode()
            for event in _read(case, body).events:
                assert event.record_id
                assert event.occurred_at.utcoffset() == timedelta(0)

        fuzz()

    @pytest.mark.parametrize("crm", CRMS)
    def test_what_is_unreadable_is_named_without_its_value(self, crm: str) -> None:
        """Reasons end up in logs: whatever stands in the place of a value is not quoted."""
        for case in cases_of(crm):
            for at in range(places(json.loads(case.body))):
                odd = {"secret-word": ["secret-word"]}
                body = json.dumps(replaced(json.loads(case.body), at, odd)).encode()
                told = ""
                try:
                    told = str(new_adapter(crm).parse(case.received_as(body)).unreadable)
                except PayloadError as error:
                    told = str(error)
                assert "secret-word" not in told


def _read(case: Case, body: bytes, **more: Any) -> Parsed:
    """What is read, nothing where the body as a whole is refused."""
    with contextlib.suppress(PayloadError):
        return new_adapter(case.crm).parse(case.received_as(body, **more))
    return Parsed()


def _one_a_topic(crm: str) -> list[Case]:
    """A case for each address that this CRM sends to."""
    return list({case.received.topic: case for case in cases_of(crm)}.values())


def _keyless(parsed: Parsed) -> tuple[list[dict[str, object]], object, int]:
    """All that was read but for the keys of events."""
    fields = [name for name in Event.__slots__ if name != "key"]
    events = [{name: getattr(event, name) for name in fields} for event in parsed.events]
    return events, parsed.unreadable, parsed.ignored


def _with_new_keys(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_new_keys(part) for part in value]
    if isinstance(value, dict):
        return {**{key: _with_new_keys(part) for key, part in value.items()}, **NEW}
    return value


def _renamed(value: Any, words: set[str]) -> Any:
    """The same, but for the words that name types."""
    if isinstance(value, list):
        return [_renamed(part, words) for part in value]
    if isinstance(value, dict):
        return {key: _renamed(part, words) for key, part in value.items()}
    return "teleported" if isinstance(value, str) and value in words else value
